"""Data: `sources.load` reads a set, `resident` keeps it on the device."""
