"""Check that numbers from outside are finite."""

from typing import Any

import jax
import numpy as np


def first_nonfinite(tree: Any) -> str:
    """Name the first leaf of a tree that holds NaN or infinity.

    Args:
      tree: a tree of arrays of numbers, which are brought to the host.

    Returns:
      The keys on the way to the leaf, such as "params/head/bias"; "" if every leaf is finite.

    >>> first_nonfinite({"a": np.zeros(2), "b": [1.0, np.inf]})
    'b/1'
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not np.isfinite(np.asarray(leaf)).all():
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return ""
