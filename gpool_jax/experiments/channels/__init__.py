"""Position channels: rank them, remove them, attack one region.

Two kinds of network (`pixels`, `canvases`) look alike to the rest as a
`subject.Subject`; `mirrored`, `tiled` and `gates` score channels, `files` reads and
writes rankings, `plan` makes the masks, `sweep` runs them, `summary` puts intervals
on what came out; `rank` and `attack` are the two commands.
"""
