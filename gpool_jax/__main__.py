"""`python -m gpool_jax` is the same program as the console script `gpool`."""

import sys

from gpool_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
