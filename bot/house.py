"""The house: everything that works on one database, on whatever channels it is given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.routing import BaseRoute
from telegram.ext import Application, ContextTypes

from bot import restored
from bot.errors import on_error
from bot.forgetful import ForgetfulApplication
from bot.inbox import Inbox, slots_for
from bot.jobs import Jobs
from bot.metrics import Metrics
from bot.supervision import Ticks, Watch, supervised, tolerated
from channels.channel import Channel, Line
from channels.port import Media, Recipient
from channels.sender import Sender
from channels.wording import plain
from conversations.inbound import InboundStore, find_left_over
from db import standing
from db.engine import Sessions, owe_erasure
from db.forward_clock import ForwardClock
from db.standing import Outside
from deliveries import outcomes
from deliveries.dispatch import Dispatcher
from deliveries.outcomes import Outcome
from deliveries.pace import Pace
from handlers.context import App, Context, Services
from handlers.menus import OfficerMenus
from handlers.routes import add_routes
from media.files import load_or_stand_in
from reports.codes import Receipts
from unit.policy import Policy

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
#: How soon a new officer sees the menu of the role, seconds.
_MENU_SECONDS = 5
#: How many sends a channel may have under way: enough for 1,000 a second with answers after 100 ms.
_SLOTS = 128
_OWN_SLOTS = 8
#: How fresh the gauges of `/metrics` are, seconds.
_MEASURE_SECONDS = 15
#: How long a channel may take to say goodbye: nothing waits for it but the end.
_FAREWELL_SECONDS = 1.5


@dataclass(slots=True)
class House:
    """Everything that works on one database, built but not yet running.

    `running` runs it; tests and the demo call `settle` instead, which works until nothing is due. `outside` is where
    it notes how far the database got, and its clock only moves forward.
    """

    sessions: Sessions
    clock: Clock
    policy: Policy
    channels: Sequence[Channel]
    metrics: Metrics = field(default_factory=Metrics)
    receipts: Receipts = field(default_factory=Receipts)
    outside: Outside | None = None
    lines: dict[str, Line] = field(init=False)
    applications: dict[str, App] = field(init=False)
    dispatchers: dict[str, Dispatcher] = field(init=False)
    inbox: Inbox = field(init=False)
    incoming: InboundStore = field(init=False)
    jobs: Jobs = field(init=False)
    menus: OfficerMenus = field(init=False)
    time: ForwardClock = field(init=False)
    _has_sent: bool = field(init=False, default=False)
    _minute_written: datetime | None = field(init=False, default=None)
    _receiving: list[asyncio.Task[None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.clock = self.time = self.clock if isinstance(self.clock, ForwardClock) else ForwardClock(self.clock)
        services = Services(
            self.sessions,
            self.clock,
            self.policy,
            wake=self.wake_senders,
            rate=self.rate,
            doors=self.doors,
            erase_transcript=self.erase_transcript,
            receipts=self.receipts,
            slots=slots_for(self.sessions),
        )
        self.lines = {channel.name: channel.line() for channel in self.channels}
        self.applications = {name: make_application(line, services) for name, line in self.lines.items()}
        self.dispatchers = {name: self._dispatcher(line) for name, line in self.lines.items()}
        self.inbox = Inbox(self.sessions, self.applications, slots=services.slots)
        self.incoming = InboundStore(self.sessions, self.clock)
        self.menus = OfficerMenus(self.sessions, self.applications)
        self.jobs = Jobs(
            self.sessions,
            self.policy,
            self.clock,
            wake=self.wake,
            rate=self.rate,
            receipts=self.receipts,
            remember=self._remember,
            channels=self.channels,
        )

    # --- what the channels are to the rest ---

    def doors(self) -> list[str]:
        """The addresses that open a chat with us, the channel listed first in front."""
        return [channel.door for channel in self.channels if channel.door]

    def routes(self) -> list[BaseRoute]:
        """What the channels want of our HTTP face."""
        return [
            route
            for channel in self.channels
            for route in channel.routes(partial(self.store, channel.name), self.inbox.wake)
        ]

    def health(self) -> Mapping[str, bool | str]:
        """Of each channel whether it brings in and takes what it should, else why not."""
        return {
            channel.name: channel.health.trouble or self.dispatchers[channel.name].down or True
            for channel in self.channels
        }

    async def erase_transcript(self, session: AsyncSession, chat: Recipient) -> None:
        """Wipe what we keep of a chat's messages, from the disk as well."""
        owe_erasure(session)
        for channel in self.channels:
            if channel.name == chat.channel:
                await channel.erase(session, chat)

    def let_go(self) -> None:
        """End what the channels hold open for people."""
        for channel in self.channels:
            channel.let_go()

    def wake(self) -> None:
        """Something was stored or queued: everybody looks."""
        self.inbox.wake()
        self.wake_senders()

    def wake_senders(self) -> None:
        """Something was queued to be sent."""
        for dispatcher in self.dispatchers.values():
            dispatcher.wake()

    def rate(self) -> float | None:
        """The slowest channel's messages a second, to say when a broadcast ends."""
        paces = (line.limits.per_second for line in self.lines.values())
        return min((pace for pace in paces if pace), default=None)

    # --- a life ---

    async def start(self) -> None:
        """Get the channels ready, and list what an earlier process left in flight as unknown."""
        for application in self.applications.values():
            await application.initialize()
            await application.start()
        async with self.sessions.begin() as session:
            self.time.start_from(await standing.newest_seen(session))
            lost = await outcomes.recover(session, now=self.clock(), all_in_flight=True)
            if self.time.stepped_back():
                await restored.pull_back(session, now=self.clock())
            await find_left_over(session)
        if lost:
            log.warning("sends_unknown_after_restart", deliveries=lost)
        for channel in self.channels:
            await channel.start()

    def lose(self) -> None:
        """The database is not ours any more: nothing is claimed, stored or acted upon until `regain`."""
        self.sessions.hold_writers()

    async def regain(self) -> None:
        """The database is ours again. What was in flight and is not settled when its lease ends is nobody's, as always:
        sends of this process that are under way still come to their end."""
        self.sessions.let_write()
        try:
            async with self.sessions.begin() as session:
                lost = await outcomes.recover(session, now=self.clock())
        except (SQLAlchemyError, OSError) as error:  # gone again; the minute's tick does the same
            log.error("recovery_failed", error=type(error).__name__)
        else:
            log.info("sends_unknown", deliveries=lost)
        self.wake()

    async def stop(self) -> None:
        """Shut the applications down, and let the channels go."""
        for application in self.applications.values():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    if application.running:
                        await application.stop()
                    await application.shutdown()
        for channel in self.channels:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await channel.close()

    async def settle(self) -> None:
        """Work until nothing is waiting and nothing is due."""
        await self.inbox.drain()
        for dispatcher in self.dispatchers.values():
            await dispatcher.drain()

    async def store(self, channel: str, updates: Sequence[dict[str, Any]]) -> None:
        """Store what came in, and wake whoever acts on it."""
        await self.incoming.store(channel, updates)
        self.inbox.wake()

    async def measure(self) -> None:
        """Read the gauges of `/metrics`."""
        async with self.sessions.reading() as session:
            await self.metrics.measure(session, self.dispatchers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        """Channels, inbox, senders and ticks at work; on the way out what has begun is finished, nothing new is begun.

        Raises:
            ExceptionGroup: A loop ended by itself; the body was cancelled for it.
        """
        stopping = asyncio.Event()
        async with supervised() as watch:
            watch.run("inbox", self.inbox.run())
            for name, dispatcher in self.dispatchers.items():
                watch.run(f"dispatch {name}", dispatcher.run())
            watch.run("ticks", self._ticks().run(stopping))
            for channel in self.channels:
                receiving = channel.receive(partial(self.store, channel.name))
                self._receiving.append(watch.run(channel.name, receiving))
            try:
                yield watch
            finally:
                # All at once: each may take a few seconds to finish what is under way, and ten are all there is.
                watch.may_end()
                await self.stop_receiving()
                stopping.set()
                self.inbox.stop()
                for dispatcher in self.dispatchers.values():
                    dispatcher.stop()

    async def stop_receiving(self) -> None:
        """Let the channels bring nothing more in; to be said when loops may end."""
        receiving, self._receiving = self._receiving, []
        for task in receiving:
            task.cancel()
        if receiving:
            await asyncio.wait(receiving)

    def _ticks(self) -> Ticks:
        ticks = Ticks()
        ticks.add(1, self.jobs.second)
        ticks.add(60, self.jobs.minute)
        ticks.add(1, tolerated("receipts", self.jobs.refill))
        ticks.add(1, tolerated("mark", self._go_further))
        ticks.add(_MEASURE_SECONDS, tolerated("measure", self.measure))
        ticks.add(_MENU_SECONDS, tolerated("menus", self.menus.refresh))
        return ticks

    async def _remember(self, session: AsyncSession, now: datetime) -> None:
        """Once a minute: how late it is; or, when somebody has said that the computer's clock is right, go by it."""
        there = await standing.newest_seen(session)
        if self._minute_written is not None and there is not None and there < self._minute_written:
            log.warning("clock_trusted")
            self.time.restart()
            now = self.clock()
            await restored.pull_back(session, now=now)
        elif self.time.stepped_back():
            await restored.pull_back(session, now=now)
        await standing.remember_seen(session, now)
        self._minute_written = standing.minute_of(now)

    async def _go_further(self) -> None:
        """Once a second, when something was sent since: a copy made before this is an older one."""
        if self.outside is None or not self._has_sent:
            return
        self._has_sent = False
        try:
            async with self.sessions.begin() as session:
                mark = await standing.advance(session)
        except BaseException:
            self._has_sent = True
            raise
        await asyncio.to_thread(self.outside.keep, mark)

    def _note(self, outcome: Outcome) -> None:
        self._has_sent = True
        self.metrics.count(outcome)

    def _dispatcher(self, line: Line) -> Dispatcher:
        async def load(media_id: int) -> Media:
            async with self.sessions.reading() as session:
                return await load_or_stand_in(session, media_id)

        sender = Sender(line.bot, line.capabilities, load, plain)
        return Dispatcher(
            self.sessions,
            line.name,
            sender,
            Pace(line.limits),
            self.clock,
            # A channel of our own is a database away: more at once would only stand in line for it.
            slots=_SLOTS if line.limits.per_second else _OWN_SLOTS,
            count=self._note,
        )


def make_application(line: Line, services: Services) -> App:
    """The real python-telegram-bot application of one channel: no updater, no job queue, state in our tables."""
    application: App = (
        Application.builder()
        .application_class(ForgetfulApplication)
        .bot(line.bot)
        .updater(None)
        .job_queue(None)
        .context_types(ContextTypes(context=Context))
        .build()
    )
    application.bot_data["services"] = services
    application.bot_data["channel"] = line.name
    add_routes(application)
    application.add_error_handler(on_error)
    return application
