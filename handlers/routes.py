"""Which update goes to which handler, the same on every channel."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from telegram import Message, Update
from telegram.ext import CallbackQueryHandler, ChatMemberHandler, CommandHandler, MessageHandler, filters

from conversations.expectations import Expectation
from conversations.talks import Talk, present_talk
from establishments.registration import set_blocked
from handlers import (
    answers,
    composing,
    conversation,
    duty,
    enrolment,
    expecting,
    groups,
    incoming,
    notices,
    officers,
    registration,
    reports,
    start,
    triage,
    understanding,
    verifying,
)
from handlers.buttons import on_button
from handlers.context import App, Context, ReadFirst, Turn
from handlers.flows import Answer, Flow, flow_named
from handlers.links import links_for
from officers.permissions import Permission
from reports.answers import Asked
from texts.folding import fold
from texts.refusal import Refusal

Handler = Callable[[Update, Context], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its Vietnamese and its English name. Officers' commands name the permission that shows them."""

    name: str
    alias: str
    handler: Handler
    permission: Permission | None = None


COMMANDS = (
    Command("start", "start", start.on_start),
    Command("baotin", "report", reports.on_report),
    Command("tracuu", "track", reports.on_track),
    Command("dangky", "register", enrolment.on_register),
    Command("coso", "place", registration.on_place),
    Command("kiemtra", "verify", verifying.on_verify),
    Command("riengtu", "privacy", start.on_privacy),
    Command("khancap", "emergency", start.on_emergency),
    Command("ngonngu", "language", start.on_language),
    Command("trogiup", "help", start.on_help),
    Command("huy", "cancel", start.on_cancel),
    Command("soan", "compose", composing.on_compose, Permission.WRITE_NOTICES),
    Command("thongbao", "notices", notices.on_notices, Permission.SEE_PROGRESS),
    Command("nhom", "groups", groups.on_groups, Permission.MANAGE_GROUPS),
    Command("danhba", "directory", registration.on_directory, Permission.SEE_PLACES),
    Command("duyet", "approvals", registration.on_approvals, Permission.DECIDE_PLACES),
    Command("tin", "inbox", triage.on_inbox, Permission.HANDLE_REPORTS),
    Command("truc", "duty", duty.on_duty, Permission.STAND_DUTY),
    Command("canbo", "officers", officers.on_officers, Permission.MANAGE_OFFICERS),
)

#: A receipt code, however it is spaced.
_CODE = re.compile(r"(?<!\d)(?:\d[ .-]?){15}\d(?!\d)")
#: Conversations in which even "dừng" is what somebody wants to say.
_FREE_WRITING = frozenset({reports.REPORT.name, triage.ASK.name, composing.COMPOSE.name})


def add_routes(application: App) -> None:
    """Make an application answer: commands, buttons, words, blocks; in groups only a neutral line."""
    private = filters.ChatType.PRIVATE
    for command in COMMANDS:
        names = list(dict.fromkeys((command.name, command.alias)))
        takes = reading_first(command.handler)
        application.add_handler(CommandHandler(names, takes, filters=private & filters.UpdateType.MESSAGE))
    application.add_handler(CallbackQueryHandler(reading_first(on_button)))
    application.add_handler(MessageHandler(private & filters.COMMAND & filters.UpdateType.MESSAGE, on_unknown_command))
    # What a platform says of a chat (a message was pinned) is said by nobody, and is not answered.
    said = private & filters.UpdateType.MESSAGE & ~filters.StatusUpdate.ALL
    application.add_handler(MessageHandler(said, reading_first(on_message)))
    application.add_handler(MessageHandler(filters.ChatType.GROUPS & filters.UpdateType.MESSAGE, on_group_message))
    application.add_handler(ChatMemberHandler(on_membership, ChatMemberHandler.MY_CHAT_MEMBER))


def reading_first(handler: Handler) -> Handler:
    """A handler whose turn is taken again after what it asks for was read apart (see Turn.apart)."""

    async def take(update: Update, context: Context) -> None:
        while True:
            try:
                return await handler(update, context)
            except ReadFirst as wanted:
                async with context.services.sessions.reading() as session:
                    await context.once(wanted.what, partial(wanted.read, session))

    return take


async def on_message(update: Update, context: Context) -> None:
    """Words, files, places: the answer to the present question, or the beginning of something."""
    message = update.message
    if message is None:
        return
    hurried = context.services.bursts.is_hurried(context.chat_of(update), now=context.services.clock())
    answer = replace(incoming.answer_of(message), album=message.media_group_id, is_hurried=hurried)
    if incoming.has_file(message):
        # Fetched before the transaction: nobody waits for a slow download.
        flow = await _present_flow(update, context)
        if flow is None or flow.wants_media:
            is_named = flow is composing.COMPOSE
            fetch = partial(incoming.fetch_file, message, context.services, keep_name=is_named)
            async with context.services.slots.left():
                view, original = await context.once("file", fetch)
            answer = replace(answer, media=view, media_original=original)
    answer = replace(answer, tried=await reports.try_code(context, update, answer.text))
    await context.with_receipt(lambda: _take_message(update, context, answer))


async def _take_message(update: Update, context: Context, answer: Answer) -> None:
    message = update.message
    if message is None:
        return
    async with context.begin(update) as turn:
        talk = await conversation.present(turn)
        is_stop = answer.media is None and understanding.is_stop(answer.text)
        if is_stop and (talk is None or talk.flow not in _FREE_WRITING):
            await reports.stop_all(turn)
        elif _says_nothing(answer, message):
            await _not_understood(turn, talk)
        elif talk is None:
            await _outside(turn, await expecting.present(turn), answer)
        else:
            await conversation.receive(turn, talk, answer)


def _says_nothing(answer: Answer, message: Message) -> bool:
    """Whether it is of a kind we cannot keep: a sticker, dice, a poll, a story, what is not known yet."""
    said = answer.text or message.contact or answer.point or answer.media
    return not said and message.text is None and not incoming.has_file(message)


async def _not_understood(turn: Turn, talk: Talk | None) -> None:
    """One kind sentence; a question stays where it is."""
    if talk is not None:
        await conversation.ask_again(turn, talk, turn.html("media.kind_unknown"))
    else:
        await reports.offer_report(turn, Answer())


async def _outside(turn: Turn, expected: Expectation | None, answer: Answer) -> None:
    """Words outside a conversation: a label of a menu, the answer to an open question, or something to report."""
    waiting = answers.waiting_in(expected)
    is_asked = waiting is not None or (expected is not None and isinstance(expected.what, Asked))
    act = _menu_act(answer.text, as_answer=is_asked) if answer.media is None else None
    if act is not None:
        await act(turn)
    elif waiting is not None:
        await _while_asked(turn, waiting, answer)
    elif expected is not None and await answers.take_expected(turn, expected, answer):
        return
    elif answer.media is not None or answer.point is not None:
        await reports.start_with_file(turn, answer)
    else:
        await reports.offer_report(turn, answer)


async def _while_asked(turn: Turn, waiting: answers.Waiting, answer: Answer) -> None:
    """Something is written while words wait for a yes: the yes, the no, or more of them."""
    typed = fold(answer.text).rstrip(".!") if answer.media is None else ""
    if typed == fold(turn.plain("button.send")):
        await answers.send_waiting(turn, waiting)
    elif typed == fold(turn.plain("button.do_not_send")):
        await answers.forget_waiting(turn, waiting)
    else:
        await answers.take_more(turn, waiting, answer)


def _menu_act(text: str, *, as_answer: bool) -> Callable[[Turn], Awaitable[None]] | None:
    """What words outside a conversation ask for; `as_answer`: an officer's question is open, and "dung" or "huy"
    without a mark is more likely its answer."""
    if understanding.may_mean_stop(text, as_answer=as_answer):
        return reports.ask_to_stop
    if understanding.is_going_on(text):
        return reports.go_on
    if conversation.asked_to_share(text):
        return start.nothing_to_share
    folded = fold(text)
    if as_answer and folded == "huy" and not understanding.has_marks(text):
        return None
    return _MENU_WORDS.get(folded)


#: What people type instead of pressing: the words on the main menu's buttons.
_MENU_WORDS: dict[str, Callable[[Turn], Awaitable[None]]] = {
    "bao tin": reports.start_report,
    "report": reports.start_report,
    "dang ky co so": enrolment.start_enrolment,
    "dang ky": enrolment.start_enrolment,
    "register": enrolment.start_enrolment,
    "kiem tra thong bao": verifying.start_verify,
    "tro giup": start.show_help,
    "help": start.show_help,
    "huy": start.nothing_to_cancel,
    "bat dau": start.welcome,
    "da nhan": notices.received_by_word,
    "received": notices.received_by_word,
}


async def _present_flow(update: Update, context: Context) -> Flow[Any] | None:
    """What the chat is in the middle of; None outside a conversation, where a file begins a report."""
    services = context.services
    async with services.sessions.reading() as session:
        talk = await present_talk(session, context.chat_of(update), now=services.clock())
    return flow_named(talk.flow) if talk is not None else None


async def on_unknown_command(update: Update, context: Context) -> None:
    """A command nobody knows."""
    async with context.begin(update):
        raise Refusal("talk.unknown_command")


async def on_group_message(update: Update, context: Context) -> None:
    """In a group nothing is talked about: one neutral line to a command, a code or a photo; nothing to the rest."""
    message = update.message
    if message is None:
        return
    is_command = bool(message.entities) and message.entities[0].type == "bot_command"
    if not (is_command or message.photo or _CODE.search(message.text or "")):
        return
    async with context.begin(update) as turn:
        links = "\n".join(links_for(turn.services, reports.PAYLOAD))
        await turn.say("group.private_only", links=links)


async def on_membership(update: Update, context: Context) -> None:
    """Somebody blocked or unblocked us."""
    change = update.my_chat_member
    if change is None:
        return
    async with context.begin(update) as turn:
        blocked = change.new_chat_member.status in ("kicked", "left")
        await set_blocked(turn.session, turn.chat, blocked=blocked, now=turn.now)
