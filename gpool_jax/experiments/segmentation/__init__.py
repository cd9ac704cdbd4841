"""Train and measure segmentation networks."""
