"""The composition root: the only place that names concrete engines and channels."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from starlette.routing import BaseRoute
from telegram.error import TelegramError
from telegram.ext import Application, ContextTypes, ExtBot

from bot import restored
from bot.errors import on_error
from bot.forgetful import ForgetfulApplication
from bot.inbox import Inbox, slots_for
from bot.jobs import Jobs
from bot.metrics import Metrics
from bot.settings import BadSettings, Settings, load_keys
from bot.supervision import Ticks, Watch, supervised, tolerated
from channels.api import call
from channels.port import Capabilities, Limits, Media, Recipient
from channels.sender import Sender
from channels.web.gateway import WebGateway
from channels.web.store import erase_messages
from channels.wording import plain
from conversations.inbound import InboundStore, find_left_over
from db import standing
from db.engine import Sessions, make_engine, owe_erasure
from db.forward_clock import ForwardClock
from db.key_check import check_keys
from db.lock import Ended, Lock, sole_process
from db.outage import is_outage
from db.sealing import CannotOpen
from db.standing import Outside
from db.upgrade import upgrade
from deliveries import ledger
from deliveries.dispatch import Dispatcher, system_clock
from deliveries.ledger import Outcome
from deliveries.pace import Pace
from handlers.context import App, Context, Services
from handlers.menus import OfficerMenus, common_menus
from handlers.routes import add_routes
from media.files import load_or_stand_in
from officers.accounts import sync_administrators
from reports.codes import Receipts
from unit.policy import Emergency, Policy
from web.app import ChatPage, WebServer, WebSettings, build_metrics, build_web
from web.limits import limits_here
from web.visitor import WebChat

if TYPE_CHECKING:
    from channels.telegram import TelegramChannel

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


@dataclass(frozen=True, slots=True)
class Line:
    """A channel as the house needs it: a bot that speaks for it, what it can do, how fast."""

    name: str
    bot: ExtBot[None]
    capabilities: Capabilities
    limits: Limits


@dataclass(slots=True)
class House:
    """Everything that works on one database, built but not yet running.

    `running` runs it; tests and the demo call `settle` instead, which works until nothing is due. `outside` is where
    it notes how far the database got, and its clock only moves forward.
    """

    sessions: Sessions
    clock: Clock
    policy: Policy
    lines: Sequence[Line]
    doors: Callable[[], Sequence[str]] = lambda: ()
    metrics: Metrics = field(default_factory=Metrics)
    receipts: Receipts = field(default_factory=Receipts)
    outside: Outside | None = None
    applications: dict[str, App] = field(init=False)
    dispatchers: dict[str, Dispatcher] = field(init=False)
    inbox: Inbox = field(init=False)
    incoming: InboundStore = field(init=False)
    jobs: Jobs = field(init=False)
    menus: OfficerMenus = field(init=False)
    time: ForwardClock = field(init=False)
    _has_sent: bool = field(init=False, default=False)
    _minute_written: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.clock = self.time = self.clock if isinstance(self.clock, ForwardClock) else ForwardClock(self.clock)
        services = Services(
            self.sessions,
            self.clock,
            self.policy,
            wake=self.wake_senders,
            rate=self.rate,
            doors=self.doors,
            erase_transcript=erase_transcript,
            receipts=self.receipts,
            slots=slots_for(self.sessions),
        )
        self.applications = {line.name: make_application(line, services) for line in self.lines}
        self.dispatchers = {line.name: self._dispatcher(line) for line in self.lines}
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
            channels=[line.name for line in self.lines],
        )

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
        return min((line.limits.per_second for line in self.lines if line.limits.per_second), default=None)

    async def start(self) -> None:
        """Get the applications ready, and list what an earlier process left in flight as unknown."""
        for application in self.applications.values():
            await application.initialize()
            await application.start()
        async with self.sessions.begin() as session:
            self.time.start_from(await standing.newest_seen(session))
            lost = await ledger.recover(session, now=self.clock(), all_in_flight=True)
            if self.time.stepped_back():
                await restored.pull_back(session, now=self.clock())
            await find_left_over(session)
        if lost:
            log.warning("sends_unknown_after_restart", deliveries=lost)

    def lose(self) -> None:
        """The database is not ours any more: nothing is claimed, stored or acted upon until `regain`."""
        self.sessions.hold_writers()

    async def regain(self) -> None:
        """The database is ours again. What was in flight and is not settled when its lease ends is nobody's, as always:
        sends of this process that are under way still come to their end."""
        self.sessions.let_write()
        try:
            async with self.sessions.begin() as session:
                lost = await ledger.recover(session, now=self.clock())
        except (SQLAlchemyError, OSError) as error:  # gone again; the minute's tick does the same
            log.error("recovery_failed", error=type(error).__name__)
        else:
            log.info("sends_unknown", deliveries=lost)
        self.wake()

    async def stop(self) -> None:
        """Shut the applications down."""
        for application in self.applications.values():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    if application.running:
                        await application.stop()
                    await application.shutdown()

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
        """Inbox, senders and ticks at work; on the way out what has begun is finished, nothing new is begun.

        Raises:
            ExceptionGroup: A loop ended by itself; the body was cancelled for it.
        """
        stopping = asyncio.Event()
        async with supervised() as watch:
            watch.run("inbox", self.inbox.run())
            for name, dispatcher in self.dispatchers.items():
                watch.run(f"dispatch {name}", dispatcher.run())
            watch.run("ticks", self._ticks().run(stopping))
            try:
                yield watch
            finally:
                # All at once: each may take a few seconds to finish what is under way, and ten are all there is.
                watch.may_end()
                stopping.set()
                self.inbox.stop()
                for dispatcher in self.dispatchers.values():
                    dispatcher.stop()

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


async def erase_transcript(session: AsyncSession, chat: Recipient) -> None:
    """Wipe what we keep of a chat's messages; other platforms keep their own."""
    owe_erasure(session)
    if chat.channel == WebGateway.name:
        await erase_messages(session, chat)


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


def policy_of(settings: Settings) -> Policy:
    """What the settings say the unit has settled."""
    return Policy(
        unit_name=settings.unit_name,
        zone=settings.zone,
        quiet_hours=settings.quiet_hours,
        escalation=tuple(timedelta(minutes=number) for number in settings.escalation_minutes),
        escalation_urgent=tuple(timedelta(minutes=number) for number in settings.escalation_urgent_minutes),
        duty_phone=settings.duty_phone,
        emergency=Emergency(
            police=settings.emergency_police,
            fire=settings.emergency_fire,
            medical=settings.emergency_medical,
            children=settings.emergency_children,
        ),
    )


async def open_database(settings: Settings) -> tuple[AsyncEngine, Sessions]:
    """The database at its newest schema, opened with the key ring it was sealed with.

    Raises:
        BadSettings: The key ring is another one.
    """
    engine, sessions = _reach_database(settings)
    try:
        await _prepare(engine, sessions)
    except BadSettings:
        await engine.dispose()
        raise
    return engine, sessions


def _reach_database(settings: Settings) -> tuple[AsyncEngine, Sessions]:
    engine = make_engine(settings.database_url)
    return engine, Sessions(engine, load_keys(settings))


async def _prepare(engine: AsyncEngine, sessions: Sessions) -> None:
    await upgrade(engine)
    try:
        async with sessions.begin() as session:
            await check_keys(session)
    except CannotOpen:
        raise BadSettings(
            ["SECRET_KEY does not open this database: it was sealed with another key; restore that one from a backup"]
        ) from None


async def run(settings: Settings, *, clock: Clock = system_clock, stopping: asyncio.Event | None = None) -> None:
    """Run the bot until told to stop (SIGTERM, SIGINT, or `stopping`), then end with nothing half-done.

    Raises:
        Ended: It came to an end without being told to.
        AlreadyRunning, BadSettings, PortTaken: It could not begin.
    """
    stopping = stopping or stop_signals()
    engine, sessions = _reach_database(settings)
    outside = Outside(engine.url, standing.MARKS)
    try:
        # Held before anything is changed: a second start must not migrate under a running process.
        async with sole_process(engine) as lock:
            await _prepare(engine, sessions)
            time = ForwardClock(clock)
            await _enter(settings, sessions, outside, time)
            await _serve(settings, sessions, outside, lock, time, stopping)
            await _leave(sessions, outside)
    except BaseExceptionGroup as failures:
        raise _ended(failures) from None
    except Exception as error:
        if not is_outage(error):
            raise
        raise Ended(
            f"The database cannot be used ({type(error).__name__}): is its disk full, or its server away? "
            "`binhyen doctor` looks."
        ) from None
    finally:
        await engine.dispose()
    log.info("stopped")


async def _enter(settings: Settings, sessions: Sessions, outside: Outside, time: ForwardClock) -> None:
    """Begin to work on the database: by its clock, on the newest copy of it, with the settings' administrators."""
    async with sessions.begin() as session:
        found = await standing.enter(session, outside.read)
        time.start_from(found.seen_at)
        refused = await sync_administrators(session, settings.admin_ids, now=time())
        stock = None
        if found.is_restored:
            stock = await restored.take_stock(session, now=time(), policy=policy_of(settings))
    await asyncio.to_thread(outside.keep, found.mark)
    if refused:
        log.warning(
            "administrators_stay_revoked",
            chats=refused,
            advice="ADMIN_IDS names chats whose access was revoked in chat: take them out of it",
        )
    if stock is not None:
        log.warning(
            "older_copy_of_the_database",
            unknown=stock.unknown,
            reports=stock.reports,
            advice="what was waiting is listed as unknown and not sent; see docs/operators/backup.md",
        )


async def _leave(sessions: Sessions, outside: Outside) -> None:
    """Note how far the database got; where that cannot be, the next start finds what a killed process leaves."""
    try:
        async with sessions.begin() as session:
            mark = await standing.advance(session)
    except Exception as error:
        if not is_outage(error):
            raise
        log.error("end_not_noted", error=type(error).__name__)
    else:
        outside.keep(mark)


def _ended(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a process that ends by itself says; everything but a known reason is logged once with a reference."""
    known = failures.subgroup(Ended)
    if known is not None:
        reason = next(_leaves(known))
        log.error("ended", reason=str(reason))
        return reason
    reference = secrets.token_hex(2).upper()
    log.critical("ended", reference=reference, exc_info=failures)
    return Ended(f"Bình Yên ended by itself, which it should not: see the log, reference {reference}.")


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


async def _serve(
    settings: Settings,
    sessions: Sessions,
    outside: Outside,
    lock: Lock,
    clock: ForwardClock,
    stopping: asyncio.Event,
) -> None:
    telegram = _telegram(settings, clock)
    gateway = WebGateway(sessions, clock=clock, bot_name=settings.unit_name)
    lines = [Line(gateway.name, gateway.bot(), gateway.capabilities, gateway.limits)]
    if telegram is not None:
        lines.append(Line(telegram.name, telegram.bot, telegram.capabilities, telegram.limits))
    house = House(sessions, clock, policy_of(settings), lines, lambda: _doors(settings, telegram), outside=outside)
    chat = WebChat(gateway, wake=house.inbox.wake)
    server = web_server(settings, house, {"": ChatPage(chat)}, telegram)
    servers = [server, *metrics_servers(settings, house)]
    closing = None
    try:
        await house.start()
        await fill_web_menu(gateway)
        for each in servers:
            await each.start()
            log.info("listening", host=each.host, port=each.port)
        # What the start built lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        async with house.running() as watch:
            keeping = watch.run("lock", lock.keep(lost=house.lose, retaken=house.regain))
            for each in servers:
                watch.run("web", each.ended())
            receiving = watch.run("telegram", _receive(telegram, house)) if telegram is not None else None
            await stopping.wait()
            log.info("stopping")
            watch.may_end()
            if receiving is not None:
                receiving.cancel()
                await asyncio.wait([receiving])
            closing = asyncio.ensure_future(_close(servers))
            keeping.cancel()
    finally:
        await (closing or _close(servers))
        if telegram is not None:
            await telegram.close()
        await house.stop()


async def _close(servers: Sequence[WebServer]) -> None:
    await asyncio.gather(*(each.stop() for each in servers))


async def _receive(telegram: TelegramChannel, house: House) -> None:
    await telegram.start()
    await _introduce(telegram, house.policy.emergency)
    await telegram.receive(lambda updates: house.store(telegram.name, updates))


async def _introduce(telegram: TelegramChannel, emergency: Emergency) -> None:
    """Say on the bot's profile what it is for; a platform that does not take it is no obstacle."""
    for language in ("vi", "en"):
        code = {"language_code": language} if language != "vi" else {}
        with contextlib.suppress(TelegramError):
            description = plain(language, "bot.description", **emergency.places)
            await call(telegram.bot, "setMyDescription", {"description": description, **code})
            short = plain(language, "bot.short", **emergency.places)
            await call(telegram.bot, "setMyShortDescription", {"short_description": short, **code})


def _telegram(settings: Settings, clock: Clock) -> TelegramChannel | None:
    if settings.bot_token is None:
        return None
    # Imported here: a unit without Telegram does not pay for its HTTP client.
    from channels.telegram import TelegramChannel

    webhook: dict[str, Any] = {}
    if settings.uses_webhook and settings.webhook_secret is not None:
        webhook = {
            "public_url": settings.public_url,
            "webhook_secret": settings.webhook_secret.get_secret_value(),
        }
    return TelegramChannel(
        settings.bot_token.get_secret_value(),
        api_url=settings.telegram_api_url,
        rate=settings.rate_telegram,
        menus=common_menus(),
        clock=clock,
        **webhook,
    )


def web_server(
    settings: Settings,
    house: House,
    pages: Mapping[str, ChatPage],
    telegram: TelegramChannel | None = None,
    *,
    more_routes: Sequence[BaseRoute] = (),
) -> WebServer:
    """The web server of a house: chat pages, public pages, webhook, health and metrics."""

    def health() -> Mapping[str, bool | str]:
        parts: dict[str, bool | str] = {}
        for name, dispatcher in house.dispatchers.items():
            parts[name] = dispatcher.down or True
        if telegram is not None and telegram.health.state != "up":
            parts["telegram"] = telegram.health.reason or telegram.health.state
        return parts

    app = build_web(
        sessions=house.sessions,
        chats=pages,
        health=health,
        settings=WebSettings(
            unit_name=settings.unit_name,
            public_url=settings.public_url,
            timezone=settings.timezone,
            police=settings.emergency_police,
        ),
        registry=house.metrics.registry,
        clock=house.clock,
        wake=house.inbox.wake,
        telegram_webhook=telegram if telegram is not None and settings.uses_webhook else None,
        more_routes=more_routes,
        limits=limits_here(settings.web_connections),
        metrics_elsewhere=settings.metrics_port is not None,
    )
    return WebServer(
        app, settings.web_host, settings.web_port, trusted_proxies=",".join(map(str, settings.trusted_proxies))
    )


def metrics_servers(settings: Settings, house: House) -> list[WebServer]:
    """The server of `/metrics`, where it has a port of its own."""
    if settings.metrics_port is None:
        return []
    app = build_metrics(house.metrics.registry)
    return [WebServer(app, settings.metrics_host, settings.metrics_port, settings="METRICS_HOST, METRICS_PORT")]


def _doors(settings: Settings, telegram: TelegramChannel | None) -> list[str]:
    doors = []
    if telegram is not None and telegram.bot.username:
        doors.append(f"https://t.me/{telegram.bot.username}")
    if settings.public_url:
        doors.append(settings.public_url.rstrip("/") + "/")
    return doors


async def fill_web_menu(gateway: WebGateway) -> None:
    """Give the chat page its menu of commands."""
    bot = gateway.bot()
    await bot.initialize()
    for menu in common_menus():
        await call(bot, "setMyCommands", menu)


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(name, stopping.set)
    return stopping
