"""What handlers are given: services shared by all channels, and one turn for each update."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from telegram import CallbackQuery, Message, Update
from telegram.error import TelegramError
from telegram.ext import Application, CallbackContext, ExtBot

from channels.port import Asks, Outgoing, Recipient
from channels.wording import Rows, from_html
from conversations.inbound import AlreadyHandled, mark_handled
from deliveries.ledger import Lane, open_delivery
from handlers.bursts import Bursts
from handlers.words import Words
from media.darkroom import Darkroom
from officers.accounts import WHO_ASKS, asking_of, who_asked
from officers.permissions import Actor
from reports.codes import Attempts, NoReceiptReady, Receipts
from texts.refusal import Refusal
from unit.policy import Policy

_T = TypeVar("_T")
BotData = dict[str, Any]
App = Application[ExtBot[None], "Context", BotData, BotData, BotData, None]


class Sessions(Protocol):
    """Opens transactions; see db.engine.Sessions."""

    def begin(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that may write."""

    def reading(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A snapshot to read from."""


#: Updates whose turn has come to its end, by channel and number, until whoever brought them has heard of it.
_ACTED = "acted"


def has_acted(application: App, update: Update) -> bool:
    """Whether an update has had its turn: it waits in the store no more. Says so once."""
    acted: set[int] = application.bot_data.get(_ACTED, set())
    if update.update_id not in acted:
        return False
    acted.discard(update.update_id)
    return True


class Slots:
    """Places at work: so many updates act at once, and so many files are fetched besides.

    Attributes:
        told: Called when a place was given up.
        aside: How many wait for a file.
    """

    def __init__(self, at_once: int = 16, fetches: int = 4) -> None:
        self._work = asyncio.Semaphore(at_once)
        self._fetch = asyncio.Semaphore(fetches)
        self.told: Callable[[], None] = lambda: None
        self.aside = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A place at work; they are given in the order in which they were asked for."""
        async with self._work:
            yield

    @asynccontextmanager
    async def left(self) -> AsyncIterator[None]:
        """Whoever has a place and waits for something slow gives it up, and takes another afterwards."""
        self._work.release()
        self.aside += 1
        self.told()
        try:
            async with self._fetch:
                yield
        finally:
            self.aside -= 1
            await self._work.acquire()


async def nothing_kept(_session: AsyncSession, _chat: Recipient) -> None:
    """For channels that keep no messages with us."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every handler needs, whatever the channel.

    Attributes:
        wake: Something was queued: let the senders look.
        erase_transcript: Wipe what a channel of ours keeps of a chat's messages.
        slots: The places at work, to be left while a file is fetched.
        bursts: Who writes faster than one is answered.
        doors: The addresses that open a chat with us; `?start=` and a payload make a deep link.
        rate: Messages a second a channel sends, to say when a broadcast ends; None is without limit.
        receipts: Receipt codes made ahead.
        attempts: How often codes may be tried.
        darkroom: Where pictures are opened, one at a time.
    """

    sessions: Sessions
    clock: Callable[[], datetime]
    policy: Policy
    wake: Callable[[], None] = lambda: None
    rate: Callable[[], float | None] = lambda: None
    doors: Callable[[], Sequence[str]] = lambda: ()
    erase_transcript: Callable[[AsyncSession, Recipient], Awaitable[None]] = nothing_kept
    receipts: Receipts = field(default_factory=Receipts)
    attempts: Attempts = field(default_factory=Attempts)
    darkroom: Darkroom = field(default_factory=Darkroom)
    slots: Slots = field(default_factory=Slots)
    bursts: Bursts = field(default_factory=Bursts)


class ReadFirst(Exception):
    """A turn needs what takes a while to read. Nothing of it happens: the reading is done where no writer waits for it,
    and the turn is taken again, with the answer at hand."""

    def __init__(self, what: str, read: Callable[[AsyncSession], Awaitable[Any]]) -> None:
        super().__init__(what)
        self.what = what
        self.read = read


class Context(CallbackContext[ExtBot[None], BotData, BotData, BotData]):
    """python-telegram-bot's context, with our services."""

    @property
    def services(self) -> Services:
        """The services of this process."""
        services: Services = self.application.bot_data["services"]
        return services

    @property
    def channel(self) -> str:
        """The name of the channel the update came by."""
        channel: str = self.application.bot_data["channel"]
        return channel

    @property
    def at_hand(self) -> dict[str, Any]:
        """What was read or fetched for this update before its turn, by name."""
        at_hand: dict[str, Any] = self.__dict__.setdefault("_at_hand", {})
        return at_hand

    async def once(self, what: str, fetch: Callable[[], Awaitable[_T]]) -> _T:
        """What `fetch` brings; it is not fetched again when the turn is taken again (see ReadFirst)."""
        if what not in self.at_hand:
            self.at_hand[what] = await fetch()
        found: _T = self.at_hand[what]
        return found

    def chat_of(self, update: Update) -> Recipient:
        """The chat an update came from."""
        chat = update.effective_chat
        if chat is None:
            raise LookupError("an update without a chat")
        return Recipient(self.channel, str(chat.id))

    @asynccontextmanager
    async def begin(self, update: Update) -> AsyncIterator[Turn]:
        """One transaction in which this update acts: its effects, the answers to it, and that it has acted.

        Raises:
            AlreadyHandled: the update has acted before; nothing happens again.
        """
        services = self.services
        chat = self.chat_of(update)
        now = services.clock()
        acted: set[int] = self.application.bot_data.setdefault(_ACTED, set())
        try:
            async with services.sessions.begin() as session:
                asking = asking_of(session, chat)
                found: Sequence[Any] = await mark_handled(session, self.channel, update.update_id, WHO_ASKS, asking)
                actor, chosen = who_asked(chat, found[0], found[1], found[2]), found[3]
                yield Turn(session, actor, chosen or _language(update, actor), now, services, update, self.at_hand)
        except AlreadyHandled:
            acted.add(update.update_id)
            raise
        acted.add(update.update_id)
        services.wake()
        if update.callback_query is not None:
            self.application.create_task(_stop_spinner(update.callback_query))

    async def with_receipt(self, act: Callable[[], Awaitable[None]]) -> None:
        """Run one turn. Should it want a receipt when none lies ready, nothing of it is kept: one is made, outside any
        transaction, and the turn is run anew."""
        while True:
            try:
                return await act()
            except NoReceiptReady:
                await self.services.receipts.prepare()


@dataclass(slots=True)
class Turn:
    """One update's turn: who asks, in what language, when; and how to answer."""

    session: AsyncSession
    actor: Actor
    language: str
    now: datetime
    services: Services
    update: Update
    at_hand: Mapping[str, Any] = field(default_factory=dict)
    delivery_id: int | None = None
    _answers: int = field(default=0)

    @property
    def chat(self) -> Recipient:
        """Where the answer goes."""
        return self.actor.chat

    @property
    def policy(self) -> Policy:
        """What the unit has settled."""
        return self.services.policy

    async def apart(self, what: str, read: Callable[[AsyncSession], Awaitable[_T]]) -> _T:
        """What `read` finds, as it was right before this turn, read in a session of its own: for lists and counts that
        grow with the ward, which must not hold up those who write.

        Args:
            what: A name that says all that the answer depends on.
        """
        if what not in self.at_hand:
            raise ReadFirst(what, read)
        found: _T = self.at_hand[what]
        return found

    @property
    def words(self) -> Words:
        """What words texts for this person."""
        return Words(self.language, self.policy)

    def html(self, key: str, /, **params: str | int) -> str:
        """A text in the person's language, as markup; every text may name the emergency numbers."""
        return self.words.html(key, **params)

    def plain(self, key: str, /, **params: str | int) -> str:
        """A text in the person's language, without formatting."""
        return self.words.plain(key, **params)

    def state(self, kind: str, state: str) -> str:
        """Where something stands, in words; `kind` names which states. One that was damaged is said to be."""
        return self.words.state(kind, state)

    async def say(self, key: str, /, *, buttons: Rows = (), asks: Asks | None = None, **params: str | int) -> None:
        """Answer with a text."""
        await self.send(from_html(self.html(key, **params), self.language, buttons=buttons, asks=asks))

    async def refuse(self, refusal: Refusal) -> None:
        """Say why something cannot be done, and what else can."""
        await self.send(from_html(self.html(refusal.key, **refusal.params), self.language))

    async def send(self, outgoing: Outgoing) -> None:
        """Answer with a message. It waits in the ledger until this turn's transaction is committed."""
        await self._queue(outgoing, edits=None)

    async def rewrite(self, outgoing: Outgoing) -> None:
        """Rewrite the message whose button was pressed; answer with a new message when there is none."""
        query = self.update.callback_query
        pressed = str(query.message.message_id) if query is not None and query.message is not None else None
        await self._queue(outgoing, edits=pressed)

    async def add_line(self, line: str, *, buttons: Rows = ()) -> None:
        """Write what came of a press under the message it was pressed in; `line` is markup."""
        query = self.update.callback_query
        shown = query.message if query is not None else None
        before = ""
        if shown is not None and shown.is_accessible:
            before = (shown.text_html or shown.caption_html) or ""  # type: ignore[attr-defined]
        said = from_html(line, self.language)
        try:
            whole = from_html(f"{before}\n\n{line}" if before else line, self.language, buttons=buttons)
        except ValueError:  # markup of the platform we do not know: better the line alone than nothing
            whole = replace(said, buttons=buttons)
        await self.rewrite(replace(whole, brief=said.text))

    async def close_question(self) -> None:
        """Write the pressed button's label under the question it answered, and take the buttons away: last of all,
        so that nobody waits for it, and not at all where messages cannot be edited."""
        query = self.update.callback_query
        shown = query.message if query is not None else None
        if query is None or not isinstance(shown, Message) or shown.reply_markup is None:
            return
        pressed = (key for row in shown.reply_markup.inline_keyboard for key in row if key.callback_data == query.data)
        label = next((key.text for key in pressed), "")
        with contextlib.suppress(ValueError):  # markup of the platform we do not know: leave the question as it is
            closed = from_html(f"{shown.text_html or ''}\n\n<i>→ {escape(label, quote=False)}</i>", self.language)
            await self._queue(replace(closed, brief=""), edits=str(shown.message_id), lane=Lane.REMINDER)

    async def _queue(self, outgoing: Outgoing, *, edits: str | None, lane: Lane = Lane.REPLY) -> None:
        self._answers += 1
        if not self.actor.is_officer and not self.services.bursts.is_prompt(self.chat, now=self.now):
            lane = Lane.REMINDER
        await open_delivery(
            self.session,
            outgoing,
            to=self.chat,
            key=f"answer:{self.chat.channel}:{self.update.update_id}:{self._answers}",
            origin="answer",
            lane=lane,
            edits=edits,
            passing=True,
            hide_address=True,
            now=self.now,
        )


def _language(update: Update, actor: Actor) -> str:
    """What to speak to somebody who has not chosen: Vietnamese, unless the person's app is in another language."""
    user = update.effective_user
    code = (user.language_code if user else None) or "vi"
    return "vi" if actor.is_officer or code.startswith("vi") else "en"


async def _stop_spinner(query: CallbackQuery) -> None:
    # The result is in the message; this only stops the spinner, and an old query cannot be answered any more.
    with contextlib.suppress(TelegramError):
        await query.answer()
