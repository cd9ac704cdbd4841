"""One file per suite: what is timed, at which sizes, and who does it."""
