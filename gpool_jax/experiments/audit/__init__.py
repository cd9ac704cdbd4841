"""The four questions put to any network, on any images, without labels."""
