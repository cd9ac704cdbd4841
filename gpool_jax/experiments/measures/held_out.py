"""The images that a measurement uses."""

from gpool_jax.data.split import Split
from gpool_jax.experiments.training import Setup

# One draw for every training seed and every measurement: intervals pair the images.
SEED = 0


def draw(setup: Setup, count: int | None, *, split: str = "test") -> Split:
    """Draw `count` images of a setup's split, every class in its share; None: all of them."""
    return getattr(setup.dataset, split).draw(count, seed=SEED)
