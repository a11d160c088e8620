"""Broadcast groups: some exist by themselves (all, each kind, each area), others are picked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, String, and_, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.statements import insert_ignoring
from db.tables.establishments import (
    Contact,
    Establishment,
    Group,
    GroupMember,
)
from establishments.facts import AudienceSize, EstablishmentState, GroupChoice, GroupFacts, Kind, Member
from establishments.registration import short_text
from officers.permissions import Actor, Permission, require
from texts.folding import fold
from texts.refusal import Refusal
from unit.areas import area_name, present_areas

GROUP_NAME_LIMIT = 60
ALL = "all"
#: How many ids one part of an audience spans.
_PART = 250


@dataclass(frozen=True, slots=True)
class AudiencePart:
    """Some of an audience: `ids` are those of its establishments, joined by commas, `size` how many they are."""

    part: int
    size: int
    ids: str


async def group_choices(session: AsyncSession) -> list[GroupChoice]:
    """Every group that has somebody in it: all, by hand, by kind, by area."""
    listed = Establishment.state.in_(_LISTED)
    total = await session.scalar(select(func.count()).select_from(Establishment).where(listed)) or 0
    choices = [GroupChoice(ALL, None, total)]
    by_hand = await session.execute(
        select(Group.id, Group.name, func.count(Establishment.id))
        .outerjoin(GroupMember, GroupMember.group_id == Group.id)
        .outerjoin(Establishment, and_(Establishment.id == GroupMember.establishment_id, listed))
        .group_by(Group.id, Group.name)
        .order_by(Group.id)
    )
    choices += [GroupChoice(f"group:{group_id}", name, size) for group_id, name, size in by_hand]
    kinds = await session.execute(select(Establishment.kind, func.count()).where(listed).group_by(Establishment.kind))
    sizes = {row[0]: row[1] for row in kinds}
    choices += [GroupChoice(f"kind:{kind}", None, sizes[kind]) for kind in Kind if kind in sizes]
    areas = await session.execute(
        select(Establishment.area_id, func.count()).where(listed).group_by(Establishment.area_id)
    )
    sizes_by_area = {row[0]: row[1] for row in areas}
    choices += [
        GroupChoice(f"area:{area.id}", area.name, sizes_by_area[area.id])
        for area in await present_areas(session)
        if area.id in sizes_by_area
    ]
    return choices


async def group_name(session: AsyncSession, key: str) -> str | None:
    """What people have called the group behind a key; None for all and for a kind (see messages.group_named)."""
    what, _, which = key.partition(":")
    if what == "area":
        return await area_name(session, int(which))
    if what == "group":
        group = await session.get(Group, int(which))
        return group.name if group else ""
    return None


async def members(session: AsyncSession, audience: str, *, limit: int | None = None, offset: int = 0) -> list[Member]:
    """The establishments in any of the groups named in `audience` (keys joined by commas), each once, by name.

    Args:
        limit: How many at most, after the first `offset`; a ward may have more than anybody reads at once.
    """
    found = await session.execute(
        select(Establishment.id, Establishment.name, Establishment.address, _IS_CONNECTED.label("connected"))
        .where(_in_any(audience))
        .order_by(Establishment.folded, Establishment.id)
        .limit(limit)
        .offset(offset)
    )
    return [Member(*row) for row in found]


async def audience_size(session: AsyncSession, audience: str) -> AudienceSize:
    """How many `members` there are, counted by the database."""
    counted = await session.execute(
        select(func.count(), func.count().filter(_IS_CONNECTED)).select_from(Establishment).where(_in_any(audience))
    )
    places, connected = counted.one()
    return AudienceSize(places, connected)


async def audience_parts(session: AsyncSession, audience: str) -> tuple[AudiencePart, ...]:
    """All `members`, in few rows: to be frozen at once, however many they are."""
    part = (Establishment.id // _PART).label("part")
    ids = func.aggregate_strings(cast(Establishment.id, String), ",")
    found = await session.execute(
        select(part, func.count(), ids).where(_in_any(audience)).group_by(part).order_by(part)
    )
    return tuple(AudiencePart(*row) for row in found)


async def make_group(
    session: AsyncSession, actor: Actor, *, name: str, establishment_ids: Sequence[int] = (), now: datetime
) -> GroupFacts:
    """Make a hand-picked group.

    Raises:
        Refusal: may not; no or too long a name; `group.exists`.
    """
    officer_id = require(actor, Permission.MANAGE_GROUPS)
    name = await _free_name(session, name)
    group = Group(name=name, folded=fold(name), created_by=officer_id, created_at=now)
    session.add(group)
    await session.flush()
    for establishment_id in establishment_ids:
        await add_member(session, actor, group.id, establishment_id)
    return GroupFacts(group.id, group.name)


async def rename_group(session: AsyncSession, actor: Actor, group_id: int, *, name: str) -> GroupFacts:
    """Give a hand-picked group another name; raises Refusal as `make_group` does."""
    require(actor, Permission.MANAGE_GROUPS)
    name = await _free_name(session, name, beside=group_id)
    group = await session.get_one(Group, group_id)
    group.name, group.folded = name, fold(name)
    return GroupFacts(group.id, group.name)


async def _free_name(session: AsyncSession, typed: str, *, beside: int | None = None) -> str:
    name = short_text(typed, limit=GROUP_NAME_LIMIT)
    taken_by = await session.scalar(select(Group.id).where(Group.folded == fold(name)))
    if taken_by not in (None, beside):
        raise Refusal("group.exists", name=name)
    return name


async def add_member(session: AsyncSession, actor: Actor, group_id: int, establishment_id: int) -> None:
    """Put an establishment into a hand-picked group; twice is once."""
    require(actor, Permission.MANAGE_GROUPS)
    if await session.get(Group, group_id) is None or await session.get(Establishment, establishment_id) is None:
        raise Refusal("place.unknown")
    await session.execute(
        insert_ignoring(session, GroupMember).values(group_id=group_id, establishment_id=establishment_id)
    )


#: Establishments a notice is for: approved ones, and those on the ward's list that have not connected yet,
#: who are counted and listed as not connected rather than left out in silence.
_LISTED = (EstablishmentState.ACTIVE, EstablishmentState.INVITED)


_IS_CONNECTED = select(Contact.id).where(Contact.establishment_id == Establishment.id).exists()


def _in_any(audience: str) -> ColumnElement[bool]:
    """Whether an establishment is for a notice to the groups named in `audience`."""
    return Establishment.state.in_(_LISTED) & or_(*[_in_group(key) for key in audience.split(",")])


def _in_group(key: str) -> ColumnElement[bool]:
    what, _, which = key.partition(":")
    if what == ALL:
        return Establishment.id.is_not(None)
    if what == "kind":
        return Establishment.kind == Kind(which)
    if what == "area":
        return Establishment.area_id == int(which)
    if what == "group":
        return Establishment.id.in_(select(GroupMember.establishment_id).where(GroupMember.group_id == int(which)))
    raise ValueError(f"not a group: {key}")
