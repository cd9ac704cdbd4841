"""Data: `images.load` and `pixels.load` read a set; both give splits of one Protocol, `Split`."""
