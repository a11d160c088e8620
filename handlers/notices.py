"""Officers' notices: written, previewed as recipients see them, sent or scheduled, followed; checked by anybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from telegram import Update

from broadcasts.acknowledgements import acknowledge, count_silent, newest_waiting, silent
from broadcasts.facts import Draft, NoticeFacts, NoticeState, NoticeText, Response, Silent
from broadcasts.messages import notice_buttons, notice_shown, standing_markup
from broadcasts.notices import (
    cancel_notice,
    check_text,
    count_notices,
    find_notice,
    free_number,
    list_notices,
    notice_for,
    pause_notice,
    resume_notice,
    schedule_notice,
)
from broadcasts.opening import open_due
from broadcasts.progress import count_progress, follow, newest_broadcast, standing_of
from broadcasts.shifting import leaves_at
from channels.port import Outgoing
from channels.wording import Rows, button, from_html, rows
from establishments.facts import AudienceSize, Member
from establishments.groups import (
    audience_parts,
    audience_size,
    group_choices,
    group_name,
    members,
)
from establishments.messages import group_named
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.conversation import Answer, Choice, Flow, Question, Step, Talk
from media.files import keep_media
from officers.permissions import Permission, require
from texts.phones import say_phone
from texts.refusal import Refusal
from texts.times import parse_when, say_time, say_when
from unit.quiet import is_quiet, quiet_ends

_NOW, _SKIP, _SEND, _URGENT, _LATER, _NAMES = "now", "skip", "send", "urgent", "later", "names"
#: How many names the preview shows before it says how many more there are; how many lines a list has on a page.
_NAMES_SHOWN = 12
_LINES = 15


async def on_compose(update: Update, context: Context) -> None:
    """`/soan`."""
    async with context.begin(update) as turn:
        await start_notice(turn)


@on("notice.start")
async def start_notice(turn: Turn) -> None:
    """Write a notice."""
    require(turn.actor, Permission.WRITE_NOTICES)
    await conversation.begin(turn, COMPOSE)


async def _ask_text(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("compose.ask_text"))


async def _take_text(turn: Turn, talk: Talk, answer: Answer) -> str:
    talk.answers["html"] = check_text(answer.html)
    if answer.media is not None:
        await _keep_file(turn, talk, answer)
        return "audience"
    return "file"


async def _ask_file(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("compose.ask_file"), (Choice(_SKIP, turn.plain("button.skip")),))


async def _take_file(turn: Turn, talk: Talk, answer: Answer) -> str:
    if answer.media is not None:
        await _keep_file(turn, talk, answer)
    elif answer.choice != _SKIP:
        raise Refusal("compose.file_or_skip")
    return "audience"


async def _keep_file(turn: Turn, talk: Talk, answer: Answer) -> None:
    if answer.media is None or answer.media.kind not in ("photo", "document"):
        raise Refusal("compose.file_or_skip")
    row = await keep_media(turn.session, answer.media, origin="notice")
    talk.answers |= {"media": row.id, "media_kind": answer.media.kind}


async def _ask_audience(turn: Turn, talk: Talk) -> Question:
    groups = await turn.apart("groups", group_choices)
    named = [(group, group_named(group.key, group.name, turn.language)) for group in groups]
    choices = tuple(Choice(group.key, f"{name} ({group.size})") for group, name in named)
    return Question(turn.html("compose.ask_audience"), choices, columns=1 if len(choices) < 8 else 2)


async def _take_audience(turn: Turn, talk: Talk, answer: Answer) -> str:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    size, _ = await _look_at(turn, answer.choice)
    if not size.places:
        raise Refusal("notice.nobody")
    talk.answers["audience"] = answer.choice
    return "response"


async def _ask_response(turn: Turn, talk: Talk) -> Question:
    choices = tuple(
        Choice(response, turn.plain(f"response.{response}")) for response in (Response.CONFIRM, Response.NONE)
    )
    return Question(turn.html("compose.ask_response"), choices)


async def _take_response(turn: Turn, talk: Talk, answer: Answer) -> str:
    if answer.choice not in set(Response):
        raise Refusal("talk.choose_one")
    talk.answers["response"] = answer.choice
    return "when"


async def _ask_when(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("compose.ask_when"), (Choice(_NOW, turn.plain("button.send_now")),))


async def _take_when(turn: Turn, talk: Talk, answer: Answer) -> str:
    if answer.choice == _NOW:
        talk.answers["at"] = None
    else:
        at = parse_when(answer.text, now=turn.now, zone=turn.policy.zone)
        talk.answers["at"] = at.isoformat()
    return "preview"


def _leaves_at_night(turn: Turn, draft: Draft) -> bool:
    """Whether it would leave in quiet hours, though it can wait."""
    return is_quiet(draft.scheduled_for or turn.now, turn.policy) and not draft.urgent


def _draft(answers: dict[str, Any]) -> Draft:
    at = answers.get("at")
    return Draft(
        html=answers["html"],
        audience=answers["audience"],
        response=Response(answers["response"]),
        scheduled_for=datetime.fromisoformat(at) if at else None,
        urgent=bool(answers.get("urgent")),
        media_id=answers.get("media"),
        attachment_kind=answers.get("media_kind"),
    )


async def _ask_preview(turn: Turn, talk: Talk) -> Question:
    draft = _draft(talk.answers)
    talk.answers.setdefault("number", await free_number(turn.session))
    text = NoticeText(talk.answers["number"], draft.html, draft.response, draft.media_id, draft.attachment_kind)
    shown = notice_shown(text, turn.language, unit=turn.policy.unit_name)
    size, first = await _look_at(turn, draft.audience)
    names = ", ".join(paging.clipped(member.name) for member in first)
    more = size.places - _NAMES_SHOWN
    zone = turn.policy.zone
    at = draft.scheduled_for
    markup = turn.html(
        "compose.preview",
        group=group_named(draft.audience, await group_name(turn.session, draft.audience), turn.language),
        n=size.places,
        connected=size.connected,
        unconnected=size.places - size.connected,
        names=names + (" " + turn.plain("compose.and_more", n=more) if more > 0 else ""),
        when=say_when(at, zone, turn.language) if at else turn.plain("compose.right_away"),
        response=turn.plain(f"response.{draft.response}"),
    )
    choices = [Choice(_SEND, turn.plain("button.send"))]
    if _leaves_at_night(turn, draft):
        ends = quiet_ends(at or turn.now, turn.policy)
        markup += "\n\n" + turn.html("compose.quiet", until=say_when(ends, zone, turn.language))
        choices.append(Choice(_LATER, turn.plain("button.send_later", time=say_time(ends, zone))))
    if more > 0:
        choices.append(Choice(_NAMES, turn.plain("button.show_list")))
    return Question(markup, tuple(choices), before=shown)


async def _look_at(turn: Turn, audience: str) -> tuple[AudienceSize, list[Member]]:
    """How many an audience is, and the first of them."""

    async def look(session: AsyncSession) -> tuple[AudienceSize, list[Member]]:
        return await audience_size(session, audience), await members(session, audience, limit=_NAMES_SHOWN)

    return await turn.apart(f"audience {audience}", look)


async def _preview_buttons(turn: Turn, talk: Talk) -> Rows:
    """What the preview offers, once more: under the list of names it is out of sight."""
    question = await _ask_preview(turn, talk)
    exits = (conversation.BACK, "button.back"), (conversation.CANCEL, "button.cancel")
    return (
        *((conversation.button_for(talk, one.value, one.label),) for one in question.choices if one.value != _NAMES),
        tuple(conversation.button_for(talk, value, turn.plain(key)) for value, key in exits),
    )


async def _take_preview(turn: Turn, talk: Talk, answer: Answer) -> str | None:
    if answer.choice == _NAMES:
        await turn.send(await _names_page(turn, talk, 0))
        return ""
    draft = _draft(talk.answers)
    if answer.choice == _LATER:
        draft = replace(draft, scheduled_for=quiet_ends(draft.scheduled_for or turn.now, turn.policy))
    elif answer.choice != _SEND:
        raise Refusal("talk.choose_one")
    notice = await schedule_notice(
        turn.session,
        turn.actor,
        # The preview has said what "Gửi" means at that hour.
        replace(draft, at_night=_leaves_at_night(turn, draft)),
        number=talk.answers["number"],
        audience=await turn.apart(f"all of {draft.audience}", lambda session: audience_parts(session, draft.audience)),
        now=turn.now,
    )
    await conversation.finish(turn)
    if notice.scheduled_for is not None and notice.scheduled_for > turn.now:
        await turn.say(
            "compose.scheduled",
            number=notice.number,
            at=say_when(notice.scheduled_for, turn.policy.zone, turn.language),
            buttons=notice_buttons(notice, turn.language),
        )
        return None
    await open_due(turn.session, now=turn.now, policy=turn.policy)
    notice = await notice_for(turn.session, turn.actor, notice.id)
    if notice.state is NoticeState.SCHEDULED:
        buttons = notice_buttons(notice, turn.language)
        await turn.say("compose.opening", number=notice.number, n=notice.places, buttons=buttons)
    await follow(turn.session, now=turn.now, rate=turn.services.rate(), policy=turn.policy)
    return None


@on("compose.names")
async def turn_names(turn: Turn, serial: str, number: str) -> None:
    """More of the names a notice would go to."""
    talk = await conversation.present(turn)
    if talk is None or talk.serial != serial or talk.step != "preview":
        raise Refusal("talk.stale")
    require(turn.actor, Permission.WRITE_NOTICES)
    await turn.rewrite(await _names_page(turn, talk, int(number)))


async def _names_page(turn: Turn, talk: Talk, number: int) -> Outgoing:
    audience = talk.answers["audience"]

    async def look(session: AsyncSession) -> tuple[paging.Page, list[Member]]:
        page = paging.page_at(number, (await audience_size(session, audience)).places, size=_LINES)
        return page, await members(session, audience, limit=page.stop - page.start, offset=page.start)

    page, found = await turn.apart(f"names of {audience}, page {number}", look)
    unconnected = turn.plain("silent.not_connected")
    lines = "\n".join(
        f"• {paging.clipped(member.name)}, {paging.clipped(member.address)}"
        + ("" if member.connected else f" ({unconnected})")
        for member in found
    )
    markup = turn.html("compose.names", names=lines) + paging.foot(turn, page)
    turners = paging.turners(turn, page, "compose.names", talk.serial)
    return from_html(markup, turn.language, buttons=(*turners, *await _preview_buttons(turn, talk)))


COMPOSE = conversation.add_flow(
    Flow(
        "compose",
        "text",
        {
            "text": Step(_ask_text, _take_text),
            "file": Step(_ask_file, _take_file),
            "audience": Step(_ask_audience, _take_audience),
            "response": Step(_ask_response, _take_response),
            "when": Step(_ask_when, _take_when),
            "preview": Step(_ask_preview, _take_preview),
        },
        wants_media=True,
        cancelled_key="compose.cancelled",
        permission=Permission.WRITE_NOTICES,
    )
)


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
async def open_one(turn: Turn, notice_id: str) -> None:
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


async def on_verify(update: Update, context: Context) -> None:
    """`/kiemtra`, with or without the number."""
    typed = " ".join(context.args or [])
    async with context.begin(update) as turn:
        if typed:
            await _show_genuine(turn, typed)
        else:
            await conversation.begin(turn, VERIFY)


@on("verify.start")
async def start_verify(turn: Turn) -> None:
    """Is this notice genuine?"""
    await conversation.begin(turn, VERIFY)


async def _ask_number(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("verify.ask"))


async def _take_number(turn: Turn, talk: Talk, answer: Answer) -> None:
    await _show_genuine(turn, answer.text)
    await conversation.finish(turn)


async def _show_genuine(turn: Turn, typed: str) -> None:
    notice = await find_notice(turn.session, typed)
    if notice is None or notice.sent_at is None:
        await turn.say("verify.unknown", unit=turn.policy.unit_name)
        return
    markup = turn.html(
        "verify.genuine",
        number=notice.number,
        unit=turn.policy.unit_name,
        at=say_when(notice.sent_at, turn.policy.zone, turn.language),
    )
    buttons: Rows = rows(button(turn.language, "button.report", "report.start", once=False))
    await turn.send(from_html(f"{markup}\n\n{notice.html}", turn.language, buttons=buttons))


VERIFY = conversation.add_flow(Flow("verify", "number", {"number": Step(_ask_number, _take_number)}))
