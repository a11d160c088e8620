"""The demo: the real application on the real web channel; nothing is made up but the people."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import click
from pydantic import SecretStr
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from bot.app import open_database, page_of, policy_of, stop_signals, web_server
from bot.house import House
from bot.logs import configure_logs
from bot.metrics import Metrics
from bot.settings import Settings
from channels.bodies import TooLarge, read_body
from conversations.inbound import count_waiting
from db.sealing import new_master_key
from db.tables.broadcasts import Notice, NoticeState
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.reports import Report, ReportState
from demo.selfcheck import Failed, walk
from demo.ward import AT_WORK, PERSONAS, UNIT, build_ward
from texts.catalogue import LANGUAGES
from texts.times import say_when
from unit.policy import Policy
from web.app import PortTaken
from web.pages import HERE, ChatPage
from web.security import is_same_origin
from web.sentences import preferred_language
from web.visitor import WebChat

#: Where an ordinary visitor's chat is, with a cookie of its own.
VISITOR = "/chat"
_MAX_BODY = 1024
#: How far one press may push the clock.
_LONGEST_PUSH = timedelta(days=7)
#: Most instants at which something falls due that one push stops at.
_STOPS = 50
#: How long a push waits for what is on its way.
_CALM_SECONDS = 30
#: Outside these hours a demo begins in the morning of its day: at night it would be all about not waking people.
_DAY = (time_of_day(7, 30), time_of_day(19))


class DemoClock:
    """Real time from a given beginning on, which can be pushed forward."""

    def __init__(self, beginning: datetime) -> None:
        self._beginning = beginning
        self.restart()

    def __call__(self) -> datetime:
        """The time in the demo, aware UTC."""
        return self._at + timedelta(seconds=time.monotonic() - self._since)

    def push(self, at: datetime) -> None:
        """Go on from `at`, if that lies ahead."""
        if at > self():
            self._at, self._since = at, time.monotonic()

    def restart(self) -> None:
        """Go back to the beginning."""
        self._at, self._since = self._beginning, time.monotonic()


def beginning(real: datetime, policy: Policy) -> datetime:
    """When a demo started at `real` begins: at that very time by day, else at nine in the morning."""
    local = real.astimezone(policy.zone)
    if not _DAY[0] <= local.time() <= _DAY[1]:
        local = local.replace(hour=9, minute=0, second=0, microsecond=0)
    return local.astimezone(UTC)


def pages() -> dict[str, ChatPage]:
    """One chat page for each person, and one for whoever comes by."""
    personas = {persona.base: ChatPage(address=persona.address, title=persona.title) for persona in PERSONAS}
    return personas | {VISITOR: ChatPage()}


class Demo:
    """A running demo: the house, its clock, and the pages around the phones."""

    def __init__(self, house: House, chat: WebChat, clock: DemoClock) -> None:
        self.address = ""
        self._house = house
        self._chat = chat
        self._clock = clock
        self._alone = asyncio.Lock()
        self._templates = Jinja2Templates(directory=HERE / "templates")

    def routes(self) -> list[BaseRoute]:
        """The pages of the demo; the chats are beside them."""
        return [
            Route("/", self._front, methods=["GET"]),
            Route("/demo", self._page, methods=["GET"]),
            Route("/demo/", self._front, methods=["GET"]),
            Route("/demo/clock", self._read_clock, methods=["GET"]),
            Route("/demo/clock", self._push_clock, methods=["POST"]),
            Route("/demo/reset", self._reset, methods=["POST"]),
        ]

    async def rebuild(self) -> None:
        """The ward as it was at the beginning, also in the middle of everything."""
        async with self._alone:
            self._clock.restart()
            self._house.time.restart()
            async with self._house.sessions.begin() as session:
                await build_ward(session, now=self._clock(), policy=self._house.policy)

    async def go_to_work(self) -> None:
        """Let the officers open their chats; the visitor finds their menus there."""
        for persona in PERSONAS:
            if persona.role in AT_WORK:
                await self._chat.open(persona.address, "vi")
                await self._chat.post_text(persona.address, "/start", str(uuid4()))

    async def push(self, until: datetime) -> None:
        """Let time pass until `until`, stopping at every instant at which something falls due."""
        async with self._alone:
            await self._calm()
            for _ in range(_STOPS):
                due = await self._next_due(until)
                if due is None:
                    break
                self._clock.push(due)
                await self._house.jobs.second()
                await self._calm()
            self._clock.push(until)
            await self._house.jobs.second()
            await self._house.jobs.minute()

    async def _calm(self) -> None:
        """Wait until nothing is on its way: what a jump of the clock overtakes would count as lost."""
        ends = time.monotonic() + _CALM_SECONDS
        while time.monotonic() < ends:
            if not await self._is_busy():
                return
            await asyncio.sleep(0.05)

    async def _is_busy(self) -> bool:
        """Whether anything waits to be acted upon, is due, or is being sent."""
        is_due = Delivery.due_at.is_(None) | (Delivery.due_at <= self._clock())
        waiting = (Delivery.state == DeliveryState.PENDING) & is_due
        async with self._house.sessions.reading() as session:
            inbound = await count_waiting(session)
            outbound = await session.scalar(
                select(Delivery.id).where(waiting | (Delivery.state == DeliveryState.SENDING)).limit(1)
            )
        return bool(inbound) or outbound is not None

    async def _next_due(self, until: datetime) -> datetime | None:
        """The first instant from now to `until` at which a report goes on or a notice goes out."""
        async with self._house.sessions.reading() as session:
            reports = await session.scalars(select(Report).where(Report.state == ReportState.RECEIVED))
            waiting = [report.escalates_at for report in reports]
            notice = await session.scalar(
                select(func.min(Notice.scheduled_for)).where(Notice.state == NoticeState.SCHEDULED)
            )
        return min((at for at in (*waiting, notice) if at is not None and at <= until), default=None)

    # --- pages ---

    async def _front(self, request: Request) -> Response:
        """To the demo; with an invitation to the chat it opens."""
        where = f"{VISITOR}/" if "start" in request.query_params else "/demo"
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(where + query, 307)

    async def _page(self, request: Request) -> Response:
        self._templates.env.globals["police"] = self._house.policy.emergency.police
        return self._templates.TemplateResponse(
            request,
            "demo.html",
            {
                "language": _language(request),
                "unit_name": UNIT,
                "personas": [
                    {"base": persona.base, "title": persona.title, "role": persona.role} for persona in PERSONAS
                ],
            },
        )

    async def _read_clock(self, request: Request) -> Response:
        return self._time_told(request)

    def _time_told(self, request: Request) -> Response:
        now, zone = self._clock(), self._house.policy.zone
        return JSONResponse({"now": now.isoformat(), "said": say_when(now, zone, _language(request))})

    async def _push_clock(self, request: Request) -> Response:
        if not is_same_origin(request, None):
            return _refused(403)
        try:
            until = _pushed(json.loads(await read_body(request, _MAX_BODY)), self._clock(), self._house.policy)
        except (ValueError, TypeError, KeyError, OverflowError, TooLarge):
            return _refused(400)
        await self.push(until)
        return self._time_told(request)

    async def _reset(self, request: Request) -> Response:
        if not is_same_origin(request, None):
            return _refused(403)
        await self.rebuild()
        await self.go_to_work()
        return JSONResponse({"ok": True})


def _refused(status: int) -> Response:
    return JSONResponse({"ok": False}, status)


def _language(request: Request) -> str:
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else preferred_language(request.headers.get("accept-language", ""))


def _pushed(wish: dict[str, Any], now: datetime, policy: Policy) -> datetime:
    """Where `{"minutes": 5}` or `{"to": "08:00"}` leads; raises ValueError, TypeError or KeyError for anything else."""
    if "to" in wish:
        local = now.astimezone(policy.zone)
        wanted = time_of_day.fromisoformat(wish["to"])
        at = local.replace(hour=wanted.hour, minute=wanted.minute, second=0, microsecond=0)
        return at if at > local else at + timedelta(days=1)
    ahead = timedelta(minutes=int(wish["minutes"]))
    if not timedelta(0) < ahead <= _LONGEST_PUSH:
        raise ValueError("not that far")
    return now + ahead


def demo_settings(folder: Path, host: str, port: int) -> Settings:
    """The demo's settings: the defaults and fresh secrets, whatever the environment says."""
    return Settings.model_construct(
        unit_name=UNIT,
        database_url=f"sqlite+aiosqlite:///{folder / 'demo.db'}",
        secret_key=SecretStr(new_master_key()),
        web_host=host,
        web_port=port,
        log_level="ERROR",  # whoever tries it reads the page, not the terminal
    )


@asynccontextmanager
async def running_demo(*, host: str, port: int, now: datetime | None = None) -> AsyncIterator[Demo]:
    """A demo at work; what it wrote is gone with it.

    Args:
        now: When it begins; the present time, or the morning of the day, when None.

    Raises:
        PortTaken: somebody else listens there.
    """
    with TemporaryDirectory(prefix="binhyen-demo-", ignore_cleanup_errors=True) as folder:
        settings = demo_settings(Path(folder), host, port)
        configure_logs(settings)
        engine, sessions = await open_database(settings)
        try:
            policy = policy_of(settings)
            clock = DemoClock(now or beginning(datetime.now(UTC), policy))
            metrics = Metrics()
            page = page_of(settings, sessions, clock, metrics, pages())
            house = House(sessions, clock, policy, [page], metrics=metrics)
            demo = Demo(house, WebChat(page, wake=house.inbox.wake), clock)
            server = web_server(settings, house, more_routes=demo.routes())
            await demo.rebuild()
            await house.start()
            await server.start()
            demo.address = page.door = f"http://{_shown_host(host)}:{server.port}/"
            async with house.running():
                try:
                    await demo.go_to_work()
                    yield demo
                finally:
                    await server.stop()
            await house.stop()
        finally:
            await engine.dispose()


def _shown_host(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (only compared)
    return f"[{host}]" if ":" in host else host


async def run_demo(*, host: str, port: int, selfcheck: bool) -> int:
    """Serve the demo until told to stop, or walk its five steps over HTTP; returns the exit code."""
    stopping = stop_signals()
    try:
        async with running_demo(host=host, port=0 if selfcheck else port) as demo:
            if selfcheck:
                await walk(demo.address, say=click.echo)
                return 0
            click.echo(f"Bình Yên, dùng thử (demo): {demo.address}  ·  Ctrl+C để dừng (to stop)")
            await stopping.wait()
    except PortTaken as error:
        click.echo(f"Bình Yên demo: {error}. Try another one: --port {port + 1 if port < 65535 else 0}", err=True)
        return 1
    except Failed as error:
        click.echo(f"FAILED {error}", err=True)
        return 1
    return 0
