"""When to try again, and when to give up."""

from __future__ import annotations

from datetime import timedelta

#: After this many attempts that concerned the recipient (not the channel), a delivery has failed.
MAX_ATTEMPTS = 8
_FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=15)


def next_delay(attempts: int) -> timedelta | None:
    """How long to wait after the given number of failed attempts (1 or more); None means give up."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return min(_FIRST * int(2 ** (attempts - 1)), LONGEST)


def channel_delay(failures: int) -> timedelta:
    """How long to leave a channel alone after so many failures in a row: 1 s, doubling, at most 60 s."""
    return timedelta(seconds=min(2 ** min(failures - 1, 6), 60))
