"""The test images that a measurement uses."""

from typing import Any

from gpool_jax.data.images import splits

# One draw for every training seed and every measurement: intervals pair the images.
SEED = 0


def draw(setup: Any, count: int | None) -> Any:
    """Draw `count` test images of a setup, every class in its share; None: all of them."""
    test = setup.dataset.test
    return test.take(splits.draw_rows(test, count, seed=SEED))
