"""How a report comes in: piece by piece, sealed at once, handed in with one word, forwarded in the same transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Media, MediaKind, Point, Recipient
from db.engine import keys_of, owe_erasure
from db.marks import day_mark, random_id
from db.statements import changed, erase_rows
from db.tables.deliveries import MediaRow
from db.tables.reports import Hidden, ReportLink, ReportPart, ReportState
from db.tables.reports import Report as Report
from media.files import keep_media
from reports import forwarding
from reports.codes import Receipt
from reports.sealing import Link, ReportBox, code_prefix, new_data_key, seal_link
from texts.markup import clean, is_blank
from texts.numbers import new_number
from texts.refusal import Refusal
from unit.policy import Policy

#: Longest single message of a report, characters; Telegram's own limit is 4,096.
MAX_TEXT = 4096
#: Most messages one report takes; what comes after starts a report of its own.
MAX_PARTS = 60
#: How long a report can be traced back to the chat it came from.
LINK_LIFETIME = timedelta(days=90)
#: The purpose under which the day is marked on which a link dies.
LINK_DAY = "report-link"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a report: what officers see, and the untouched original when that is something else."""

    view: Media
    original: Media | None = None


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a report that is stored and not yet a part of it: what its parts will refer to."""

    kind: MediaKind
    view_id: int
    original_id: int | None = None
    sha256: str | None = None


async def open_report(session: AsyncSession, *, chat: Recipient, language: str, now: datetime) -> Report:
    """Start a report: a number and a data key of its own, and a sealed link back that dies on a date."""
    number = new_number("T")
    while await session.scalar(select(Report.id).where(Report.number == number)) is not None:
        number = new_number("T", length=5)
    keys = keys_of(session)
    report = Report(number=number, state=ReportState.DRAFT, data_key=new_data_key(keys, number))
    session.add(report)
    report.hidden = Hidden(started_at=now, language=language)
    await session.flush()
    link = Link(chat, dies_at=now + LINK_LIFETIME)
    day = day_mark(keys, LINK_DAY, link.dies_at)
    session.add(ReportLink(report_id=report.id, sealed=seal_link(keys, number, link), day=day))
    return report


async def add_text(session: AsyncSession, report: Report, text: str, *, now: datetime, kind: str = "text") -> None:
    """Add what was written.

    Raises:
        Refusal: `text.empty`, `text.too_long`, `report.full`; nothing is stored.
    """
    text = clean(text).strip()
    if is_blank(text):
        raise Refusal("text.empty")
    if len(text) > MAX_TEXT:
        raise Refusal("text.too_long", limit=MAX_TEXT, length=len(text))
    await _add_part(session, report, kind, {"text": text}, now=now)


async def fold_text(session: AsyncSession, report: Report, part_id: int | None, text: str, *, now: datetime) -> int:
    """Add what was written to the words before it, as lines of one message, so that many short ones find room.

    Args:
        part_id: The message to which the last words were added, if they were the last of all.

    Returns:
        The message these words are in now.

    Raises:
        Refusal: as `add_text` does.
    """
    text = clean(text).strip()
    part = await session.get(ReportPart, part_id) if part_id is not None else None
    if part is not None and part.report_id == report.id and not is_blank(text):
        box = ReportBox(keys_of(session), report.number, report.data_key or b"")
        value = box.unseal(part.sealed, part_id=part.id)
        joined = f"{value['text']}\n{text}"
        if len(joined) <= MAX_TEXT:
            part.sealed = box.seal({**value, "text": joined}, part_id=part.id)
            await session.flush()
            return part.id
    mine = select(ReportPart.id).where(ReportPart.report_id == report.id)
    before = set(await session.scalars(mine))
    await add_text(session, report, text, now=now)
    (added,) = set(await session.scalars(mine)) - before
    return added


def in_parts(text: str) -> list[str]:
    """Words that were kept line by line, in as few pieces as a report takes them in; never none."""
    pieces: list[str] = []
    for line in text.split("\n"):
        for start in range(0, max(len(line), 1), MAX_TEXT):
            piece = line[start : start + MAX_TEXT]
            if pieces and len(pieces[-1]) + len(piece) < MAX_TEXT:
                pieces[-1] += f"\n{piece}"
            else:
                pieces.append(piece)
    return pieces


async def add_file(session: AsyncSession, report: Report, file: File, *, caption: str = "", now: datetime) -> int:
    """Add a file with its caption: the view copy for officers, the original and its hash for investigators.

    Returns:
        The media id of the view copy.
    """
    kept = await keep_file(session, report.id, file)
    await add_kept(session, report, kept, caption=caption, now=now)
    return kept.view_id


async def keep_file(session: AsyncSession, report_id: int, file: File) -> KeptFile:
    """Store a file that may become a part of a report; until then it is erased with it, or by `drop_file`."""
    origin = f"report:{report_id}"
    view = await keep_media(session, file.view, origin=origin)
    if file.original is None:
        return KeptFile(file.view.kind, view.id)
    original = await keep_media(session, file.original, origin=origin)
    return KeptFile(file.view.kind, view.id, original.id, hashlib.sha256(file.original.content).hexdigest())


async def add_kept(session: AsyncSession, report: Report, kept: KeptFile, *, caption: str = "", now: datetime) -> None:
    """Make a stored file a part of a report."""
    value: dict[str, object] = {"text": clean(caption).strip()[:MAX_TEXT], "media": kept.view_id}
    if kept.original_id is not None:
        value |= {"original": kept.original_id, "sha256": kept.sha256}
    await _add_part(session, report, kept.kind, value, now=now)


async def drop_file(session: AsyncSession, kept: KeptFile) -> None:
    """Erase a stored file that does not become a part of a report."""
    ids = [media_id for media_id in (kept.view_id, kept.original_id) if media_id is not None]
    await erase_rows(session, delete(MediaRow).where(MediaRow.id.in_(ids)))


async def add_point(session: AsyncSession, report: Report, point: Point, *, now: datetime) -> None:
    """Add a point on the map."""
    await _add_part(session, report, "point", {"latitude": point.latitude, "longitude": point.longitude}, now=now)


async def count_parts(session: AsyncSession, report_id: int) -> int:
    """How many messages a report has."""
    return (
        await session.scalar(select(func.count()).select_from(ReportPart).where(ReportPart.report_id == report_id)) or 0
    )


async def hand_in(
    session: AsyncSession, report_id: int, *, receipt: Receipt, urgent: bool, now: datetime, policy: Policy
) -> Report:
    """Hand a report in and queue its forward to whoever is on duty, in one transaction.

    Args:
        receipt: A fresh one; of its code only the slow hash and a short keyed hash are stored.

    Raises:
        Refusal: `report.gone` when it was handed in before or withdrawn, `report.empty` when nothing is in it.
    """
    if not await count_parts(session, report_id):
        raise Refusal("report.empty")
    values = {"code_hash": receipt.slow_hash, "code_prefix": code_prefix(keys_of(session), receipt.code)}
    report = await _receive(session, report_id, now=now, policy=policy, urgent=urgent, **values)
    if report is None:
        raise Refusal("report.gone")
    return report


async def keep_unfinished(session: AsyncSession, report_id: int, *, now: datetime, policy: Policy) -> None:
    """A report left lying after its first content is kept, marked incomplete, and forwarded as such."""
    await _receive(session, report_id, now=now, policy=policy, incomplete=True)


async def _receive(
    session: AsyncSession, report_id: int, *, now: datetime, policy: Policy, **values: object
) -> Report | None:
    """From draft to received, once, whoever else tries; None when it was no draft any more."""
    won = await changed(
        session,
        update(Report)
        .where(Report.id == report_id, Report.state == ReportState.DRAFT)
        .values(state=ReportState.RECEIVED, **values),
    )
    if won != 1:
        return None
    report = await session.get_one(Report, report_id, populate_existing=True)
    report.received_at = now
    await forwarding.forward_first(session, report, now=now, policy=policy)
    return report


async def withdraw_draft(session: AsyncSession, report_id: int) -> None:
    """Forget a report its writer called off before handing it in."""
    report = await session.get(Report, report_id)
    if report is not None and report.state is ReportState.DRAFT:
        await erase(session, report)


async def erase(session: AsyncSession, report: Report) -> None:
    """Erase a report's key, parts, files and link; the row stays, empty, so that its number is not given again."""
    await forwarding.erase_content(session, report)
    owe_erasure(session)
    report.data_key = None
    report.code_hash = None
    report.code_prefix = None
    report.hidden = Hidden(started_at=report.started_at)
    report.state = ReportState.WITHDRAWN


async def _add_part(
    session: AsyncSession, report: Report, kind: str, value: dict[str, object], *, now: datetime
) -> None:
    number = await count_parts(session, report.id)
    if number >= MAX_PARTS:
        raise Refusal("report.full", limit=MAX_PARTS)
    box = ReportBox(keys_of(session), report.number, report.data_key or b"")
    part_id = random_id()
    sealed = box.seal({"kind": kind, "order": number, "at": now.isoformat(), **value}, part_id=part_id)
    session.add(ReportPart(id=part_id, report_id=report.id, sealed=sealed))
    await session.flush()


async def report_for_writer(session: AsyncSession, report_id: int) -> Report:
    """A report that is still being written; raises Refusal (`report.gone`)."""
    report = await session.get(Report, report_id)
    if report is None or report.state is not ReportState.DRAFT:
        raise Refusal("report.gone")
    return report
