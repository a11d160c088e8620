"""Writing a notice: text, file, to whom, what is asked, when; seen as recipients will see it before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from telegram import Update

from broadcasts.facts import Draft, NoticeState, NoticeText, Response
from broadcasts.messages import notice_buttons, notice_shown
from broadcasts.notices import check_text, free_number, notice_for, schedule_notice
from broadcasts.opening import open_due
from broadcasts.progress import follow
from channels.port import MediaKind, Outgoing
from channels.wording import from_html
from establishments.facts import AudienceSize, GroupChoice, Member
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
from handlers.conversation import Standing
from handlers.flows import Answer, Choice, Done, Flow, Next, Outcome, Question, Stay, Step, add_flow, by_label
from handlers.words import Words
from media.files import keep_media
from officers.permissions import Permission, require
from texts.refusal import Refusal
from texts.times import say_time, say_when
from texts.when import parse_when
from unit.quiet import is_quiet, quiet_ends

_NOW, _SKIP, _SEND, _LATER, _NAMES = "now", "skip", "send", "later", "names"
#: How many names the preview shows before it says how many more there are; how many lines the list has on a page.
_NAMES_SHOWN = 12
_LINES = 15


@dataclass(frozen=True, slots=True)
class ComposeAnswers:
    """A notice as far as it is written. `number` is given it when it is first shown whole."""

    html: str = ""
    media_id: int | None = None
    media_kind: MediaKind | None = None
    audience: str = ""
    response: Response = Response.NONE
    at: datetime | None = None
    number: str = ""


async def on_compose(update: Update, context: Context) -> None:
    """`/soan`."""
    async with context.begin(update) as turn:
        await start_notice(turn)


@on("notice.start")
async def start_notice(turn: Turn) -> None:
    """Write a notice."""
    require(turn.actor, Permission.WRITE_NOTICES)
    await conversation.begin(turn, COMPOSE, ComposeAnswers())


# --- asked ---


def _ask_text(words: Words, _answers: ComposeAnswers, _seen: None) -> Question:
    return Question(words.html("compose.ask_text"))


async def _take_text(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Next[ComposeAnswers]:
    answers = replace(answers, html=check_text(answer.html))
    if answer.media is not None:
        return Next("audience", await _with_file(turn, answers, answer))
    return Next("file", answers)


def _ask_file(words: Words, _answers: ComposeAnswers, _seen: None) -> Question:
    return Question(words.html("compose.ask_file"), (Choice(_SKIP, words.plain("button.skip")),))


async def _take_file(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Next[ComposeAnswers]:
    if answer.media is not None:
        answers = await _with_file(turn, answers, answer)
    elif answer.choice != _SKIP:
        raise Refusal("compose.file_or_skip")
    return Next("audience", answers)


async def _with_file(turn: Turn, answers: ComposeAnswers, answer: Answer) -> ComposeAnswers:
    if answer.media is None or answer.media.kind not in ("photo", "document"):
        raise Refusal("compose.file_or_skip")
    row = await keep_media(turn.session, answer.media, origin="notice")
    return replace(answers, media_id=row.id, media_kind=answer.media.kind)


async def _look_at_groups(turn: Turn, _answers: ComposeAnswers) -> list[GroupChoice]:
    return await turn.apart("groups", group_choices)


def _ask_audience(words: Words, _answers: ComposeAnswers, groups: list[GroupChoice]) -> Question:
    named = [(group, group_named(group.key, group.name, words.language)) for group in groups]
    choices = tuple(Choice(group.key, f"{name} ({group.size})") for group, name in named)
    return Question(words.html("compose.ask_audience"), choices, columns=1 if len(choices) < 8 else 2)


async def _take_audience(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Next[ComposeAnswers]:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    size, _ = await _look_at_audience(turn, answer.choice)
    if not size.places:
        raise Refusal("notice.nobody")
    return Next("response", replace(answers, audience=answer.choice))


def _ask_response(words: Words, _answers: ComposeAnswers, _seen: None) -> Question:
    choices = tuple(
        Choice(response, words.plain(f"response.{response}")) for response in (Response.CONFIRM, Response.NONE)
    )
    return Question(words.html("compose.ask_response"), choices)


async def _take_response(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Next[ComposeAnswers]:
    if answer.choice not in set(Response):
        raise Refusal("talk.choose_one")
    return Next("when", replace(answers, response=Response(answer.choice)))


def _ask_when(words: Words, _answers: ComposeAnswers, _seen: None) -> Question:
    return Question(words.html("compose.ask_when"), (Choice(_NOW, words.plain("button.send_now")),))


async def _take_when(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Next[ComposeAnswers]:
    at = None if answer.choice == _NOW else parse_when(answer.text, now=turn.now, zone=turn.policy.zone)
    number = answers.number or await free_number(turn.session)
    return Next("preview", replace(answers, at=at, number=number))


# --- shown ---


@dataclass(frozen=True, slots=True)
class _Preview:
    """What an officer is to know before sending. `quiet_until` is when the night ends in which it would leave, though
    it can wait."""

    shown: Outgoing
    group: str
    size: AudienceSize
    first: tuple[Member, ...]
    quiet_until: datetime | None

    @property
    def more(self) -> int:
        """How many there are besides the first."""
        return self.size.places - _NAMES_SHOWN


def _draft(answers: ComposeAnswers) -> Draft:
    return Draft(
        html=answers.html,
        audience=answers.audience,
        response=answers.response,
        scheduled_for=answers.at,
        media_id=answers.media_id,
        attachment_kind=answers.media_kind,
    )


def _quiet_until(turn: Turn, draft: Draft) -> datetime | None:
    """When quiet hours end in which it would leave, though it can wait."""
    leaves_at = draft.scheduled_for or turn.now
    return quiet_ends(leaves_at, turn.policy) if is_quiet(leaves_at, turn.policy) and not draft.urgent else None


async def _look_at_preview(turn: Turn, answers: ComposeAnswers) -> _Preview:
    draft = _draft(answers)
    text = NoticeText(answers.number, draft.html, draft.response, draft.media_id, draft.attachment_kind)
    shown = notice_shown(text, turn.language, unit=turn.policy.unit_name)
    size, first = await _look_at_audience(turn, draft.audience)
    group = group_named(draft.audience, await group_name(turn.session, draft.audience), turn.language)
    return _Preview(shown, group, size, tuple(first), _quiet_until(turn, draft))


async def _look_at_audience(turn: Turn, audience: str) -> tuple[AudienceSize, list[Member]]:
    """How many an audience is, and the first of them."""

    async def look(session: AsyncSession) -> tuple[AudienceSize, list[Member]]:
        return await audience_size(session, audience), await members(session, audience, limit=_NAMES_SHOWN)

    return await turn.apart(f"audience {audience}", look)


def _ask_preview(words: Words, answers: ComposeAnswers, preview: _Preview) -> Question:
    zone = words.policy.zone
    names = ", ".join(paging.clipped(member.name) for member in preview.first)
    markup = words.html(
        "compose.preview",
        group=preview.group,
        n=preview.size.places,
        connected=preview.size.connected,
        unconnected=preview.size.places - preview.size.connected,
        names=names + (" " + words.plain("compose.and_more", n=preview.more) if preview.more > 0 else ""),
        when=say_when(answers.at, zone, words.language) if answers.at else words.plain("compose.right_away"),
        response=words.plain(f"response.{answers.response}"),
    )
    choices = [Choice(_SEND, words.plain("button.send"))]
    if preview.quiet_until is not None:
        markup += "\n\n" + words.html("compose.quiet", until=say_when(preview.quiet_until, zone, words.language))
        choices.append(Choice(_LATER, words.plain("button.send_later", time=say_time(preview.quiet_until, zone))))
    if preview.more > 0:
        choices.append(Choice(_NAMES, words.plain("button.show_list")))
    return Question(markup, tuple(choices), before=preview.shown)


# --- sent ---


async def _take_preview(turn: Turn, answers: ComposeAnswers, answer: Answer) -> Outcome[ComposeAnswers]:
    if answer.choice == _NAMES:
        standing = await _standing(turn)
        await turn.send(await _names_page(turn, standing, 0))
        return Stay()
    draft = _draft(answers)
    if answer.choice == _LATER:
        draft = replace(draft, scheduled_for=quiet_ends(draft.scheduled_for or turn.now, turn.policy))
    elif answer.choice != _SEND:
        raise Refusal("talk.choose_one")
    await _schedule(turn, draft, number=answers.number)
    return Done()


async def _schedule(turn: Turn, draft: Draft, *, number: str) -> None:
    notice = await schedule_notice(
        turn.session,
        turn.actor,
        # The preview has said what "Gửi" means at that hour.
        replace(draft, at_night=_quiet_until(turn, draft) is not None),
        number=number,
        audience=await turn.apart(f"all of {draft.audience}", lambda session: audience_parts(session, draft.audience)),
        now=turn.now,
    )
    if notice.scheduled_for is not None and notice.scheduled_for > turn.now:
        await turn.say(
            "compose.scheduled",
            number=notice.number,
            at=say_when(notice.scheduled_for, turn.policy.zone, turn.language),
            buttons=notice_buttons(notice, turn.language),
        )
        return
    await open_due(turn.session, now=turn.now, policy=turn.policy)
    notice = await notice_for(turn.session, turn.actor, notice.id)
    if notice.state is NoticeState.SCHEDULED:
        buttons = notice_buttons(notice, turn.language)
        await turn.say("compose.opening", number=notice.number, n=notice.places, buttons=buttons)
    await follow(turn.session, now=turn.now, rate=turn.services.rate(), policy=turn.policy)


# --- the whole list of names ---


@on("compose.names")
async def turn_names(turn: Turn, serial: str, number: str) -> None:
    """More of the names a notice would go to."""
    standing = await _standing(turn)
    if standing.talk.serial != serial:
        raise Refusal("talk.stale")
    require(turn.actor, Permission.WRITE_NOTICES)
    await turn.rewrite(await _names_page(turn, standing, int(number)))


async def _standing(turn: Turn) -> Standing[ComposeAnswers]:
    """Where the chat stands, which is before the preview; raises Refusal (`talk.stale`) if it has gone on."""
    standing = await conversation.present_in(turn, COMPOSE)
    if standing is None or standing.talk.step != "preview":
        raise Refusal("talk.stale")
    return standing


async def _names_page(turn: Turn, standing: Standing[ComposeAnswers], number: int) -> Outgoing:
    audience = standing.answers.audience

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
    turners = paging.turners(turn, page, "compose.names", standing.talk.serial)
    # What the preview offers, once more: under the list of names it is out of sight.
    again = await conversation.choices_again(turn, standing, besides=_NAMES)
    return from_html(markup, turn.language, buttons=(*turners, *again))


COMPOSE = add_flow(
    Flow(
        "compose",
        "text",
        {
            "text": Step(_ask_text, _take_text),
            "file": Step(_ask_file, _take_file),
            "audience": Step(_ask_audience, _take_audience, look=_look_at_groups, find=by_label),
            "response": Step(_ask_response, _take_response),
            "when": Step(_ask_when, _take_when),
            "preview": Step(_ask_preview, _take_preview, look=_look_at_preview),
        },
        ComposeAnswers,
        wants_media=True,
        cancelled_key="compose.cancelled",
        permission=Permission.WRITE_NOTICES,
    )
)
