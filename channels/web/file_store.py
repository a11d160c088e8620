"""The web chat's files: sealed, found by keyed hashes of their names. All functions run in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.shapes import FileRef
from db.engine import keys_of
from db.marks import day_mark, days_until, keyed_id
from db.sealing import KeyRing, padded, unpadded
from db.statements import erase_rows
from db.tables import web as rows

_FILE = "web-file"
#: What is filled with spaces up to this length before it is sealed, bytes: a file's name does not show in it.
_ABOUT_BYTES = 1000
#: How many rows one statement drops at most.
_MANY = 500

_files: Any = rows.WebFile.__table__


def _file_key(keys: KeyRing, name: str) -> int:
    return keyed_id(keys, _FILE, name)


def file_row(keys: KeyRing, file: FileRef, content: bytes) -> dict[str, Any]:
    """The row of a new file. Takes a while for large ones: call it in a thread, outside any transaction."""
    key = _file_key(keys, file.id)
    about = [file.kind, file.name, file.mime, file.size, file.width, file.height]
    plain = json.dumps(about, ensure_ascii=False).encode().ljust(_ABOUT_BYTES)
    return {
        "id": key,
        "about": keys.seal(_FILE, padded(plain), bound_to=f"{key}:about"),
        "content": keys.seal(_FILE, padded(content), bound_to=str(key)),
    }


async def add_file(session: AsyncSession, row: dict[str, Any], *, now: datetime) -> None:
    """Keep what `file_row` made."""
    await session.execute(insert(_files), {**row, "day": day_mark(keys_of(session), _FILE, now)})


async def find_file(session: AsyncSession, name: str) -> FileRef | None:
    """What is known of a file."""
    keys = keys_of(session)
    key = _file_key(keys, name)
    about = await session.scalar(select(_files.c.about).where(_files.c.id == key))
    return None if about is None else _opened_file(keys, name, about)


def _opened_file(keys: KeyRing, name: str, about: bytes) -> FileRef:
    plain = unpadded(keys.unseal(_FILE, about, bound_to=f"{_file_key(keys, name)}:about"))
    return FileRef(name, *json.loads(plain))


async def sealed_file(session: AsyncSession, name: str) -> bytes | None:
    """A file's bytes as they are kept; `unseal_file` opens them."""
    key = _file_key(keys_of(session), name)
    sealed: bytes | None = await session.scalar(select(_files.c.content).where(_files.c.id == key))
    return sealed


def unseal_file(keys: KeyRing, name: str, sealed: bytes) -> bytes:
    """A file's bytes. Takes a while for large files: call it in a thread."""
    return unpadded(keys.unseal(_FILE, sealed, bound_to=str(_file_key(keys, name))))


async def show_files(session: AsyncSession, names: Sequence[str], *, now: datetime) -> bool:
    """Keep files for as long as a message that shows them from now on; False when one of them is gone."""
    keys = keys_of(session)
    wanted = {_file_key(keys, name) for name in names}
    found = await session.execute(select(_files.c.id, _files.c.day).where(_files.c.id.in_(wanted)))
    days = {row.id: row.day for row in found}
    today = day_mark(keys, _FILE, now)
    # Only once a day: SQLite reads the whole of a row that it changes.
    behind = [key for key, day in days.items() if day != today]
    if behind:
        await session.execute(update(_files).where(_files.c.id.in_(behind)).values(day=today))
    return days.keys() == wanted


async def drop_files(session: AsyncSession, files: Iterable[FileRef]) -> None:
    """Wipe files."""
    wanted = [_file_key(keys_of(session), file.id) for file in files]
    for start in range(0, len(wanted), _MANY):
        await erase_rows(session, delete(_files).where(_files.c.id.in_(wanted[start : start + _MANY])))


async def drop_old_files(session: AsyncSession, *, before: datetime) -> None:
    """Wipe files that no message has shown since `before`; whole days at a time."""
    await erase_rows(session, delete(_files).where(_files.c.day.in_(days_until(keys_of(session), _FILE, before))))
