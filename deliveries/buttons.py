"""Buttons under messages: opaque ids of rows that say what happens, once, for whom they were shown.

Their rows are made when their message leaves. An id is a keyed hash of the delivery and the button's place in it, so
that a second attempt shows the same buttons; those of a message that never left are dropped.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Table, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Button, Outgoing, Recipient
from db.engine import keys_of
from db.marks import day_of
from db.sealing import CannotUnseal, KeyRing, padded, unpadded
from db.statements import changed, insert_ignoring
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState
from deliveries import copies
from texts.refusal import Refusal

#: How long a button answers, to the end of that day; what it acts on usually says no earlier.
LIFETIME = timedelta(days=60)
_DAY = timedelta(days=1)
_PURPOSE = "button"
#: Anything else was made up; PostgreSQL would not even look for a text with a null in it.
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was rightly pressed: what is to happen, and which delivery carried it."""

    verb: str
    args: tuple[str, ...]
    delivery_id: int | None


def pressable(outgoing: Outgoing) -> Iterator[tuple[tuple[int, int], Button]]:
    """The buttons that send something back, with their places: (row, column)."""
    for row, buttons in enumerate(outgoing.buttons):
        for column, button in enumerate(buttons):
            if button.url is None:
                yield (row, column), button


def button_id(keys: KeyRing, delivery_id: int, content_id: str, place: tuple[int, int]) -> str:
    """What the button at `place` of a delivery sends back when it is pressed; the same at each attempt."""
    mark = keys.fingerprint("button-id", str(delivery_id), content_id, *map(str, place))
    return urlsafe_b64encode(bytes.fromhex(mark)).decode().rstrip("=")


def new_row(
    keys: KeyRing, button: Button, which: str, *, shown_to: Recipient, delivery_id: int | None, now: datetime
) -> dict[str, object]:
    """The values of the row of a button with the id `which`."""
    said = json.dumps([button.verb, *button.args]).encode()
    return {
        "id": which,
        "addressee": _addressee(keys, which, shown_to),
        "sealed": keys.seal(_PURPOSE, padded(said), bound_to=which),
        "once": button.once,
        "delivery_id": delivery_id,
        "expires_at": day_of(now) + LIFETIME + _DAY,
    }


async def keep_rows(session: AsyncSession, rows: list[dict[str, object]]) -> None:
    """Store what `new_row` made, in one statement; what an earlier attempt has stored stays as it is."""
    if rows:
        connection = await session.connection()
        await connection.execute(insert_ignoring(session, ButtonRow.__table__), rows)


async def drop_rows(session: AsyncSession, of: Sequence[int] | Select[Any]) -> None:
    """Forget the buttons of deliveries that never left: nobody has seen them."""
    if isinstance(of, Select) or of:
        await session.execute(
            delete(ButtonRow).where(ButtonRow.delivery_id.in_(of)).execution_options(synchronize_session=False)
        )


async def renumber_rows(session: AsyncSession, numbers: Mapping[int, int]) -> None:
    """Let buttons follow the deliveries they are under to new ids."""
    if numbers:
        connection = await session.connection()
        await connection.execute(_RENUMBER, [{"was": was, "becomes": becomes} for was, becomes in numbers.items()])


_BUTTONS: Table = ButtonRow.__table__  # type: ignore[assignment]
_RENUMBER = update(_BUTTONS).where(_BUTTONS.c.delivery_id == bindparam("was")).values(delivery_id=bindparam("becomes"))


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
        used = await changed(
            session,
            update(ButtonRow)
            .where(ButtonRow.id == row.id, ButtonRow.used_at.is_(None))
            .values(used_at=day_of(now))
            .execution_options(synchronize_session=False),
        )
        if used != 1:
            raise Refusal("button.used")
    try:
        verb, *args = json.loads(unpadded(keys.unseal(_PURPOSE, row.sealed, bound_to=row.id)))
    except CannotUnseal as error:
        raise Refusal("button.unknown") from error
    if row.delivery_id is not None:
        await _prove_receipt(session, row.delivery_id, message_id, now=now)
    return Press(verb, tuple(args), row.delivery_id)


async def forget_buttons(session: AsyncSession, *, now: datetime) -> None:
    """Drop buttons whose time has passed."""
    await session.execute(delete(ButtonRow).where(ButtonRow.expires_at <= now))


async def _prove_receipt(session: AsyncSession, delivery_id: int, message_id: str | None, *, now: datetime) -> None:
    """A press under a message that may not have arrived proves that it has: what was to repeat it is called off."""
    lost = await session.scalar(
        select(Delivery.id).where(Delivery.id == delivery_id, Delivery.state == DeliveryState.UNKNOWN)
    )
    if lost is not None:
        await copies.arrived(session, {delivery_id: message_id}, reason="proved_by_button", now=now)


def _addressee(keys: KeyRing, button_id: str, chat: Recipient) -> str:
    return keys.fingerprint("button-addressee", button_id, str(chat))
