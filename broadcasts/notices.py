"""Officers' notices: written, scheduled, paused, cancelled, checked by anybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.facts import Draft, NoticeFacts, NoticeState, NoticeText
from broadcasts.shifting import STEP, broadcasts_of, leaves_at, shift_all
from channels.port import Recipient
from db.statements import changed
from db.tables.broadcasts import Notice, NoticePart, NoticePlace
from db.tables.establishments import Establishment
from establishments.groups import AudiencePart, audience_parts
from officers.permissions import Actor, Permission, require
from texts.markup import is_blank, parse
from texts.numbers import new_number
from texts.refusal import Refusal
from unit.policy import Policy

#: Longest notice, characters as people see them; with our header it fits one message of every channel but plain text.
MAX_TEXT = 3500
#: A notice whose time passed longer ago than this (the process was down) is not sent any more.
MOST_LATE = timedelta(hours=12)


def check_text(markup: str) -> str:
    """The markup of a notice if it may be one; raises Refusal (`text.empty`, `text.too_long`)."""
    try:
        text, _ = parse(markup)
    except ValueError as error:
        raise Refusal("notice.bad_markup") from error
    if is_blank(text):
        raise Refusal("text.empty")
    if len(text) > MAX_TEXT:
        raise Refusal("text.too_long", limit=MAX_TEXT, length=len(text))
    return markup


async def schedule_notice(
    session: AsyncSession,
    actor: Actor,
    draft: Draft,
    *,
    now: datetime,
    number: str | None = None,
    audience: Sequence[AudiencePart] | None = None,
) -> NoticeFacts:
    """Store a notice with its audience frozen; it is due at once, or at `scheduled_for`.

    Args:
        audience: The audience as it was read a moment ago outside this transaction, which a large one would hold up;
            None: it is read here. What is more than STEP is written down by name in `name_more`.

    Raises:
        Refusal: may not; the audience is empty (`notice.nobody`); the time has passed (`when.past`).
    """
    officer_id = require(actor, Permission.WRITE_NOTICES)
    if audience is None:
        audience = await audience_parts(session, draft.audience)
    if not audience:
        raise Refusal("notice.nobody")
    if draft.scheduled_for is not None and draft.scheduled_for < now:
        raise Refusal("when.past")
    notice = Notice(
        number=number or await free_number(session),
        state=NoticeState.SCHEDULED,
        title=title_of(draft.html),
        html=check_text(draft.html),
        attachment_kind=draft.attachment_kind,
        media_id=draft.media_id,
        audience=draft.audience,
        places=sum(part.size for part in audience),
        response=draft.response,
        urgent=draft.urgent,
        at_night=draft.at_night,
        author_id=officer_id,
        author_channel=actor.chat.channel,
        author_address=actor.chat.address,
        scheduled_for=draft.scheduled_for or now,
        created_at=now,
    )
    session.add(notice)
    await session.flush()
    await _freeze(session, notice, audience)
    await _name(session, notice.id, size=STEP)
    return facts_of(notice)


async def name_more(session: AsyncSession, *, size: int = STEP) -> bool:
    """Write down by name `size` more of the audience that is needed first; returns whether any waited for it."""
    notice_id = await session.scalar(
        select(NoticePart.notice_id)
        .join(Notice, Notice.id == NoticePart.notice_id)
        .order_by(Notice.urgent.desc(), Notice.scheduled_for, Notice.id)
        .limit(1)
    )
    if notice_id is None:
        return False
    await _name(session, notice_id, size=size)
    return True


async def free_number(session: AsyncSession) -> str:
    """A notice number nobody has."""
    number = new_number("TB")
    while await session.scalar(select(Notice.id).where(Notice.number == number)) is not None:
        number = new_number("TB", length=5)
    return number


def title_of(markup: str) -> str:
    """The first line of a notice, at most 80 characters."""
    first = next((line.strip() for line in parse(markup)[0].splitlines() if line.strip()), "")
    return first if len(first) <= 80 else first[:79].rstrip() + "…"


async def pause_notice(session: AsyncSession, actor: Actor, notice_id: int, *, now: datetime) -> NoticeFacts:
    """Hold a notice before its next send.

    Raises:
        Refusal: may not, or it is not scheduled or running (`notice.not_now`).
    """
    notice = await _move(session, actor, notice_id, (NoticeState.SCHEDULED, NoticeState.RUNNING), NoticeState.PAUSED)
    await shift_all(session, notice, now=now)
    return facts_of(notice)


async def resume_notice(
    session: AsyncSession, actor: Actor, notice_id: int, *, now: datetime, policy: Policy | None = None
) -> NoticeFacts:
    """Let a held notice go on where it stopped; raises Refusal as `pause_notice` does.

    Args:
        policy: Whose quiet hours it keeps; None: nobody's.
    """
    notice = await _move(session, actor, notice_id, (NoticeState.PAUSED,), NoticeState.SCHEDULED)
    broadcasts = await broadcasts_of(session, notice.id)
    if not broadcasts:
        return facts_of(notice)
    is_done = all(broadcast.finished_at for broadcast in broadcasts)
    notice.state = NoticeState.FINISHED if is_done else NoticeState.RUNNING
    for broadcast in broadcasts:
        broadcast.held_until = leaves_at(notice, now=now, policy=policy) if policy is not None else None
    await shift_all(session, notice, now=now)
    return facts_of(notice)


async def cancel_notice(session: AsyncSession, actor: Actor, notice_id: int, *, now: datetime) -> NoticeFacts:
    """Call off what has not been sent; raises Refusal as `pause_notice` does."""
    notice = await _move(
        session,
        actor,
        notice_id,
        (NoticeState.SCHEDULED, NoticeState.RUNNING, NoticeState.PAUSED),
        NoticeState.CANCELLED,
    )
    await shift_all(session, notice, now=now)
    return facts_of(notice)


async def find_notice(session: AsyncSession, number: str) -> NoticeFacts | None:
    """The notice of that number if it has been sent to anybody; what was never sent is nobody's business."""
    typed = "".join(letter for letter in number.upper() if letter.isalnum())
    if not typed.startswith("TB"):
        typed = "TB" + typed
    found: Notice | None = await session.scalar(
        select(Notice).where(Notice.number == f"TB-{typed[2:]}", Notice.sent_at.is_not(None))
    )
    return facts_of(found) if found is not None else None


async def list_notices(session: AsyncSession, actor: Actor, *, limit: int = 8, offset: int = 0) -> list[NoticeFacts]:
    """The newest notices first."""
    require(actor, Permission.SEE_PROGRESS)
    found = await session.scalars(select(Notice).order_by(Notice.id.desc()).limit(limit).offset(offset))
    return [facts_of(notice) for notice in found]


async def count_notices(session: AsyncSession, actor: Actor) -> int:
    """How many notices there are."""
    require(actor, Permission.SEE_PROGRESS)
    return await session.scalar(select(func.count()).select_from(Notice)) or 0


async def notice_for(session: AsyncSession, actor: Actor, notice_id: int) -> NoticeFacts:
    """A notice an officer may follow; raises Refusal."""
    require(actor, Permission.SEE_PROGRESS)
    notice = await session.get(Notice, notice_id)
    if notice is None:
        raise Refusal("notice.unknown")
    return facts_of(notice)


def facts_of(notice: Notice) -> NoticeFacts:
    """A notice as it stands now, for others."""
    return NoticeFacts(
        id=notice.id,
        state=notice.state,
        title=notice.title,
        text=NoticeText(notice.number, notice.html, notice.response, notice.media_id, notice.attachment_kind),
        places=notice.places,
        urgent=notice.urgent,
        at_night=notice.at_night,
        author=Recipient(notice.author_channel, notice.author_address),
        created_at=notice.created_at,
        scheduled_for=notice.scheduled_for,
        sent_at=notice.sent_at,
    )


async def _freeze(session: AsyncSession, notice: Notice, audience: Sequence[AudiencePart]) -> None:
    connection = await session.connection()
    await connection.execute(
        insert(NoticePart.__table__),  # type: ignore[arg-type]
        [{"notice_id": notice.id, "part": one.part, "size": one.size, "ids": one.ids} for one in audience],
    )


async def _name(session: AsyncSession, notice_id: int, *, size: int) -> None:
    """Write down by name the next establishments of a frozen audience: one part at least, `size` at most."""
    waiting = await session.scalars(
        select(NoticePart)
        .where(NoticePart.notice_id == notice_id)
        .order_by(NoticePart.part)
        .limit(size)
        .with_for_update(skip_locked=True)
    )
    parts: list[NoticePart] = []
    for part in waiting:
        if parts and sum(one.size for one in parts) + part.size > size:
            break
        parts.append(part)
    ids = [int(which) for part in parts for which in part.ids.split(",")]
    await session.execute(
        insert(NoticePlace).from_select(
            ["notice_id", "establishment_id", "name", "address"],
            select(literal(notice_id), Establishment.id, Establishment.name, Establishment.address).where(
                Establishment.id.in_(ids)
            ),
        )
    )
    await session.execute(
        delete(NoticePart)
        .where(NoticePart.notice_id == notice_id, NoticePart.part.in_([part.part for part in parts]))
        .execution_options(synchronize_session=False)
    )


async def _move(
    session: AsyncSession, actor: Actor, notice_id: int, before: tuple[NoticeState, ...], after: NoticeState
) -> Notice:
    require(actor, Permission.WRITE_NOTICES)
    moved = await changed(
        session, update(Notice).where(Notice.id == notice_id, Notice.state.in_(before)).values(state=after)
    )
    notice = await session.get(Notice, notice_id, populate_existing=True)
    if notice is None:
        raise Refusal("notice.unknown")
    if moved != 1:
        raise Refusal("notice.not_now", number=notice.number)
    return notice
