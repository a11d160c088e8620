"""Is the process alive, is it ready, how is it doing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from db.engine import Sessions

#: Name of a part → True when it works, else why not (a short word).
Parts = Callable[[], Mapping[str, bool | str]]
_DATABASE_SECONDS = 2.0


def status_routes(*, sessions: Sessions, parts: Parts) -> list[Route]:
    """`/healthz` (the process is alive) and `/readyz` (every part works)."""

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(request: Request) -> Response:
        checks: dict[str, bool | str] = {"database": await _database_answers(sessions), **parts()}
        is_ready = all(state is True for state in checks.values())
        said = {name: "ok" if state is True else state or "down" for name, state in checks.items()}
        return JSONResponse({"ready": is_ready, "checks": said}, 200 if is_ready else 503)

    return [Route("/healthz", alive), Route("/readyz", ready)]


def metrics_route(registry: CollectorRegistry, *, may_ask: Callable[[Request], bool]) -> Route:
    """`/metrics`, for our own monitoring: for anybody else there is no such page."""

    async def metrics(request: Request) -> Response:
        if not may_ask(request):
            return PlainTextResponse("not found", 404)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", metrics)


async def _database_answers(sessions: Sessions) -> bool | str:
    try:
        async with asyncio.timeout(_DATABASE_SECONDS), sessions.reading() as session:
            await session.execute(text("SELECT 1"))
    except TimeoutError:
        return "slow"
    except Exception:  # whatever is wrong with it: the answer is no
        return "down"
    return True
