"""Train and measure GAPNet and PermuteNet: where is the image, or what is it?"""
