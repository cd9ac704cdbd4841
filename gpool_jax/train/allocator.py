"""On a CPU, keep freed memory for the next step instead of returning it each time.

XLA allocates every large intermediate anew. glibc takes such blocks from the kernel and
returns them at once, so that each step touches fresh pages, with a page fault for every
4 KiB. That took a third of a training step (`benchmarks/NOTES.md`).
"""

import ctypes
import os

# glibc's names for `mallopt` (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, and return whether it will.

    For a program to call, before JAX makes its threads: it lasts as long as the process,
    which then keeps the most memory that it ever used at once. Does nothing where the
    library is not glibc, or if the environment variable GPOOL_KEEP_MEMORY is 0.
    """
    if os.environ.get("GPOOL_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  others may have a mallopt too
    except (AttributeError, OSError):
        return False
    # Large blocks from the heap, not from the kernel; the heap never shrinks, and grows
    # by 64 MiB; one heap for all threads, since others are bounded in size.
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20), (_ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in options])
