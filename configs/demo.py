"""The demo: GAPNet, PermuteNet and a linear head, location and recognition, on digits.

    gpool demo                      (or: make demo)

Shows: position survives pooling when the order of the channels is kept.
Expected time: 2 minutes on two AMD EPYC cores.
"""

from gpool_jax.config import DEMO

config = DEMO
