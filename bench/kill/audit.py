"""What must hold when everybody has got through: what people were told, what was accepted and what the tables say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator

from sqlalchemy import func, select

from bench.botapi.messages import Message
from bench.botapi.server import FakeBotApi
from bench.kill.story import Story
from bench.kill.ward import ADMIN, DUTY, FRONT, SILENT
from bench.kill.wording import about, is_marked, pattern
from conversations.inbound import mark_of
from db.engine import Sessions
from db.tables.broadcasts import Broadcast, BroadcastPlace, Notice
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from db.tables.inbound import InboundUpdate, SeenUpdate
from db.tables.reports import Report, ReportState
from reports.codes import candidates, whose
from reports.forwarding import read_report
from reports.sealing import read_code


async def audit(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """Everything that does not hold, one line each."""
    for line in _doubled(api):
        yield line
    for check in (_updates, _reported, _enrolments, _notices, _confirmations):
        async for line in check(sessions, api, story):
            yield line


def _doubled(api: FakeBotApi) -> Iterator[str]:
    """Nobody gets the same words twice, unless the second time says so."""
    officers = range(ADMIN, FRONT)
    said = Counter((shown.chat_id, shown.history[0]) for shown in _everything(api) if not is_marked(shown))
    for (chat, words), times in said.items():
        # Officers may press twice; what they are shown unasked is about something with a number.
        if times > 1 and (chat not in officers or "🔔" in words):
            yield f"chat {chat} got this {times} times: {words[:80]!r}"


async def _updates(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """Every update was acted on once."""
    async with sessions.reading() as session:
        seen = set(await session.scalars(select(SeenUpdate.mark)))
        waiting = set(await session.scalars(select(InboundUpdate.mark)))
    given = {mark_of(sessions.keys, "telegram", update_id) for update_id in api.updates.given}
    story.counts["updates"] = len(seen - waiting)
    if seen != given or waiting:
        yield f"{len(given)} updates were given, {len(seen)} stored, {len(waiting)} of them not acted on"


async def _reported(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """Every receipt stands for a report that can be read, once, as it was written, and that an officer was shown."""
    on_duty = (DUTY, DUTY + 1)
    forwarded = "\n".join(shown.history[0] for shown in _everything(api) if shown.chat_id in on_duty)
    async with sessions.reading() as session:
        for shown_code, words in story.receipts.items():
            code = read_code(shown_code) or ""
            report_id = await whose(code, await candidates(session, code))
            if report_id is None:
                yield f"the receipt for {words[0]!r} leads to no report"
                continue
            report = await session.get_one(Report, report_id)
            body = await read_report(session, report)
            if body.texts != words:
                yield f"report {report.number} says {body.texts}, not {words}"
            if report.number not in forwarded or words[0] not in forwarded:
                yield f"report {report.number} was shown to no officer"
            if report.state is not ReportState.TAKEN:
                yield f"report {report.number} was said to be taken and is {report.state}"
        handed_in = await session.scalar(
            select(func.count()).select_from(Report).where(Report.state != ReportState.DRAFT)
        )
    if handed_in != len(story.handed_in):
        yield f"{len(story.handed_in)} reports were handed in, {handed_in} exist"


async def _enrolments(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """Every enrolment that was confirmed exists, once, and is active when that was said."""
    async with sessions.reading() as session:
        places = list(await session.scalars(select(Establishment).where(Establishment.kind == Kind.GUESTHOUSE)))
    codes = {place.code: place for place in places}
    if len({place.name for place in places}) < len(places):
        yield "a place was enrolled twice"
    for name, code in story.enrolled.items():
        if code not in codes or codes[code].name != name:
            yield f"{name} was told that {code} is enrolled, and it is not"
    for shown in _everything(api):
        if found := pattern("enrol.approved").search(shown.history[0]):
            place = codes.get(found["code"])
            if place is None or place.state is not EstablishmentState.ACTIVE:
                yield f"{found['code']} was told that it is active, and it is not"


async def _notices(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """What the ledger says was sent was accepted, what was accepted is sent or unknown, and nothing is left open."""
    async with sessions.reading() as session:
        rows = (
            await session.execute(
                select(Delivery.address, Delivery.state, Delivery.resend_of, Notice.number)
                .join(Broadcast, Broadcast.id == Delivery.broadcast_id)
                .join(Notice, Notice.id == Broadcast.notice_id)
            )
        ).all()
    accepted = {
        (shown.chat_id, found[0])
        for shown in _everything(api)
        if shown.chat_id >= SILENT and (found := re.search(r"\bTB-\w+", shown.history[0]))
    }
    known = {(int(row.address), row.number) for row in rows}
    story.counts["notice copies"] = len(accepted)
    for row in rows:
        pair = (int(row.address), row.number)
        if row.state is DeliveryState.SENT and pair not in accepted:
            yield f"notice {row.number} to {row.address} is said to be sent, and never arrived"
        if row.state not in (DeliveryState.SENT, DeliveryState.UNKNOWN):
            yield f"notice {row.number} to {row.address} is {row.state}"
    for chat, number in accepted - known:
        yield f"notice {number} reached {chat}, and the ledger knows nothing of it"


async def _confirmations(sessions: Sessions, api: FakeBotApi, story: Story) -> AsyncIterator[str]:
    """Every confirmation a person was shown counts."""
    async with sessions.reading() as session:
        rows = await session.execute(
            select(Contact.address, Notice.number)
            .join(BroadcastPlace, BroadcastPlace.establishment_id == Contact.establishment_id)
            .join(Broadcast, Broadcast.id == BroadcastPlace.broadcast_id)
            .join(Notice, Notice.id == Broadcast.notice_id)
            .where(BroadcastPlace.acknowledged_at.is_not(None))
        )
        counted = {(int(row.address), row.number) for row in rows}
    shown_as = {
        (shown.chat_id, about(shown.history[0]))
        for shown in _everything(api)
        if shown.chat_id >= SILENT and any(pattern("notice.confirmed").search(words) for words in shown.history[1:])
    }
    story.counts["confirmations"] = len(counted)
    for chat, number in shown_as - counted:
        yield f"chat {chat} was shown that it confirmed {number}, and that does not count"


def _everything(api: FakeBotApi) -> Iterable[Message]:
    """All that the bot has written."""
    return (sending.message for sending in api.sent)
