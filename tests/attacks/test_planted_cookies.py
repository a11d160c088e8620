"""Threat: somebody plants a cookie in a reporter's browser and reads along in the chat they then share.

Promises: a cookie counts only when this house issued it; over HTTPS no other host can plant one that was issued; a
link decides nothing about whose chat it is; browsers that know us over HTTPS come no other way.
"""

from __future__ import annotations

import httpx
import pytest

from db.engine import Sessions
from db.sealing import KeyRing
from tests.conftest import KEYS
from tests.serving import application
from web.security import Cookies
from web.visitor import address_of

HTTPS = "https://binhyen.example.vn"
HTTP = "http://127.0.0.1:8080"
NAMES = {HTTPS: "__Host-by_chat", HTTP: "by_chat", None: "by_chat"}


@pytest.fixture
def sessions(sqlite_engine):
    """What is asked here is asked before any database."""
    return Sessions(sqlite_engine, KEYS)


@pytest.fixture(params=[HTTPS, HTTP, None])
def public_url(request):
    return request.param


@pytest.fixture
def app(sessions, public_url):
    return application(sessions, public_url=public_url)


@pytest.fixture
def visit(app):
    """Open the page with a Cookie header as it stands; the answer."""

    async def visit(cookie: str = "", path: str = "/") -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HTTPS) as browser:
            return await browser.get(path, headers={b"Cookie": cookie.encode()} if cookie else {})

    return visit


def given(answer: httpx.Response) -> tuple[str, str]:
    """Name and value of the cookie that an answer gives."""
    name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
    return name, value


def issued(public_url: str | None, keys: KeyRing = KEYS) -> str:
    return Cookies(keys, is_https=public_url == HTTPS).new("by_chat")


def made_up() -> list[str]:
    true = Cookies(KEYS, is_https=True).new("by_chat")
    value, _, mark = true.partition(".")
    return [
        "A" * 43,
        "A" * 32 + "." + "0" * 32,
        "A" * 32 + "." + mark,
        value + "." + mark[::-1],
        value,
        true.upper(),
        true + "x",
        f'"{true}"',
        Cookies(KEYS, is_https=True).new("by_other"),
        Cookies(KeyRing([b"x" * 32]), is_https=True).new("by_chat"),
        "",
        "é" * 10,
        "x" * 5000,
    ]


async def test_a_cookie_we_issued_leads_back_to_its_chat(visit, public_url):
    name, value = given(await visit())
    assert name == NAMES[public_url]
    assert given(await visit(f"{name}={value}")) == (name, value)
    assert (await visit(f"{name}={value}", "/api/messages")).status_code == 200


async def test_a_cookie_that_was_made_up_gives_a_chat_of_ones_own(visit, public_url):
    for planted in made_up():
        header = f"{NAMES[public_url]}={planted}"
        values = {given(await visit(header))[1] for _ in range(2)}
        assert len(values) == 2 and planted not in values
        answer = await visit(header, "/api/messages")
        assert (answer.status_code, answer.json()["code"]) == (401, "no_chat")


async def test_over_https_an_issued_cookie_planted_by_a_sister_host_is_none(sessions):
    """Another host of the domain may set every name but ours; browsers send it under the name it has."""
    cookie = issued(HTTPS)
    names = [
        "by_chat",
        "__host-by_chat",
        "__Secure-by_chat",
        "\x85__Host-by_chat",
        "\xa0__Host-by_chat",
        "\x0b__Host-by_chat",
    ]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application(sessions, public_url=HTTPS))) as browser:
        for name in names:
            header = f"{name}={cookie}".encode("latin-1")
            answer = await browser.get(HTTPS, headers={b"Cookie": header})
            assert given(answer)[1] != cookie, name


async def test_of_two_issued_cookies_neither_decides(visit, public_url):
    """Both cannot be the visitor's: one was planted beside the other, and which one nobody can tell."""
    name, mine, planted = NAMES[public_url], issued(public_url), issued(public_url)
    for header in (f"{name}={mine}; {name}={planted}", f"{name}={planted}; {name}={mine}"):
        assert given(await visit(header))[1] not in (mine, planted)
        assert (await visit(header, "/api/messages")).status_code == 401


async def test_one_that_was_made_up_beside_an_issued_one_changes_nothing(visit, public_url):
    name, mine = NAMES[public_url], issued(public_url)
    for header in (f"{name}={mine}; {name}={'A' * 43}", f"{name}={'A' * 43}; other=1;{name}={mine}"):
        assert given(await visit(header))[1] == mine


@pytest.mark.parametrize("query", ["?start=abc", "?start={cookie}", "?by_chat={cookie}", "?start=abc&lang=en"])
async def test_a_link_does_not_decide_whose_chat_it_is(visit, public_url, query):
    planted = issued(public_url)
    first, second = [given(await visit(path="/" + query.format(cookie=planted)))[1] for _ in range(2)]
    assert len({first, second, planted}) == 3
    mine = f"{NAMES[public_url]}={first}"
    assert given(await visit(mine, "/" + query.format(cookie=planted)))[1] == first


async def test_the_cookie_is_bound_to_this_host_and_to_https_where_there_is_https(visit, public_url):
    said = (await visit()).headers["set-cookie"]
    assert "Path=/;" in said and "HttpOnly" in said and "SameSite=lax" in said
    assert "Domain" not in said
    assert ("Secure" in said) is (public_url == HTTPS)


async def test_browsers_are_told_to_come_over_https_only_where_there_is_https(visit, public_url):
    for path in ("/", "/api/messages", "/healthz", "/nothing", "/static/chat/start.js"):
        said = (await visit(path=path)).headers.get("strict-transport-security")
        if public_url == HTTPS:
            seconds = int(said.removeprefix("max-age="))
            assert seconds >= 90 * 24 * 3600
        else:
            assert said is None


async def test_the_cookie_still_counts_when_a_new_key_writes(sessions):
    """A new first key does not take people's chats away."""
    before = Cookies(KEYS, is_https=True).new("by_chat")
    sessions.keys = KeyRing([b"n" * 32, b"k" * 32])
    app = application(sessions, public_url=HTTPS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HTTPS) as browser:
        answer = await browser.get("/", headers={"Cookie": f"__Host-by_chat={before}"})
    assert given(answer)[1] == before


def test_neither_the_cookie_nor_its_mark_can_be_read_from_its_address():
    cookie = Cookies(KEYS, is_https=True).new("by_chat")
    assert not set(cookie.split(".")) & {address_of(cookie)}
    assert len({Cookies(KEYS, is_https=True).new("by_chat") for _ in range(1000)}) == 1000
