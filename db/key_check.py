"""Does this key ring open what this database holds?"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import keys_of
from db.tables.sealing import SealedWord

_PURPOSE, _WORD, _ID = "key-check", b"binh yen", 1


async def check_keys(session: AsyncSession) -> None:
    """Open the database's sealed word; a new database gets one.

    Raises:
        CannotUnseal: The database was sealed with a key that is not on the ring.
    """
    row = await session.get(SealedWord, _ID)
    if row is None:
        sealed = keys_of(session).seal(_PURPOSE, _WORD, bound_to=str(_ID))
        session.add(SealedWord(id=_ID, sealed=sealed))
        return
    keys_of(session).unseal(_PURPOSE, row.sealed, bound_to=str(_ID))
