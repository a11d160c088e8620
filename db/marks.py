"""What may stand in the open of when something was, beside the traffic of somebody who may be a reporter.

An instant in clear ties rows of different tables together, and a row's place in a table does as well. So such rows
have random ids, and in place of a day its keyed mark: whoever has the key ring can ask for all rows of a day, whoever
has not sees neither which day it was nor that two tables mean the same one.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from db.sealing import KeyRing

#: How far back `days_until` looks: rows are dropped daily, and no process is down for longer than this.
_LOOK_BACK = timedelta(days=400)


def random_id() -> int:
    """A primary key that tells no order: 62 random bits, so that two hardly ever meet."""
    return secrets.randbits(62) | 1


def keyed_id(keys: KeyRing, purpose: str, *parts: str) -> int:
    """A primary key that is the same for the same parts, and to whoever has no key as random as `random_id`."""
    return int(keys.fingerprint(purpose, *parts)[:16], 16) >> 2


def day_of(at: datetime) -> datetime:
    """The UTC day of an instant, for what may be no finer in clear."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def day_mark(keys: KeyRing, purpose: str, at: datetime) -> str:
    """The mark of the UTC day of `at` in the table that `purpose` names; 32 hex digits."""
    return keys.fingerprint("day", purpose, day_of(at).date().isoformat())


def days_until(keys: KeyRing, purpose: str, before: datetime) -> list[str]:
    """The marks of all days that ended by `before`, newest first: what `DELETE … WHERE day IN` takes."""
    last = day_of(before) - timedelta(days=1)
    return [day_mark(keys, purpose, last - timedelta(days=back)) for back in range(_LOOK_BACK.days)]
