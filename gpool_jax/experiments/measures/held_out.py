"""The test images that a measurement uses."""

from gpool_jax.data.split import Split
from gpool_jax.experiments.training import Setup

# One draw for every training seed and every measurement: intervals pair the images.
SEED = 0


def draw(setup: Setup, count: int | None) -> Split:
    """Draw `count` test images of a setup, every class in its share; None: all of them."""
    return setup.dataset.test.draw(count, seed=SEED)
