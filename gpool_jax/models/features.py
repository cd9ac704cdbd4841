"""The names of a network's intermediate maps, in the order in which they are computed."""


def stages_done(start: str | None, num_stages: int) -> int:
    """Count the stages, in [0, num_stages], that a pass need not compute if it starts from a map.

    `start` is "stem", "stage1", ..., "pre_gap" (the last stage's map), or None for the image.

    Raises:
      ValueError: if no map has that name.

    >>> stages_done("stage2", 4), stages_done("stem", 4), stages_done("pre_gap", 4)
    (2, 0, 4)
    """
    if start is None:
        return 0
    done = {"stem": 0} | {f"stage{i}": i for i in range(1, num_stages + 1)}
    done["pre_gap"] = num_stages
    if start not in done:
        raise ValueError(f"`start` must be one of {', '.join(done)}; got {start!r}.")
    return done[start]
