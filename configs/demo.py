"""The demo: GAPNet and PermuteNet, location and recognition, on handwritten digits.

    gpool demo                      (or: make demo)

Shows: position survives pooling when the order of the channels is kept.
Expected time: @TIME demo@
"""

from gpool_jax.config import DEMO

config = DEMO
