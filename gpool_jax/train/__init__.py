"""Training that knows no experiment: state, step, mapping, loop, checkpoints."""
