"""Images with a class for every pixel: found, decoded, held in memory or streamed."""
