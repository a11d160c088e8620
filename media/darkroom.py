"""Opens pictures where they can do no harm: one at a time, in a child process with little memory, time and no secret.

A picture of 7 KB can unpack to half a gigabyte. What it costs is the child's; and because each attempt is written
down before it is made, a picture that ends the whole machine is not tried for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import keys_of
from db.troubles import count_attempt, forget_attempts
from media import pictures
from media.pictures import NotAPicture, TooLarge

#: How long a picture may take, seconds; its processor time is limited as well.
_SECONDS = 30
#: A picture that was begun so often and never came to an end is not begun again.
_MOST_ATTEMPTS = 2
_KIND = "picture"

Begin = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class Darkroom:
    """Makes clean copies of pictures, one after the other."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()

    async def clean(self, begin: Begin, content: bytes, *, now: datetime) -> bytes:
        """The picture as `media.pictures.clean_picture` makes it.

        Two short transactions stand around the work: the attempt is counted before it is made.

        Raises:
            NotAPicture: unreadable, or another format.
            TooLarge: it takes more than a child is given, or was begun twice before and ended the process.
        """
        async with self._door:
            async with begin() as session:
                item = keys_of(session).fingerprint(_KIND, hashlib.sha256(content).hexdigest())
                attempts = await count_attempt(session, _KIND, item, now=now)
            if attempts > _MOST_ATTEMPTS:
                raise TooLarge("never came to an end")
            try:
                return await _in_a_child(content)
            finally:
                async with begin() as session:
                    await forget_attempts(session, _KIND, item)


async def _in_a_child(content: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-s", "-B", str(Path(pictures.__file__))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
    )
    try:
        async with asyncio.timeout(_SECONDS):
            clean, _ = await child.communicate(content)
    except TimeoutError:
        raise TooLarge("took too long") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    match child.returncode:
        case pictures.DONE:
            return clean
        case pictures.NOT_A_PICTURE:
            raise NotAPicture("not readable")
        case _:  # its memory or its time ran out, or the system ended it for the same reason
            raise TooLarge("more than a child is given")


def _environment() -> dict[str, str] | None:
    """Where the child finds Pillow, and nothing else of ours: no token, no key."""
    if os.name == "nt":  # a process there needs more of it than we can know
        return None
    found = importlib.util.find_spec("PIL")
    folder = Path(found.origin).parent.parent if found and found.origin else Path()
    return {"PYTHONPATH": str(folder)}
