"""Notices that were sent: "Đã nhận"; the list of them, where each stands, who has not confirmed; hold and call off."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession
from telegram import Update

from broadcasts.acknowledgements import acknowledge, count_silent, newest_waiting, silent
from broadcasts.facts import NoticeFacts, NoticeState, Silent
from broadcasts.messages import notice_buttons, notice_shown, standing_markup
from broadcasts.notices import (
    cancel_notice,
    count_notices,
    list_notices,
    notice_for,
    pause_notice,
    resume_notice,
)
from broadcasts.progress import count_progress, newest_broadcast, standing_of
from broadcasts.shifting import leaves_at
from channels.port import Outgoing
from channels.wording import button, from_html, rows
from handlers import paging
from handlers.buttons import on
from handlers.context import Context, Turn
from texts.phones import say_phone
from texts.refusal import Refusal
from texts.times import say_time, say_when

#: How many lines a list of people has on a page.
_LINES = 15


@on("notice.received")
async def received(turn: Turn, broadcast_id: str) -> None:
    """ "Đã nhận": it counts for every establishment this chat speaks for, and is written into the notice."""
    if broadcast_id == "0":
        raise Refusal("notice.preview_only")
    confirmed = await acknowledge(turn.session, turn.chat, int(broadcast_id), now=turn.now)
    line = turn.html(
        "notice.confirmed",
        names=paging.several(turn, confirmed.names),
        time=say_time(confirmed.at, turn.policy.zone),
    )
    outgoing = notice_shown(confirmed.notice.text, turn.language, unit=turn.policy.unit_name, foot=line)
    await turn.rewrite(replace(outgoing, brief=from_html(line, turn.language).text))


async def received_by_word(turn: Turn) -> None:
    """ "Đã nhận", typed: the newest notice that waits for this chat's confirmation is confirmed."""
    broadcast_id = await newest_waiting(turn.session, turn.chat)
    if broadcast_id is None:
        raise Refusal("notice.none_waiting")
    confirmed = await acknowledge(turn.session, turn.chat, broadcast_id, now=turn.now)
    await turn.say(
        "notice.confirmed_by_word",
        number=confirmed.notice.number,
        names=paging.several(turn, confirmed.names),
        time=say_time(confirmed.at, turn.policy.zone),
    )


async def on_notices(update: Update, context: Context) -> None:
    """`/thongbao`."""
    async with context.begin(update) as turn:
        await show_notices(turn)


@on("notice.list")
async def show_notices(turn: Turn) -> None:
    """The newest notices, each with a button to follow it."""
    await turn.send(await _notices_page(turn, 0))


@on("notice.page")
async def turn_notices(turn: Turn, number: str) -> None:
    """Older ones."""
    await turn.rewrite(await _notices_page(turn, int(number)))


async def _notices_page(turn: Turn, number: int) -> Outgoing:
    page = paging.page_at(number, await count_notices(turn.session, turn.actor))
    notices = await list_notices(turn.session, turn.actor, limit=page.stop - page.start, offset=page.start)
    if not notices:
        return from_html(turn.html("notices.none"), turn.language)
    lines = "\n".join(
        f"• {notice.number}, {turn.state('notice_state', notice.state)}: {notice.title}" for notice in notices
    )
    buttons = tuple(
        (replace(button(turn.language, "button.open", "notice.open", notice.id, once=False), label=notice.number),)
        for notice in notices
    )
    markup = turn.html("notices.shown", notices=lines) + paging.foot(turn, page)
    return from_html(markup, turn.language, buttons=(*buttons, *paging.turners(turn, page, "notice.page")))


@on("notice.open")
async def show_one(turn: Turn, notice_id: str) -> None:
    """Where one notice stands."""
    notice = await notice_for(turn.session, turn.actor, int(notice_id))
    buttons = notice_buttons(notice, turn.language)
    await turn.send(from_html(await _standing(turn, notice), turn.language, buttons=buttons))


async def _standing(turn: Turn, notice: NoticeFacts) -> str:
    """Where a notice stands, as markup."""
    newest = await newest_broadcast(turn.session, notice.id)
    if newest is None:
        return turn.html(
            "notices.waiting",
            number=notice.number,
            title=notice.title,
            state=turn.state("notice_state", notice.state),
            at=say_when(notice.scheduled_for or notice.created_at, turn.policy.zone, turn.language),
        )
    progress = await turn.apart(f"progress of {newest}", lambda session: count_progress(session, newest))
    standing = standing_of(notice, progress, now=turn.now, rate=turn.services.rate(), policy=turn.policy)
    return standing_markup(standing, turn.language, zone=turn.policy.zone)


async def _rewrite_standing(turn: Turn, notice: NoticeFacts, key: str, **about: str) -> None:
    """Show a notice as it stands now in the pressed message, with what was just done and without what held before."""
    line = turn.html(key, number=notice.number, **about)
    buttons = notice_buttons(notice, turn.language)
    shown = from_html(f"{await _standing(turn, notice)}\n\n{line}", turn.language, buttons=buttons)
    await turn.rewrite(replace(shown, brief=from_html(line, turn.language).text))


@on("notice.pause")
async def pause(turn: Turn, notice_id: str) -> None:
    """Hold it before the next send."""
    notice = await pause_notice(turn.session, turn.actor, int(notice_id), now=turn.now)
    await _rewrite_standing(turn, notice, "notices.paused")


@on("notice.resume")
async def resume(turn: Turn, notice_id: str) -> None:
    """Go on where it stopped."""
    notice = await resume_notice(turn.session, turn.actor, int(notice_id), now=turn.now, policy=turn.policy)
    until = leaves_at(notice, now=turn.now, policy=turn.policy)
    if notice.state is NoticeState.RUNNING and until > turn.now:
        at = say_when(until, turn.policy.zone, turn.language)
        await _rewrite_standing(turn, notice, "notices.resumed_later", until=at)
    else:
        await _rewrite_standing(turn, notice, "notices.resumed")


@on("notice.cancel")
async def ask_to_cancel(turn: Turn, notice_id: str) -> None:
    """Calling off asks once more."""
    notice = await notice_for(turn.session, turn.actor, int(notice_id))
    await turn.say(
        "notices.cancel_sure",
        number=notice.number,
        buttons=rows(
            button(turn.language, "button.keep_sending", "notice.keep"),
            button(turn.language, "button.call_off_yes", "notice.cancel_yes", notice.id),
        ),
    )


@on("notice.keep")
async def keep(turn: Turn) -> None:
    """Nothing changes."""
    await turn.add_line(turn.html("notices.kept"))


@on("notice.cancel_yes")
async def cancel(turn: Turn, notice_id: str) -> None:
    """Call off what has not been sent."""
    notice = await cancel_notice(turn.session, turn.actor, int(notice_id), now=turn.now)
    await turn.add_line(turn.html("notices.cancelled", number=notice.number))


@on("notice.silent")
async def show_silent(turn: Turn, notice_id: str) -> None:
    """ "Ai chưa nhận": by name, with the reason and a phone to call."""
    await turn.send(await _silent_page(turn, int(notice_id), 0))


@on("notice.silent_page")
async def turn_silent(turn: Turn, notice_id: str, number: str) -> None:
    """More of them."""
    await turn.rewrite(await _silent_page(turn, int(notice_id), int(number)))


async def _silent_page(turn: Turn, notice_id: int, number: int) -> Outgoing:
    actor = turn.actor

    async def look(session: AsyncSession) -> tuple[paging.Page, list[Silent]]:
        total = sum((await count_silent(session, actor, notice_id)).values())
        page = paging.page_at(number, total, size=_LINES)
        return page, await silent(session, actor, notice_id, limit=page.stop - page.start, offset=page.start)

    page, found = await turn.apart(f"silent of {notice_id}, page {number}", look)
    notice = await notice_for(turn.session, actor, notice_id)
    if not found:
        return from_html(turn.html("silent.nobody", number=notice.number), turn.language)
    lines = "\n".join(_silent_line(turn, one) for one in found)
    markup = turn.html("silent.shown", number=notice.number, n=page.total, places=lines) + paging.foot(turn, page)
    turners = paging.turners(turn, page, "notice.silent_page", notice_id)
    return from_html(markup, turn.language, buttons=turners)


def _silent_line(turn: Turn, one: Silent) -> str:
    phone = f", {say_phone(one.phone)}" if one.phone else ""
    name, address = paging.clipped(one.name), paging.clipped(one.address)
    return f"• {name} ({address}{phone}): {turn.plain(f'silent.{one.why}')}"
