"""What the process gives back to the system once it is free."""

from __future__ import annotations

import ctypes

# mallopt's numbers, as malloc.h has them.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE = 1024 * 1024


def give_back() -> None:
    """Let large blocks go back when they are freed, and let threads share two heaps.

    glibc raises the size from which it does so to that of what was freed last, and keeps a heap for each thread: what
    one Argon2 hash needs (19 MiB) or a file was held for good, twice. Elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_ARENA_MAX, 2)
