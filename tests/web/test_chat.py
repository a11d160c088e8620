"""The chat page over HTTP: what visitors may do, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from channels.api import call
from channels.web.files import MAX_FILE
from conversations.inbound import waiting_updates
from db.base import Base
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from texts.catalogue import LANGUAGES
from web.app import WebServer, build_web
from web.channel import PageChannel
from web.pages import ChatPage, WebSettings
from web.security import Limiter, Rate
from web.sentences import CODES, preferred_language, sentence
from web.visitor import address_of

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
SETTINGS = WebSettings(unit_name="Công an Phường <2>", public_url="http://world.example")
ORIGIN = "http://test"


@pytest.fixture
async def sessions(tmp_path):
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield Sessions(engine, KeyRing([b"k" * 32]))
    await engine.dispose()


@pytest.fixture
def gateway(sessions):
    pages = {"": ChatPage(), "/demo/lan": ChatPage(address="lan", title="Chị Lan", cookie="by_lan")}
    return PageChannel(sessions, clock=lambda: NOW, settings=SETTINGS, pages=pages)


@pytest.fixture
async def bot(gateway):
    async with gateway.bot() as ready:
        yield ready


@pytest.fixture
def app(sessions, gateway):
    return build_web(
        sessions=sessions,
        routes=gateway.routes(nothing_stored, lambda: None),
        health=dict,
        settings=SETTINGS,
        registry=CollectorRegistry(),
        let_go=gateway.let_go,
    )


async def nothing_stored(updates: list[dict[str, Any]]) -> None:
    """The page stores what visitors send by itself."""
    raise AssertionError(updates)


@pytest.fixture
def visit(app):
    """A visitor's browser that has the page open."""

    @asynccontextmanager
    async def visit(*, language: str = "vi", path: str = "/") -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=ORIGIN,
            headers={"Accept-Language": language, "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"},
        ) as browser:
            assert (await browser.get(path)).status_code == 200
            yield browser

    return visit


@pytest.fixture
async def lan(visit):
    async with visit() as browser:
        yield browser


@pytest.fixture
def stored(sessions):
    async def read() -> list[dict[str, Any]]:
        async with sessions.reading() as session:
            return [dict(one.raw or {}) for one in await waiting_updates(session, {"web": ""}, chats=100, each=1000)]

    return read


def address(browser: httpx.AsyncClient) -> str:
    return address_of(browser.cookies["by_chat"])


def nonce() -> str:
    return str(uuid4())


async def say(browser: httpx.AsyncClient, text: str, **more: Any) -> httpx.Response:
    return await browser.post("/api/text", json={"text": text, "nonce": nonce()}, **more)


async def send(browser: httpx.AsyncClient, content: bytes, kind: str = "document", **fields: str) -> httpx.Response:
    return await browser.post(
        "/api/file",
        data={"kind": kind, "nonce": nonce(), **fields},
        files={"file": (fields.get("name", "tệp.bin"), content, "text/html")},
    )


def refused(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["ok"] is False and len(body["error"]) > 10
    return answer.status_code, body["code"]


# --- the page ---


async def test_the_page_gives_a_cookie_that_no_script_and_no_stranger_reads(lan):
    answer = await httpx.AsyncClient(transport=lan._transport, base_url=ORIGIN).get("/")
    cookie = answer.headers["set-cookie"]
    assert re.match(r"by_chat=[\w-]{32}\.[0-9a-f]{32}; HttpOnly; Max-Age=31536000; Path=/; SameSite=lax$", cookie)
    assert "Secure" not in cookie


async def test_the_page_and_the_api_carry_the_protective_headers(lan):
    for path in ("/", "/api/messages", "/healthz", "/nothing"):
        headers = (await lan.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


async def test_the_page_escapes_what_it_is_given(lan):
    page = (await lan.get('/?start="><script>')).text
    assert "Công an Phường &lt;2&gt;" in page
    assert "<script>" not in page
    assert 'data-start="abc_-1"' in (await lan.get("/?start=abc_-1")).text


async def test_the_page_speaks_the_language_asked_for(visit):
    async with visit(language="fr, en;q=0.9, vi;q=0.5") as browser:
        assert (await browser.get("/api/messages")).json()["language"] == "en"
        assert 'lang="vi"' in (await browser.get("/?lang=vi")).text
        assert (await browser.get("/api/messages")).json()["language"] == "vi"


@pytest.mark.parametrize(
    "accept, language", [("", "vi"), ("en-GB,en;q=0.9", "en"), ("vi,en", "vi"), ("de", "vi"), ("en;q=x,vi", "vi")]
)
def test_vietnamese_unless_english_is_liked_better(accept, language):
    assert preferred_language(accept) == language


def test_every_sentence_is_there_in_both_languages():
    said = {code: [sentence(language, code, police="113") for language in LANGUAGES] for code in CODES}
    assert all(vi and en and vi != en for vi, en in said.values())


async def test_a_person_of_the_demo_has_one_chat_whoever_looks(visit, bot):
    async with visit(path="/demo/lan/") as one, visit(path="/demo/lan/") as other:
        await one.post("/demo/lan/api/text", json={"text": "Chào", "nonce": nonce()})
        (message,) = (await other.get("/demo/lan/api/messages")).json()["messages"]
        assert message["text"] == "Chào"
        assert 'data-base="/demo/lan"' in (await one.get("/demo/lan", follow_redirects=True)).text
    assert (await bot.send_message("lan", "x")).chat.id == "lan"


# --- writing ---


@pytest.mark.parametrize("text", ['<b>x</b> & "y"', "👮‍♀️", "‮đảo‬ chữ", "a\x00b", "x" * 4000, "/start", "\ud800!"])
async def test_whatever_is_written_is_stored_and_shown_back(lan, stored, text):
    body = json.dumps({"text": text, "nonce": nonce()})
    answer = await lan.post("/api/text", content=body, headers={"Content-Type": "application/json"})
    message = answer.json()["message"]
    assert (answer.status_code, message["from"], message["id"]) == (200, "me", 1)
    assert (await lan.get("/api/messages")).json()["messages"] == [message]
    assert (await stored())[0]["message"]["text"] == message["text"]


async def test_what_is_no_message_is_refused_with_a_sentence(lan, stored):
    assert refused(await say(lan, "   ")) == (400, "empty")
    assert refused(await say(lan, "x" * 5000)) == (400, "too_long")
    for body in (
        b"",
        b"[]",
        b"{",
        b"[" * 60_000,
        b'{"text": 1, "nonce": "12345678"}',
        b'{"text": "x"}',
        b'{"text": "x", "nonce": "\'; DROP"}',
        b"\xff",
    ):
        answer = await lan.post("/api/text", content=body, headers={"Content-Type": "application/json"})
        assert refused(answer) == (400, "bad_request")
    assert await stored() == []


async def test_posting_again_under_the_same_nonce_answers_the_same(lan, stored):
    act = {"text": "Có cháy", "nonce": nonce()}
    first, again = [(await lan.post("/api/text", json=act)).json() for _ in range(2)]
    assert first == again
    assert len(await stored()) == 1


async def test_a_button_is_pressed(lan, bot, stored):
    markup = {"inline_keyboard": [[{"text": "Gửi", "callback_data": "abc"}]]}
    await call(bot, "sendMessage", {"chat_id": address(lan), "text": "Chọn", "reply_markup": markup})
    press = {"message_id": 1, "data": "abc", "nonce": nonce()}
    assert (await lan.post("/api/press", json=press)).json() == {"ok": True, "message": None}
    assert (await stored())[0]["callback_query"]["data"] == "abc"
    assert refused(await lan.post("/api/press", json={**press, "data": "x", "nonce": nonce()})) == (409, "old_button")
    for message_id in (-1, 2**40, "1", True, None, 1.5):
        wrong = {**press, "message_id": message_id, "nonce": nonce()}
        assert refused(await lan.post("/api/press", json=wrong)) == (400, "bad_request")


async def test_a_place_is_sent(lan, stored):
    place = {"latitude": 10.5, "longitude": 106, "nonce": nonce()}
    assert (await lan.post("/api/location", json=place)).json()["message"]["location"]["latitude"] == 10.5
    for latitude in ("NaN", "1e999", "91", '"10"', "true"):
        body = f'{{"latitude": {latitude}, "longitude": 1, "nonce": "{nonce()}"}}'
        answer = await lan.post("/api/location", content=body, headers={"Content-Type": "application/json"})
        assert refused(answer) == (400, "bad_request")
    assert len(await stored()) == 1


async def test_seen_is_taken(lan):
    assert (await lan.post("/api/seen", json={"seq": 3})).json() == {"ok": True}


# --- who may write ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://test.evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
        {"Origin": "http://test", "Sec-Fetch-Site": "none"},
        {},
    ],
)
async def test_posts_from_elsewhere_are_refused(lan, stored, headers):
    for name in ("Origin", "Sec-Fetch-Site"):
        del lan.headers[name]
    assert refused(await say(lan, "x", headers=headers)) == (403, "cross_site")
    assert await stored() == []


@pytest.mark.parametrize(
    "headers", [{"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://world.example"}]
)
async def test_posts_from_our_own_page_are_taken(lan, headers):
    for name in ("Origin", "Sec-Fetch-Site"):
        del lan.headers[name]
    assert (await say(lan, "x", headers=headers)).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_taken_as_json(lan, kind):
    answer = await lan.post(
        "/api/text", content=b'{"text":"x","nonce":"12345678"}', headers={"Content-Type": kind} if kind else {}
    )
    assert refused(answer) == (415, "not_json")


async def test_without_the_pages_cookie_there_is_no_chat(lan):
    for cookie in (None, "x" * 43, "short", "x" * 5000):
        lan.cookies.clear()
        if cookie:
            lan.cookies.set("by_chat", cookie, domain="test.local")
        assert refused(await say(lan, "x")) == (401, "no_chat")
        assert refused(await lan.get("/api/messages")) == (401, "no_chat")
        assert refused(await lan.get("/api/events")) == (401, "no_chat")


async def test_one_visitor_does_not_see_another(visit):
    async with visit() as one, visit() as other:
        await say(one, "kín")
        assert (await other.get("/api/messages")).json()["messages"] == []


async def test_a_flood_is_slowed_and_told_when_to_go_on(visit):
    async with visit(language="en") as lan, visit() as other:
        answers = [await say(lan, str(number)) for number in range(22)]
        assert [answer.status_code for answer in answers[:20]] == [200] * 20
        assert refused(answers[-1]) == (429, "too_fast")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
        assert "Wait" in answers[-1].json()["error"]
        assert (await say(other, "x")).status_code == 200


async def test_new_chats_from_one_place_are_limited(lan, app):
    answers = []
    for _ in range(62):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as browser:
            answers.append(await browser.get("/"))
    assert refused(answers[-1]) == (429, "too_fast")
    assert (await lan.get("/")).status_code == 200


def test_buckets_fill_again_and_forget_old_keys():
    now = 0.0
    limiter = Limiter(Rate(burst=2, per_second=0.5), keys=2, now=lambda: now)
    assert [limiter.wait("a") for _ in range(4)] == [0, 0, 2, 2]
    now = 2.0
    assert [limiter.wait("a"), limiter.wait("a")] == [0, 2]
    limiter.wait("b")
    limiter.wait("c")
    assert limiter.wait("a") == 0


# --- files ---


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG")
    return out.getvalue()


async def test_a_photo_comes_back_inline_and_anything_else_as_a_download(lan):
    photo = (await send(lan, picture(), "photo", caption="Ở đây")).json()["message"]
    page = (await send(lan, b"<script>alert(1)</script>", "photo", name="a.html")).json()["message"]
    assert (photo["text"], photo["files"][0]["kind"], page["files"][0]["kind"]) == ("Ở đây", "photo", "document")

    answer = await lan.get(f"/api/files/{photo['files'][0]['id']}")
    assert answer.content == picture()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline")
    answer = await lan.get(f"/api/files/{page['files'][0]['id']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a.html"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["cache-control"] == "private, no-store"


async def test_parts_of_a_file_are_given(lan):
    file_id = (await send(lan, b"0123456789")).json()["message"]["files"][0]["id"]
    for asked, status, content in (
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=0-99", 206, b"0123456789"),
        ("bytes=99-", 416, b""),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ):
        answer = await lan.get(f"/api/files/{file_id}", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (status, content)


async def test_another_visitors_file_is_not_found(lan, visit):
    file_id = (await send(lan, b"kin")).json()["message"]["files"][0]["id"]
    async with visit() as other:
        for wrong in (file_id, "x", "a%00b", "x" * 200):
            assert refused(await other.get(f"/api/files/{wrong}")) == (404, "not_found")


async def test_a_file_over_20_mebibytes_is_refused_before_it_is_read(lan, stored):
    assert refused(await send(lan, b"x" * (MAX_FILE + 1))) == (413, "too_large")
    assert refused(await send(lan, b"x" * (MAX_FILE + 100_000))) == (413, "too_large")
    read = 0

    async def endless() -> Any:
        nonlocal read
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        while True:
            read += 1
            yield b"x" * 1024 * 1024

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert refused(await lan.post("/api/file", content=endless(), headers=headers)) == (413, "too_large")
    assert read <= 22
    answer = await lan.post("/api/text", content=b" " * 70_000, headers={"Content-Type": "application/json"})
    assert refused(answer) == (413, "too_large")
    assert await stored() == []


async def test_a_broken_form_is_refused(lan, stored):
    assert refused(await send(lan, b"")) == (400, "empty")
    assert refused(await send(lan, b"x", "sticker")) == (400, "bad_request")
    assert refused(await send(lan, b"x", caption="x" * 1100)) == (400, "too_long")
    assert refused(await lan.post("/api/file", json={})) == (400, "bad_request")
    for body in (b"", b"--b\r\n", b"--b\r\n\r\nx", b"x" * 2000):
        for boundary in ("; boundary=b", ""):
            answer = await lan.post(
                "/api/file", content=body, headers={"Content-Type": f"multipart/form-data{boundary}"}
            )
            assert refused(answer) == (400, "bad_request")
    assert await stored() == []


# --- when the database is away ---


async def test_an_outage_says_that_nothing_is_lost(lan, sessions, monkeypatch):
    def broken() -> Any:
        raise RuntimeError("no disk")

    monkeypatch.setattr(sessions, "begin", broken)
    answer = await say(lan, "x")
    assert refused(answer) == (500, "outage")
    assert "113" in answer.json()["error"]


# --- live, over a real connection ---


@pytest.fixture
async def server(app):
    server = WebServer(app, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


class Page:
    """The event stream of one open page."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines

    async def event(self) -> tuple[str, str | None, Any]:
        """The next event: name, id, data."""
        found: dict[str, str] = {}
        async with asyncio.timeout(5):
            async for line in self._lines:
                if not line and "event" in found:
                    return found["event"], found.get("id"), json.loads(found["data"])
                name, _, value = line.partition(": ")
                found[name] = value
        raise EOFError


@pytest.fixture
async def live(server):
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, headers={"Origin": url}) as browser:
        await browser.get("/")
        yield browser


async def test_a_page_that_reconnects_gets_what_it_missed(live, bot):
    async with live.stream("GET", "/api/events?after=0") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        page = Page(answer.aiter_lines())
        assert await page.event() == ("hello", None, {"last_seq": 0})
        await bot.send_message(address(live), "một")
        name, last, message = await page.event()
        assert (name, last, message["text"]) == ("message", "1", "một")
    await bot.send_message(address(live), "hai")
    await bot.edit_message_text("một!", address(live), 1)
    async with live.stream("GET", "/api/events?after=0", headers={"Last-Event-ID": last}) as answer:
        page = Page(answer.aiter_lines())
        await page.event()
        assert [(await page.event())[2]["text"] for _ in range(2)] == ["hai", "một!"]


async def test_a_closed_page_leaves_nothing_behind(live, gateway):
    hub = gateway.hub
    async with live.stream("GET", "/api/events") as answer:
        await Page(answer.aiter_lines()).event()
        assert hub.open_streams == 1
    async with asyncio.timeout(3):
        while hub.open_streams:  # noqa: ASYNC110 (the server notices in its own time)
            await asyncio.sleep(0.01)


async def test_the_server_stops_at_once_with_open_streams(live, server):
    async with live.stream("GET", "/api/events") as answer:
        page = Page(answer.aiter_lines())
        await page.event()
        started = asyncio.get_running_loop().time()
        await server.stop()
        assert asyncio.get_running_loop().time() - started < 3
        assert (await page.event())[0] == "bye"
