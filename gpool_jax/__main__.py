"""`python -m gpool_jax` is the same program as the console script `gpool`."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` imports from the working folder first: a numpy.py there would be run.
    _home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        if sys.path[0] == os.getcwd() and not os.path.samefile(sys.path[0], _home):
            del sys.path[0]
    except OSError:  # the folder is gone
        pass


def run() -> int:
    """Run one command as this process, and return the exit code."""
    from gpool_jax.cli import streams
    from gpool_jax.train import signals

    streams.prepare()
    signals.obey()
    from gpool_jax.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
