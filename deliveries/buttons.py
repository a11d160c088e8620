"""Buttons under messages: opaque ids of rows that say what happens, once, for whom they were shown."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Button, Recipient
from db.engine import keys_of
from db.sealing import CannotOpen, KeyRing
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState
from texts.refusal import Refusal

#: How long a button answers; what it acts on usually says no earlier.
LIFETIME = timedelta(days=60)
_PURPOSE = "button"
#: Anything else was made up; PostgreSQL would not even look for a text with a null in it.
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was rightly pressed: what is to happen, and which delivery carried it."""

    verb: str
    args: tuple[str, ...]
    delivery_id: int | None


def new_row(
    keys: KeyRing, button: Button, *, shown_to: Recipient, delivery_id: int | None, now: datetime
) -> dict[str, object]:
    """The values of a row for one button; its `id` is the callback data."""
    button_id = secrets.token_urlsafe(16)
    said = json.dumps([button.verb, *button.args]).encode()
    return {
        "id": button_id,
        "addressee": _addressee(keys, button_id, shown_to),
        "sealed": keys.seal(_PURPOSE, said, bound_to=button_id),
        "once": button.once,
        "delivery_id": delivery_id,
        "expires_at": now + LIFETIME,
    }


async def keep_rows(session: AsyncSession, rows: list[dict[str, object]]) -> None:
    """Store what `new_row` made, in one statement."""
    if rows:
        connection = await session.connection()
        await connection.execute(insert(ButtonRow.__table__), rows)  # type: ignore[arg-type]


async def press(
    session: AsyncSession, button_id: str, *, by: Recipient, now: datetime, message_id: str | None = None
) -> Press:
    """Use a button in this transaction, and take the press as proof that its message (`message_id`) arrived.

    Raises:
        Refusal: `button.unknown` (forged, foreign, long gone) or `button.used` (pressed before); nothing changed.
    """
    row = await session.get(ButtonRow, button_id) if _ID.fullmatch(button_id) else None
    keys = keys_of(session)
    if row is None or row.expires_at <= now:
        raise Refusal("button.unknown")
    if not hmac.compare_digest(row.addressee, _addressee(keys, row.id, by)):
        raise Refusal("button.unknown")
    if row.once:
        used = await session.execute(
            update(ButtonRow)
            .where(ButtonRow.id == row.id, ButtonRow.used_at.is_(None))
            .values(used_at=now)
            .execution_options(synchronize_session=False)
        )
        if used.rowcount != 1:  # type: ignore[attr-defined]
            raise Refusal("button.used")
    try:
        verb, *args = json.loads(keys.open(_PURPOSE, row.sealed, bound_to=row.id))
    except CannotOpen as error:
        raise Refusal("button.unknown") from error
    if row.delivery_id is not None:
        await _prove_receipt(session, row.delivery_id, message_id, now=now)
    return Press(verb, tuple(args), row.delivery_id)


async def forget_buttons(session: AsyncSession, *, now: datetime) -> None:
    """Drop buttons whose time has passed."""
    await session.execute(delete(ButtonRow).where(ButtonRow.expires_at <= now))


async def _prove_receipt(session: AsyncSession, delivery_id: int, message_id: str | None, *, now: datetime) -> None:
    await session.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state == DeliveryState.UNKNOWN)
        .values(state=DeliveryState.SENT, reason="proved_by_button", message_id=message_id, settled_at=now)
    )


def _addressee(keys: KeyRing, button_id: str, chat: Recipient) -> str:
    return keys.fingerprint("button-addressee", button_id, str(chat))
