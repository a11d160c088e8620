"""The web application around the chat: webhook, health, metrics, static files, the server."""

from __future__ import annotations

import hmac
import json
import signal
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from conversations.inbound import waiting_updates
from db.base import Base
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from tests.serving import application
from web.app import PortTaken, WebServer

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
SECRET = {"X-Telegram-Bot-Api-Secret-Token": "right"}
UPDATE = {"update_id": 7, "message": {"message_id": 1, "date": 1, "chat": {"id": 5, "type": "private"}, "text": "x"}}


class Telegram:
    """As much of the channel as the webhook asks for."""

    def check_secret(self, header: str | None, /) -> bool:
        return header is not None and hmac.compare_digest(header, "right")


@pytest.fixture
async def sessions(tmp_path):
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield Sessions(engine, KeyRing([b"k" * 32]))
    await engine.dispose()


@pytest.fixture
def health():
    return {"telegram": True}


@pytest.fixture
def woken():
    return []


@pytest.fixture
def build(sessions, health, woken):
    def build(public_url: str = "https://world.example", **more: Any) -> Any:
        wake = lambda: woken.append(True)  # noqa: E731
        return application(sessions, public_url=public_url, health=lambda: health, wake=wake, **more)

    return build


@pytest.fixture
async def caller(build):
    app = build(webhook=Telegram())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        yield caller


@pytest.fixture
def stored(sessions):
    async def read() -> list[tuple[str, dict[str, Any]]]:
        async with sessions.reading() as session:
            found = await waiting_updates(session, {"telegram": ""}, chats=10, each=10)
            return [(waiting.channel, dict(waiting.raw or {})) for waiting in found]

    return read


# --- the webhook ---


async def test_an_update_is_stored_before_it_is_answered(caller, stored, woken):
    for _ in range(2):
        answer = await caller.post("/telegram/webhook", json=UPDATE, headers=SECRET)
        assert answer.status_code == 200
    assert await stored() == [("telegram", UPDATE)]
    assert woken


@pytest.mark.parametrize("headers", [{}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}])
async def test_without_the_secret_nothing_is_taken(caller, stored, headers):
    assert (await caller.post("/telegram/webhook", json=UPDATE, headers=headers)).status_code == 403
    assert await stored() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"update_id": "7"}', b'{"update_id": true}', b"\xff", b'{"update_id": 1e3}']
)
async def test_what_is_no_update_is_refused(caller, stored, woken, body):
    assert (await caller.post("/telegram/webhook", content=body, headers=SECRET)).status_code == 400
    assert (await stored(), woken) == ([], [])


async def test_a_body_over_one_mebibyte_is_refused(caller):
    body = json.dumps({**UPDATE, "x": "x" * 1024 * 1024})
    assert (await caller.post("/telegram/webhook", content=body, headers=SECRET)).status_code == 413


async def test_an_update_that_could_not_be_stored_is_asked_for_again(caller, sessions, monkeypatch, woken):
    def broken() -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(sessions, "begin", broken)
    assert (await caller.post("/telegram/webhook", json=UPDATE, headers=SECRET)).status_code == 500
    assert not woken


async def test_there_is_no_webhook_unless_wanted(build):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build()), base_url="http://test") as caller:
        assert (await caller.post("/telegram/webhook", json=UPDATE, headers=SECRET)).status_code == 404


# --- health and figures ---


async def test_ready_when_every_part_is(caller, health):
    assert (await caller.get("/healthz")).text == "ok"
    answer = await caller.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"database": "ok", "telegram": "ok"}})
    health["telegram"] = "bad_token"
    answer = await caller.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["telegram"]) == (503, "bad_token")


async def test_not_ready_without_the_database(caller, sessions, monkeypatch):
    def broken() -> Any:
        raise OSError("gone")

    monkeypatch.setattr(sessions, "reading", broken)
    answer = await caller.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "down")
    assert (await caller.get("/healthz")).status_code == 200


async def test_figures_are_told_on_this_machine(build):
    app = build(public_url="http://127.0.0.1:8080")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        answer = await caller.get("/metrics")
    assert "binhyen_test_total 1.0" in answer.text and "binhyen_web_open_pages 0.0" in answer.text


async def test_figures_need_a_port_of_their_own_once_the_world_comes_in(caller):
    assert (await caller.get("/metrics")).status_code == 404


# --- files of ours, and the cookie over TLS ---


async def test_static_files_are_asked_for_again_each_time(caller):
    answer = await caller.get("/static/chat/start.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    again = await caller.get("/static/chat/start.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for outside in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/none.js", "/sw.js/x"):
        assert (await caller.get(outside)).status_code == 404
    assert (await caller.get("/manifest.webmanifest")).headers["content-type"] == "application/manifest+json"


async def test_the_cookie_travels_only_over_tls_where_the_world_uses_it(caller):
    assert "Secure" in (await caller.get("/")).headers["set-cookie"]


# --- the server ---


async def test_a_taken_port_is_said_in_one_line(build):
    first = WebServer(build(), "127.0.0.1", 0)
    await first.start()
    try:
        with pytest.raises(PortTaken, match=f"cannot listen on 127.0.0.1:{first.port}"):
            await WebServer(build(), "127.0.0.1", first.port).start()
    finally:
        await first.stop()


@pytest.mark.parametrize("host, port", [("203.0.113.1", 0), ("127.0.0.1", 99999), ("no.such.host.invalid", 0)])
async def test_what_cannot_be_listened_on_is_said_in_one_line(build, host, port):
    with pytest.raises(PortTaken):
        await WebServer(build(), host, port).start()


async def test_signals_stay_with_whoever_runs_the_process(build):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = WebServer(build(), "127.0.0.1", 0)
    await server.start()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as caller:
        assert (await caller.get("/healthz")).text == "ok"
    await server.stop()
    await server.stop()
