"""Images with one class each: found, decoded, held in memory or streamed."""
