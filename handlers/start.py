"""Welcome, help, language, emergency, privacy; and what is said to words outside a conversation."""

from __future__ import annotations

from dataclasses import replace

from telegram import Update

from channels.port import Outgoing
from channels.wording import Rows, button, from_html, rows
from conversations.languages import LANGUAGES, choose_language
from establishments.registration import PLACE_PREFIX, leave, places_of
from handlers import conversation, enrolment, expecting, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.officers import claim_invitation
from handlers.reports import PAYLOAD, start_report
from officers.accounts import INVITATION_PREFIX, adopt_name
from officers.permissions import Permission
from reports.triage import stop_contact
from texts.markup import clean
from texts.refusal import Refusal


async def on_start(update: Update, context: Context) -> None:
    """`/start`, or what the deep link says."""
    payload = (context.args or [""])[0]
    async with context.begin(update) as turn:
        await conversation.end_present(turn)
        if payload == PAYLOAD:
            await start_report(turn)
        elif payload.startswith(INVITATION_PREFIX):
            await claim_invitation(turn, payload)
        elif payload.startswith(PLACE_PREFIX):
            await enrolment.offer_to_join(turn, payload)
        elif payload:
            await turn.say("start.bad_link", unit=turn.policy.unit_name, buttons=_first_buttons(turn))
        else:
            if turn.actor.is_officer and update.effective_user is not None:
                await adopt_name(turn.session, turn.actor, clean(update.effective_user.full_name).strip())
            await welcome(turn)


async def welcome(turn: Turn) -> None:
    """The first message: what this is, 113 first, and the things to do."""
    key = "start.officer" if turn.actor.is_officer else "start.welcome"
    await turn.say(key, unit=turn.policy.unit_name, name=turn.actor.name, buttons=_first_buttons(turn))


def _first_buttons(turn: Turn) -> Rows:
    language = turn.language
    other = "en" if language == "vi" else "vi"
    everyone = (
        (button(language, "button.report", "report.start", once=False),),
        (button(language, "button.register", "enrol.start", once=False),),
        (
            button(language, "button.verify", "verify.start", once=False),
            button(language, "button.help", "help.show", once=False),
        ),
        (button(language, f"language.{other}", "language.choose", other, once=False),),
    )
    if not turn.actor.is_officer:
        return everyone
    return officer_buttons(turn)


def officer_buttons(turn: Turn) -> Rows:
    """An officer's main menu, as far as the role goes."""
    shown = [
        (Permission.WRITE_NOTICES, "button.compose", "notice.start"),
        (Permission.SEE_PROGRESS, "button.notices", "notice.list"),
        (Permission.HANDLE_REPORTS, "button.inbox", "report.inbox"),
        (Permission.STAND_DUTY, "button.duty", "duty.show"),
        (Permission.SEE_PLACES, "button.directory", "place.find"),
        (Permission.MANAGE_GROUPS, "button.groups", "group.list"),
        (Permission.MANAGE_OFFICERS, "button.officers", "officers.list"),
    ]
    buttons = [
        button(turn.language, key, verb, once=False) for permission, key, verb in shown if turn.actor.may(permission)
    ]
    return tuple(tuple(buttons[i : i + 2]) for i in range(0, len(buttons), 2))


async def on_help(update: Update, context: Context) -> None:
    """`/trogiup`: what one can do here."""
    async with context.begin(update) as turn:
        await show_help(turn)


@on("help.show")
async def show_help(turn: Turn) -> None:
    """Help for everybody, and for officers what their role can do."""
    await turn.say("help.officer" if turn.actor.is_officer else "help.everyone", unit=turn.policy.unit_name)


async def on_language(update: Update, context: Context) -> None:
    """`/ngonngu`: Tiếng Việt or English."""
    async with context.begin(update) as turn:
        await turn.say(
            "language.ask",
            buttons=rows(
                *(button(turn.language, f"language.{code}", "language.choose", code, once=False) for code in LANGUAGES)
            ),
        )


@on("language.choose")
async def choose(turn: Turn, code: str) -> None:
    """Speak this language from now on."""
    if code not in LANGUAGES:
        raise Refusal("button.unknown")
    await choose_language(turn.session, turn.chat, code)
    turn.language = code
    talk = await conversation.present(turn)
    if talk is None:
        await turn.say("language.chosen", buttons=_first_buttons(turn))
    else:  # the question that is open goes on; a menu beside it would lead away from it
        await conversation.ask_again(turn, talk, turn.html("language.noted"))


async def on_emergency(update: Update, context: Context) -> None:
    """`/khancap`: the numbers to call."""
    async with context.begin(update) as turn:
        phone = turn.policy.duty_phone
        key = "emergency.with_duty" if phone else "emergency.numbers"
        await turn.say(key, phone=phone, unit=turn.policy.unit_name)


async def on_cancel(update: Update, context: Context) -> None:
    """`/huy`: leave the present conversation."""
    async with context.begin(update) as turn:
        if not await conversation.cancel(turn):
            await nothing_to_cancel(turn)


async def nothing_to_cancel(turn: Turn) -> None:
    """There is no conversation to leave."""
    await turn.say("talk.nothing_to_cancel", buttons=_first_buttons(turn))


async def nothing_to_share(turn: Turn) -> None:
    """The words on the platform's keyboard were typed where nothing of the kind is asked for."""
    await turn.say("talk.nothing_to_share", buttons=_first_buttons(turn))


async def on_privacy(update: Update, context: Context) -> None:
    """`/riengtu`: what we keep; see it, stop, delete."""
    async with context.begin(update) as turn:
        await turn.send(await _privacy_page(turn, 0))


@on("privacy.page")
async def turn_privacy(turn: Turn, number: str) -> None:
    """Another page of the establishments this chat speaks for."""
    await turn.rewrite(await _privacy_page(turn, int(number)))


async def _privacy_page(turn: Turn, number: int) -> Outgoing:
    places = await places_of(turn.session, turn.chat)
    page = paging.page_at(number, len(places))
    names = "\n".join(
        f"• {paging.clipped(place.name)} ({place.code}), {paging.clipped(place.address)}"
        for place in places[page.start : page.stop]
    )
    key = "privacy.places" if places else "privacy.nothing"
    markup = turn.html(key, places=names, unit=turn.policy.unit_name) + paging.foot(turn, page)
    deleting = rows(button(turn.language, "button.delete_mine", "privacy.ask"))
    return from_html(markup, turn.language, buttons=(*paging.turners(turn, page, "privacy.page"), *deleting))


@on("privacy.ask")
async def ask_to_delete(turn: Turn) -> None:
    """Deleting asks once more."""
    await turn.say(
        "privacy.sure",
        buttons=rows(
            button(turn.language, "button.keep", "privacy.keep"),
            button(turn.language, "button.delete_yes", "privacy.delete"),
        ),
    )


@on("privacy.keep")
async def keep(turn: Turn) -> None:
    """Nothing is deleted."""
    await turn.add_line(turn.html("privacy.kept"))


@on("privacy.delete")
async def delete_mine(turn: Turn) -> None:
    """Forget the chat: its places lose this contact, its reports the link to it, a draft is thrown away, and what
    we keep of the conversation itself is wiped."""
    for place in await places_of(turn.session, turn.chat):
        await leave(turn.session, turn.chat, place.id, now=turn.now, forget=True)
    talk = await conversation.call_off(turn)
    await expecting.call_off(turn)
    cut = await stop_contact(turn.session, turn.chat)
    await turn.services.erase_transcript(turn.session, turn.chat)
    said = from_html(turn.html("privacy.deleted", links=cut), turn.language)
    await turn.send(replace(said, drops_keyboard=talk is not None and talk.has_keyboard))
