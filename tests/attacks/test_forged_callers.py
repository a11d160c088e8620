"""Threat: a stranger says to be somebody else, to be counted as another, to read our numbers, or to lead people away.

Promises: only trusted proxies are believed about whom they speak for, and of a chain only what they wrote themselves;
numbers are for this machine; no redirect follows the host a caller names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route

from channels.web.gateway import WebGateway
from db.engine import Sessions
from demo.house import Demo, DemoClock, pages
from tests.conftest import KEYS
from tests.processes import free_port, running, sqlite_url
from tests.serving import NOW, STRANGER, application, serving
from tests.test_architecture import SOURCES
from unit.policy import Policy
from web.app import WebServer, build_metrics
from web.security import Callers, client_of
from web.visitor import WebChat

HTTPS = "https://binhyen.example.vn"
#: New chats one client may open at once.
_CHATS = 60


@pytest.fixture
def sessions(sqlite_engine):
    """What is asked here is asked before any database."""
    return Sessions(sqlite_engine, KEYS)


# --- whom a proxy speaks for ---


async def counted(peer: str, *forwarded: str, trusted: str = "127.0.0.1,::1,10.88.0.0/16") -> str:
    """Under what a request is counted that comes from `peer` with these X-Forwarded-For headers."""

    async def app(scope, receive, send):
        await PlainTextResponse(client_of(Request(scope)))(scope, receive, send)

    transport = httpx.ASGITransport(Callers(app, trusted), client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as caller:
        return (await caller.get("/", headers=[("X-Forwarded-For", one) for one in forwarded])).text


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.88.0.1", "10.88.255.254", "::ffff:127.0.0.1"])
async def test_a_trusted_proxy_is_believed(peer):
    assert await counted(peer, "203.0.113.5") == "203.0.113.5"
    assert await counted(peer, "2001:db8:1:2::5") == "2001:db8:1:2::/64"


@pytest.mark.parametrize("peer", ["203.0.113.9", "127.0.0.2", "10.89.0.1", "::ffff:203.0.113.9"])
async def test_whoever_is_no_trusted_proxy_is_not_believed(peer):
    true = peer.removeprefix("::ffff:")
    for forged in ("203.0.113.5", "127.0.0.1", "::1", "203.0.113.5, 127.0.0.1", "10.88.0.1", ""):
        assert await counted(peer, forged) == true


@pytest.mark.parametrize(
    "chain",
    [
        ["198.51.100.1, 203.0.113.5"],
        ["198.51.100.1", "203.0.113.5"],
        ["127.0.0.1, 203.0.113.5"],
        ["203.0.113.5, 10.88.0.7"],
        ["198.51.100.1, 203.0.113.5, 10.88.0.7, 127.0.0.1"],
        ["rubbish, 203.0.113.5:4711"],
        ["::ffff:203.0.113.5"],
    ],
)
async def test_of_a_chain_the_right_most_address_that_is_none_of_ours_counts(chain):
    assert await counted("127.0.0.1", *chain) == "203.0.113.5"


async def test_callers_that_name_no_address_are_counted_together():
    assert {await counted("127.0.0.1", said) for said in ("unknown", "_hidden", "x" * 5000, "1.2.3")} == {""}


async def test_an_ipv6_network_is_one_client():
    assert await counted("2001:db8:1:2::5") == await counted("2001:db8:1:2:ffff::9") != await counted("2001:db8:1:3::5")


async def opens(port: int, forwarded: str | None = None, *, of: str = "127.0.0.1") -> int:
    """Open a chat; the answer's status."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=of, verify=False)) as visitor:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        return (await visitor.get(f"http://127.0.0.1:{port}/", headers=headers)).status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
async def test_a_flood_by_one_visitor_does_not_slow_the_others_behind_the_same_proxy(sessions, host):
    async with serving(sessions, host=host, trusted_proxies="127.0.0.1") as server:
        first = [await opens(server.port, "203.0.113.5") for _ in range(_CHATS + 5)]
        assert first.count(429) >= 1
        assert await opens(server.port, "203.0.113.6") == 200
        forged = [await opens(server.port, f"203.0.113.{number}", of=STRANGER) for number in range(_CHATS + 5)]
        assert forged.count(429) >= 1


# --- who may read our numbers ---


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via"]
)
async def test_the_numbers_are_not_told_through_a_proxy(sessions, header):
    async with serving(sessions) as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as caller:
        assert "binhyen_test_total 1.0" in (await caller.get("/metrics")).text
        for value in ("203.0.113.5", "127.0.0.1", "::1", ""):
            answer = await caller.get("/metrics", headers={header: value})
            assert (answer.status_code, answer.text) == (404, "not found")


async def test_behind_a_proxy_that_says_nothing_the_numbers_are_not_told_either(sessions):
    """Such a proxy makes every visitor look like this machine; where the world comes in, nobody is told."""
    async with (
        serving(sessions, public_url=HTTPS) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as caller,
    ):
        assert (await caller.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        *(("203.0.113.9", 404), ("10.88.0.1", 404), ("::ffff:203.0.113.9", 404), ("2001:db8::1", 404)),
        *(("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200)),
    ],
)
async def test_the_address_of_the_connection_decides_and_no_header(sessions, peer, status):
    app = Callers(application(sessions), "127.0.0.1,10.88.0.0/16")
    transport = httpx.ASGITransport(app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller:
        assert (await caller.get("/metrics")).status_code == status
        assert (await caller.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 404


async def test_with_a_port_of_their_own_the_numbers_are_there_and_nowhere_else(sessions):
    registry = CollectorRegistry()
    Counter("binhyen_test", "x", registry=registry).inc()
    numbers = WebServer(build_metrics(registry), "127.0.0.1", 0)
    await numbers.start()
    try:
        async with serving(sessions, metrics_elsewhere=True) as server, httpx.AsyncClient() as caller:
            assert (await caller.get(f"http://127.0.0.1:{server.port}/metrics")).status_code == 404
            root = f"http://127.0.0.1:{numbers.port}"
            assert "binhyen_test_total 1.0" in (await caller.get(root + "/metrics")).text
            for path in ("/", "/readyz", "/api/messages", "/metrics/"):
                assert (await caller.get(root + path)).status_code == 404
    finally:
        await numbers.stop()


async def test_the_process_tells_its_numbers_on_the_port_that_is_set_for_them(tmp_path):
    port = free_port()
    settings = {"DATABASE_URL": sqlite_url(tmp_path), "WEB_PORT": "0", "METRICS_PORT": str(port)}
    async with running(tmp_path, settings) as bot, httpx.AsyncClient() as caller:
        await bot.says(rf"listening.*{port}")
        assert (await caller.get(f"{bot.url}/metrics")).status_code == 404
        assert "binhyen_reports_waiting" in (await caller.get(f"http://127.0.0.1:{port}/metrics")).text
        assert await bot.terminates() == 0


# --- where redirects lead ---


def paths_of(routes: Iterable[BaseRoute]) -> set[str]:
    """Every path there is, with something in place of what varies, with and without a slash at the end."""
    found = set()
    for route in routes:
        if isinstance(route, Mount):
            found |= {route.path, route.path + "/demo.js", route.path + "/chat", route.path + "/fonts"}
        elif isinstance(route, Route):
            found.add(re.sub(r"\{\w+(:\w+)?\}", "x", route.path))
    return {path.rstrip("/") for path in found} | {path.rstrip("/") + "/" for path in found}


def twisted(path: str) -> list[str]:
    """The path, and what somebody may make of it to lead a browser to another host."""
    before = ("", "/", "//evil.example", "/%2Fevil.example", "/%5Cevil.example", "/.//evil.example")
    return [*(each + path for each in before), path + "?next=//evil.example/", path + "//"]


async def redirects_of(app, paths: Iterable[str]) -> list[tuple[str, str]]:
    """Where every path leads that is asked for under a foreign host: (asked, Location)."""
    found = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://evil.example") as caller:
        for path in sorted(paths):
            for asked in twisted(path):
                url = httpx.URL("http://evil.example").copy_with(raw_path=asked.encode() or b"/")
                answer = await caller.send(httpx.Request("GET", url, headers={"Host": "evil.example"}))
                if "location" in answer.headers:
                    found.append((asked, answer.headers["location"]))
    return found


async def test_no_redirect_follows_a_foreign_host(sessions):
    gateway = WebGateway(sessions, clock=lambda: NOW)
    demo = Demo(SimpleNamespace(policy=Policy()), WebChat(gateway, wake=lambda: None), DemoClock(NOW))  # type: ignore[arg-type]
    app = application(sessions, more_routes=demo.routes(), more_pages=pages())
    paths = {path for path in paths_of(app.routes) if "/api/" not in path and "clock" not in path}

    found = await redirects_of(app, paths)

    assert {"/demo", "/demo/"} & {where.partition("?")[0] for _, where in found}
    for asked, where in found:
        assert re.match(r"/(?![/\\])", where), (asked, where)
        assert "evil" not in where.partition("?")[0], (asked, where)


def test_no_page_makes_addresses_from_the_host_a_caller_names():
    for path, tree in SOURCES.items():
        if path.startswith(("web/", "demo/")):
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not names & {"url_for", "base_url", "url_path_for"}, path
