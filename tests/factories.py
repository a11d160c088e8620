"""Puts into the database what a test needs to be there already."""

from __future__ import annotations

from datetime import datetime, timedelta

from channels.port import Recipient
from db.engine import Sessions
from db.tables.establishments import Contact, ContactRole, Establishment, EstablishmentState, Kind
from db.tables.officers import Officer, OfficerChat, Role, Shift
from officers.accounts import actor_for
from officers.permissions import Actor
from texts.folding import fold
from unit.areas import add_area


class Factory:
    """Each call is a transaction of its own."""

    def __init__(self, sessions: Sessions, now: datetime) -> None:
        self._sessions = sessions
        self._now = now

    async def officer(self, chat: Recipient, role: Role = Role.COMMANDER, *, name: str = "") -> Actor:
        """An officer who is known by one chat."""
        async with self._sessions.begin() as session:
            officer = Officer(name=name or f"Cán bộ {chat.address}", role=role, created_at=self._now)
            session.add(officer)
            await session.flush()
            session.add(OfficerChat(officer_id=officer.id, channel=chat.channel, address=chat.address))
            await session.flush()
            return await actor_for(session, chat)

    async def shift(self, officer: Actor, *, starts: timedelta = timedelta(), lasts: timedelta | None = None) -> None:
        """A shift, from `starts` after now."""
        begins = self._now + starts
        async with self._sessions.begin() as session:
            session.add(
                Shift(
                    officer_id=officer.officer_id or 0, starts_at=begins, ends_at=begins + (lasts or timedelta(hours=8))
                )
            )

    async def area(self, name: str) -> int:
        """An area of the ward."""
        async with self._sessions.begin() as session:
            return (await add_area(session, name)).id

    async def place(
        self,
        name: str = "Nhà nghỉ Hoa Mai",
        *contacts: Recipient,
        kind: Kind = Kind.GUESTHOUSE,
        address: str = "12 Lê Lợi",
        area_id: int | None = None,
        state: EstablishmentState = EstablishmentState.ACTIVE,
        phone: str | None = "+84912345678",
    ) -> int:
        """An establishment and the chats that speak for it; its id."""
        async with self._sessions.begin() as session:
            place = Establishment(
                kind=kind,
                name=name,
                address=address,
                folded=fold(f"{name} · {address}"),
                phone=phone,
                area_id=area_id,
                state=state,
                created_at=self._now,
            )
            session.add(place)
            await session.flush()
            for chat in contacts:
                session.add(
                    Contact(
                        establishment_id=place.id,
                        channel=chat.channel,
                        address=chat.address,
                        role=ContactRole.OWNER,
                        created_at=self._now,
                    )
                )
            return place.id
