"""Reports at the use cases: sealed, handed in once, taken once, passed on, erased; on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from channels.port import Media, Point, Recipient
from db.tables.deliveries import Content, Delivery, Lane, MediaRow
from db.tables.reports import Report, ReportLink, ReportPart, ReportState
from officers.permissions import Role
from reports.codes import NoReceiptReady, Receipt, Receipts, candidates, whose
from reports.escalation import escalate_due
from reports.forwarding import read_report
from reports.intake import (
    LINK_LIFETIME,
    MAX_PARTS,
    MAX_TEXT,
    File,
    add_file,
    add_point,
    add_text,
    erase,
    hand_in,
    keep_unfinished,
    open_report,
)
from reports.sealing import code_fits, codes_in, hash_code, new_code, read_code, show_code
from reports.triage import (
    add_answer,
    ask_reporter,
    card_for_officer,
    close_report,
    forget_links,
    inbox,
    stop_contact,
    take_report,
)
from texts.refusal import Refusal
from unit.policy import Policy

LAN, DUTY, CHIEF, ADMIN = (Recipient("memory", name) for name in ("lan", "dung", "chi", "quan"))
POLICY = Policy()
CODE = "4821093755261840"


@pytest.fixture
def written(sessions, now):
    async def written(*words: str) -> int:
        async with sessions.begin() as session:
            report = await open_report(session, chat=LAN, language="vi", now=now)
            for one in words or ("Có trộm",):
                await add_text(session, report, one, now=now)
            return report.id

    return written


@pytest.fixture
def handed_in(sessions, now, written):
    async def handed_in(*words: str, urgent: bool = False, code: str = CODE) -> int:
        which = await written(*words)
        async with sessions.begin() as session:
            await hand_in(session, which, receipt=receipt(code), urgent=urgent, now=now, policy=POLICY)
        return which

    return handed_in


@pytest.fixture
def all_of(sessions):
    async def all_of(table) -> list:
        async with sessions.reading() as session:
            return list(await session.scalars(select(table)))

    return all_of


def receipt(code: str = CODE) -> Receipt:
    """A receipt whose hash took no time."""
    return Receipt(code, f"not slow: {code}")


async def refusal(sessions, step) -> str:
    with pytest.raises(Refusal) as told:
        async with sessions.begin() as session:
            await step(session)
    return told.value.key


# --- writing ---


async def test_parts_open_in_the_order_they_came(sessions, now, written):
    which = await written("Một", "Hai")
    async with sessions.begin() as session:
        report = await session.get_one(Report, which)
        await add_point(session, report, Point(10.5, 106.25), now=now)
        view = Media("photo", "anh.jpg", "image/jpeg", b"jpeg")
        await add_file(session, report, File(view, view), caption="Ba", now=now)
        body = await read_report(session, report)
    assert body.texts == ("Một", "Hai", "Ba")
    assert body.point == Point(10.5, 106.25)
    assert [file.kind for file in body.attachments] == ["photo"]


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "\x00", "x" * (MAX_TEXT + 1)])
async def test_what_says_nothing_or_too_much_is_not_stored(sessions, now, written, all_of, text):
    which = await written()

    async def add(session):
        await add_text(session, await session.get_one(Report, which), text, now=now)

    assert await refusal(sessions, add) in ("text.empty", "text.too_long")
    assert len(await all_of(ReportPart)) == 1


async def test_a_report_takes_only_so_many_messages(sessions, now, written):
    which = await written(*(str(number) for number in range(MAX_PARTS)))

    async def one_more(session):
        await add_text(session, await session.get_one(Report, which), "x", now=now)

    assert await refusal(sessions, one_more) == "report.full"


async def test_words_and_reporter_are_sealed(all_of, handed_in):
    await handed_in("Có trộm ở hẻm 5")
    raw = b"".join([row.sealed for table in (ReportPart, ReportLink, Content) for row in await all_of(table)])
    assert "hẻm 5".encode() not in raw and b"lan" not in raw


async def test_a_part_moved_to_another_report_does_not_open(sessions, written):
    first, second = await written("Một"), await written("Hai")
    async with sessions.begin() as session:
        for part in await session.scalars(select(ReportPart).where(ReportPart.report_id == first)):
            part.report_id = second
        body = await read_report(session, await session.get_one(Report, second))
    assert (body.texts, body.unreadable) == (("Hai",), 1)


# --- handing in ---


async def test_a_report_is_handed_in_once(sessions, now, handed_in):
    which = await handed_in()

    async def again(session):
        await hand_in(session, which, receipt=receipt(), urgent=False, now=now, policy=POLICY)

    assert await refusal(sessions, again) == "report.gone"


async def test_two_hand_ins_at_once_are_one(sessions, now, written, make, all_of):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    which = await written()

    async def hands_in():
        async with sessions.begin() as session:
            await hand_in(session, which, receipt=receipt(), urgent=False, now=now, policy=POLICY)

    results = await asyncio.gather(hands_in(), hands_in(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Refusal"]
    assert len(await all_of(Delivery)) == 1


async def test_an_empty_report_is_not_handed_in(sessions, now):
    async with sessions.begin() as session:
        report = await open_report(session, chat=LAN, language="vi", now=now)

    async def hands_in(session):
        await hand_in(session, report.id, receipt=receipt(), urgent=False, now=now, policy=POLICY)

    assert await refusal(sessions, hands_in) == "report.empty"


async def test_the_forward_is_queued_in_the_same_transaction(sessions, now, written, make, all_of):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    which = await written()
    with pytest.raises(LookupError):
        async with sessions.begin() as session:
            await hand_in(session, which, receipt=receipt(), urgent=False, now=now, policy=POLICY)
            raise LookupError
    assert await all_of(Delivery) == []
    assert (await all_of(Report))[0].state is ReportState.DRAFT


async def test_it_goes_to_whoever_is_on_duty_in_the_reports_lane(handed_in, make, all_of):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    await make.officer(CHIEF)
    await handed_in()
    assert [(row.address, row.lane) for row in await all_of(Delivery)] == [("dung", Lane.REPORT)]


async def test_between_shifts_it_goes_to_the_administrators(handed_in, make, all_of):
    over = await make.officer(DUTY, Role.DUTY)
    await make.shift(over, starts=timedelta(hours=-8), lasts=timedelta(hours=8))
    await make.officer(ADMIN, Role.ADMIN)
    await handed_in()
    assert [row.address for row in await all_of(Delivery)] == ["quan"]


async def test_an_unfinished_report_is_kept_and_forwarded_once(sessions, now, written, make, all_of):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    which = await written()
    for _ in range(2):
        async with sessions.begin() as session:
            await keep_unfinished(session, which, now=now, policy=POLICY)
    (report,) = await all_of(Report)
    assert report.incomplete and report.state is ReportState.RECEIVED
    assert len(await all_of(Delivery)) == 1


# --- codes ---


@pytest.mark.parametrize(
    "typed",
    [
        "4821 0937 5526 1840",
        "4821-0937-5526-1840",
        "4821093755261840",
        " 4821.0937.5526.1840 ",
        "４８２１　０９３７　５５２６　１８４０",
        "４８２１－０９３７－５５２６－１８４０",
        "٤٨٢١٠٩٣٧٥٥٢٦١٨٤٠",
        "𝟒𝟖𝟐𝟏𝟎𝟗𝟑𝟕𝟓𝟓𝟐𝟔𝟏𝟖𝟒𝟎",
    ],
)
def test_a_code_is_read_however_it_is_written(typed):
    assert read_code(typed) == CODE
    assert codes_in(f"Mã của tôi: {typed}!") == [CODE]


@pytest.mark.parametrize("typed", ["", "4821", "4821 0937 5526 184O", CODE + "1", "４８２１", CODE + "１"])
def test_anything_else_is_no_code(typed):
    assert read_code(typed) is None


def test_a_code_fits_its_own_hash_only():
    code = new_code()
    assert read_code(show_code(code)) == code
    assert code_fits(code, hash_code(code))
    assert not code_fits(new_code(), hash_code(code))
    assert not code_fits(code, "")


async def test_a_code_finds_its_report_and_no_other(sessions, written, now):
    ids = {}
    for code in (CODE, "1111222233334444"):
        ids[code] = await written()
        async with sessions.begin() as session:
            mine = Receipt(code, hash_code(code))
            await hand_in(session, ids[code], receipt=mine, urgent=False, now=now, policy=POLICY)
    for code, expected in {**ids, "0" * 16: None}.items():
        async with sessions.reading() as session:
            found = await candidates(session, code)
        assert await whose(code, found) == expected


async def test_what_the_row_tells_of_a_code_proves_nothing(sessions, handed_in, all_of):
    """Several reports may share the short keyed hash; the slow one says whose the code is."""
    mine, other = await handed_in(), await handed_in(code="1111222233334444")
    async with sessions.begin() as session:
        await session.execute(update(Report).values(code_prefix=(await session.get_one(Report, mine)).code_prefix))
        await session.execute(update(Report).where(Report.id == mine).values(code_hash=hash_code(CODE)))
    async with sessions.reading() as session:
        found = await candidates(session, CODE)
    assert {candidate.report_id for candidate in found} == {mine, other}
    assert await whose(CODE, found) == mine
    assert all(len(report.code_prefix) == 5 for report in await all_of(Report))


async def test_receipts_are_made_ahead_and_given_once():
    receipts = Receipts()
    with pytest.raises(NoReceiptReady):
        receipts.take()
    await receipts.prepare()
    taken = receipts.take()
    assert code_fits(taken.code, taken.slow_hash)
    with pytest.raises(NoReceiptReady):
        receipts.take()


async def test_an_erased_report_leaves_nothing_but_its_number(sessions, handed_in, all_of, make, now):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    which = await handed_in()
    async with sessions.begin() as session:
        report = await session.get_one(Report, which)
        view = Media("photo", "anh.jpg", "image/jpeg", b"jpeg")
        await add_file(session, report, File(view), now=now)
        await erase(session, report)
    for table in (ReportPart, ReportLink, MediaRow, Content):
        assert await all_of(table) == []
    (report,) = await all_of(Report)
    assert (report.data_key, report.code_hash, report.code_prefix) == (None, None, None)
    async with sessions.reading() as session:
        assert await candidates(session, CODE) == []


# --- taking, asking, closing ---


async def take(sessions, actor, which, now):
    async with sessions.begin() as session:
        await take_report(session, actor, which, now=now, policy=POLICY)


async def test_two_officers_at_once_and_one_of_them_takes_it(sessions, handed_in, make, now, all_of):
    officers = [await make.officer(chat, Role.DUTY) for chat in (DUTY, CHIEF)]
    which = await handed_in()
    results = await asyncio.gather(*(take(sessions, one, which, now) for one in officers), return_exceptions=True)
    (refused,) = [result for result in results if isinstance(result, Refusal)]
    assert refused.key == "report.taken_by"
    async with sessions.reading() as session:
        report = await session.get_one(Report, which)
        assert report.state is ReportState.TAKEN and report.escalates_at is None
        assert report.taken_at == report.received_at == now


@pytest.mark.parametrize("role", [Role.AREA, Role.FRONT])
async def test_who_may_not_handle_reports_reads_and_takes_none(sessions, handed_in, make, now, role):
    actor = await make.officer(DUTY, role)
    which = await handed_in()
    assert await refusal(sessions, lambda s: take_report(s, actor, which, now=now, policy=POLICY)) == "refused.role"
    assert await refusal(sessions, lambda s: card_for_officer(s, actor, which, now=now)) == "refused.role"
    assert await refusal(sessions, lambda s: inbox(s, actor, now=now)) == "refused.role"


async def test_a_draft_is_shown_to_nobody(sessions, written, make, now):
    actor = await make.officer(DUTY, Role.DUTY)
    which = await written()
    assert await refusal(sessions, lambda s: card_for_officer(s, actor, which, now=now)) == "report.unknown"
    async with sessions.reading() as session:
        assert await inbox(session, actor, now=now) == []


async def test_only_a_taken_report_is_asked_about_and_closed(sessions, handed_in, make, now):
    actor = await make.officer(DUTY, Role.DUTY)
    which = await handed_in()

    async def ask(session):
        await ask_reporter(session, actor, which, "Ở đâu?", now=now)

    async def close(session):
        await close_report(session, actor, which, ReportState.RESOLVED, now=now, policy=POLICY)

    assert await refusal(sessions, ask) == await refusal(sessions, close) == "report.not_open"
    await take(sessions, actor, which, now)
    async with sessions.begin() as session:
        await ask(session)
        await close(session)
    assert await refusal(sessions, close) == "report.not_open"


async def test_what_tells_the_reporter_hides_the_reporters_address(sessions, handed_in, make, now, all_of):
    actor = await make.officer(DUTY, Role.DUTY)
    await take(sessions, actor, await handed_in(), now)
    told = [row for row in await all_of(Delivery) if row.address_sealed]
    assert len(told) == 1
    assert "lan" not in told[0].address


async def test_the_answer_goes_to_the_officer_who_took_it(sessions, handed_in, make, now, all_of):
    actor = await make.officer(DUTY, Role.DUTY)
    which = await handed_in()
    await take(sessions, actor, which, now)
    async with sessions.begin() as session:
        await add_answer(session, which, "Ở chợ", now=now)
    newest = max(await all_of(Delivery), key=lambda row: row.id)
    assert (newest.address, newest.edits, newest.address_sealed) == ("dung", None, False)


async def test_ending_contact_cuts_the_link_of_ones_own_reports_only(sessions, handed_in, all_of):
    await handed_in()
    async with sessions.begin() as session:
        assert await stop_contact(session, Recipient("memory", "minh")) == 0
        assert await stop_contact(session, Recipient("telegram", "lan")) == 0
    assert len(await all_of(ReportLink)) == 1
    async with sessions.begin() as session:
        assert await stop_contact(session, LAN) == 1
    assert await all_of(ReportLink) == []


async def test_a_link_dies_on_its_date(sessions, handed_in, make, now, all_of):
    actor = await make.officer(DUTY, Role.DUTY)
    which = await handed_in()
    await take(sessions, actor, which, now)
    async with sessions.begin() as session:
        await forget_links(session, now=now + LINK_LIFETIME - timedelta(seconds=1))
        assert len(list(await session.scalars(select(ReportLink)))) == 1

    async def asks_late(session):
        await ask_reporter(session, actor, which, "Ở đâu?", now=now + LINK_LIFETIME)

    assert await refusal(sessions, asks_late) == "report.no_contact"
    async with sessions.begin() as session:
        await forget_links(session, now=now + LINK_LIFETIME)
    assert await all_of(ReportLink) == []


# --- escalation ---


async def test_two_tickers_pass_a_report_on_once(sessions, handed_in, make, now, all_of):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    await make.officer(CHIEF)
    await handed_in()

    async def tick() -> int:
        async with sessions.begin() as session:
            return await escalate_due(session, now=now + timedelta(minutes=5), policy=POLICY)

    assert sum(await asyncio.gather(tick(), tick(), tick())) == 1
    assert sorted(row.address for row in await all_of(Delivery)) == ["chi", "dung"]


@pytest.mark.parametrize(("urgent", "minutes"), [(False, (5, 15, 60)), (True, (1, 3, 10))])
async def test_the_deadlines_are_those_of_the_settings_and_then_it_ends(
    sessions, handed_in, make, now, urgent, minutes
):
    await make.shift(await make.officer(DUTY, Role.DUTY))
    await make.officer(CHIEF)
    await handed_in(urgent=urgent)

    async def passed_on_at(after: timedelta) -> int:
        async with sessions.begin() as session:
            return await escalate_due(session, now=now + after, policy=POLICY)

    for deadline in minutes:
        assert await passed_on_at(timedelta(minutes=deadline, seconds=-1)) == 0
        assert await passed_on_at(timedelta(minutes=deadline)) == 1
    assert await passed_on_at(timedelta(days=1)) == 0


async def test_the_inbox_shows_what_waits_first_and_urgent_before_the_rest(sessions, handed_in, make, now):
    actor = await make.officer(DUTY, Role.DUTY)
    taken = await handed_in(code="1" * 16)
    calm = await handed_in(code="2" * 16)
    urgent = await handed_in(code="3" * 16, urgent=True)
    await take(sessions, actor, taken, now)
    async with sessions.reading() as session:
        assert [report.id for report in await inbox(session, actor, now=now)] == [urgent, calm, taken]
