"""A database that fails: how that is told from a fault of ours, and how often it is said.

A database whose disk is full fails for hours, each second and for everybody who writes; the log often lies on the same
disk.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = structlog.get_logger(__name__)

#: Out of reach, full or locked for too long: nothing another attempt, a little later, may not mend.
_OUT_OF_REACH = (
    *(OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError),
    *(ConnectionError, FileNotFoundError, TimeoutError),
)
#: Classes of states in which a server says that it lacks something (53), is being stopped (57) or that its system fails
#: (58); the driver's errors of these classes are no OperationalErrors. 25006: made read-only, as hosts do when a disk
#: is nearly full.
#: Source: https://www.postgresql.org/docs/current/errcodes-appendix.html, read 2026-11.
_SERVER_FAILS, _READ_ONLY, _DISK_FULL = ("53", "57", "58"), "25006", "53100"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
#: How often a failure that goes on is said again, seconds.
SAID_AGAIN = 600.0


def is_outage(error: BaseException) -> bool:
    """Whether it is the storage that failed, and not what was asked of it."""
    state = _state(error)
    return isinstance(error, _OUT_OF_REACH) or state.startswith(_SERVER_FAILS) or state == _READ_ONLY or is_full(error)


def is_full(error: BaseException) -> bool:
    """Whether there was no room. Small things may still be stored where larger ones find none."""
    number = getattr(_of_driver(error), "sqlite_errorcode", None)
    return number == sqlite3.SQLITE_FULL or _state(error) == _DISK_FULL or getattr(error, "errno", None) in _NO_ROOM


def _name(error: BaseException) -> str:
    """What the database calls it; never what it says, which may hold a person's words."""
    return getattr(_of_driver(error), "sqlite_errorname", None) or _state(error)


def _state(error: BaseException) -> str:
    return getattr(_of_driver(error), "sqlstate", None) or ""


def _of_driver(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


class Outages:
    """What was said of a database that fails."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[tuple[str, ...], tuple[float, int]] = {}

    def say(self, event: str, error: BaseException, **about: str) -> None:
        """Say it the first time, and every SAID_AGAIN seconds how often it was since."""
        kind, now = type(error).__name__, self._monotonic()
        of = (event, kind, *about.values())
        said_at, times = self._said.get(of, (float("-inf"), 0))
        if now - said_at < SAID_AGAIN:
            self._said[of] = (said_at, times + 1)
            return
        self._said[of] = (now, 0)
        more = {"advice": "make room on the disk of the database"} if is_full(error) else {}
        log.error(event, error=kind, state=_name(error), times=times + 1, **about, **more)
