"""Has anything become slower? Ratios of one run of benchmarks against committed ones.

python -m benchmarks.check NEW.json COMMITTED.json

Only ratios between contenders of the same run are compared: they hold on any
machine of a kind, where times do not.
"""

import sys
from pathlib import Path

from benchmarks.record import Record, Row, format_seconds, read

TOLERANCE = 0.15


def slower(new: Record, committed: Record, *, tolerance: float = TOLERANCE) -> list[str]:
    """One line for every ratio that fell by more than the tolerance.

    Args:
      new: to be judged.
      committed: to be judged by.
      tolerance: share by which a ratio may fall.

    Raises:
      ValueError: if the two have no ratio in common: nothing would be checked.
    """
    known = {(row.suite, row.case, row.contender): row.speed_up for row in committed.rows}
    found, compared = [], 0
    for row in new.rows:
        before = known.get((row.suite, row.case, row.contender))
        if row.speed_up is None or before is None:
            continue
        compared += 1
        if row.speed_up.median < (1.0 - tolerance) * before.median:
            found.append(
                f"{row.suite}: {row.case}: {row.speed_up.median:.2f}x {row.contender} "
                f"({row.speed_up.low:.2f} to {row.speed_up.high:.2f}), was {before.median:.2f}x "
                f"({before.low:.2f} to {before.high:.2f}): "
                f"{100 * (1 - row.speed_up.median / before.median):.0f} % slower"
                f" (ours {_own_time(new, row)}, was {_own_time(committed, row)})"
            )
    if not compared:
        raise ValueError("the two records have no case with the same contenders in common.")
    return found


def _own_time(record: Record, row: Row) -> str:
    """Our time at the case of a row: did we become slower, or the other faster?"""
    for own in record.rows:
        if (own.suite, own.case, own.contender) == (row.suite, row.case, "ours") and own.seconds:
            return format_seconds(own.seconds.median)
    return "unknown"


def main(words: list[str]) -> int:
    """Print what got slower; 1 if anything did, 2 if nothing could be compared."""
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        lines = slower(*(read(Path(word)) for word in words))
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines) or "Nothing is slower by more than 15 %.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
