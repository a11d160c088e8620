"""The composition root: the only place that names concrete engines and channels."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import BaseRoute

from bot import restored
from bot.house import House
from bot.metrics import Metrics
from bot.settings import BadSettings, Settings, load_keys
from channels.channel import Channel
from db import standing
from db.engine import Sessions, make_engine
from db.forward_clock import ForwardClock
from db.key_check import check_keys
from db.lock import Ended, Lock, sole_process
from db.outage import is_outage
from db.sealing import CannotUnseal
from db.standing import Outside
from db.upgrade import upgrade
from deliveries.dispatch import system_clock
from handlers.menus import common_menus
from officers.accounts import sync_administrators
from unit.policy import Emergency, Policy
from web.app import WebServer, build_metrics, build_web
from web.channel import PageChannel
from web.limits import limits_here
from web.pages import ChatPage, WebSettings

if TYPE_CHECKING:
    from channels.telegram.channel import TelegramChannel

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


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
    except CannotUnseal:
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
    metrics = Metrics()
    channels = channels_of(settings, sessions, clock, metrics)
    house = House(sessions, clock, policy_of(settings), channels, metrics=metrics, outside=outside)
    servers = [web_server(settings, house), *metrics_servers(settings, house)]
    closing = None
    try:
        await house.start()
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
            await stopping.wait()
            log.info("stopping")
            watch.may_end()
            await house.stop_receiving()
            closing = asyncio.ensure_future(_close(servers))
            keeping.cancel()
    finally:
        await (closing or _close(servers))
        await house.stop()


async def _close(servers: Sequence[WebServer]) -> None:
    await asyncio.gather(*(each.stop() for each in servers))


def channels_of(settings: Settings, sessions: Sessions, clock: Clock, metrics: Metrics) -> list[Channel]:
    """Every channel of a unit: the only list of them. Links lead to the first in it that has a door."""
    return [*telegram_of(settings), page_of(settings, sessions, clock, metrics)]


def telegram_of(settings: Settings) -> list[TelegramChannel]:
    """Telegram, where there is a token."""
    if settings.bot_token is None:
        return []
    # Imported here: a unit without Telegram does not pay for its HTTP client.
    from channels.telegram.channel import TelegramChannel

    webhook: dict[str, Any] = {}
    if settings.uses_webhook and settings.webhook_secret is not None:
        webhook = {
            "public_url": settings.public_url,
            "webhook_secret": settings.webhook_secret.get_secret_value(),
        }
    return [
        TelegramChannel(
            settings.bot_token.get_secret_value(),
            api_url=settings.telegram_api_url,
            rate=settings.rate_telegram,
            menus=common_menus(),
            numbers=policy_of(settings).emergency.places,
            **webhook,
        )
    ]


def page_of(
    settings: Settings, sessions: Sessions, clock: Clock, metrics: Metrics, pages: Mapping[str, ChatPage] | None = None
) -> PageChannel:
    """Our own page, which there always is; at the root, unless other pages are named."""
    return PageChannel(
        sessions,
        clock=clock,
        settings=web_settings(settings),
        pages=pages,
        menus=common_menus(),
        limits=limits_here(settings.web_connections),
        registry=metrics.registry,
    )


def web_settings(settings: Settings) -> WebSettings:
    """What the pages need to know of the unit."""
    return WebSettings(
        unit_name=settings.unit_name,
        public_url=settings.public_url,
        timezone=settings.timezone,
        police=settings.emergency_police,
    )


def web_server(settings: Settings, house: House, *, more_routes: Sequence[BaseRoute] = ()) -> WebServer:
    """The web server of a house: what its channels want, public pages, health and metrics."""
    app = build_web(
        sessions=house.sessions,
        routes=[*more_routes, *house.routes()],
        health=house.health,
        settings=web_settings(settings),
        registry=house.metrics.registry,
        limits=limits_here(settings.web_connections),
        metrics_elsewhere=settings.metrics_port is not None,
        let_go=house.let_go,
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


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(name, stopping.set)
    return stopping
