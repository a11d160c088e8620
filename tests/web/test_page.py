"""The scripts of the chat page: small modules of one version, all there, loaded at once, each with tests of its own."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from db.engine import Sessions
from tests.conftest import KEYS
from tests.serving import application
from web.edition import Edition
from web.limits import Limits

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "web" / "static"
CHAT = STATIC / "chat"
UNIT_TESTS = sorted((Path(__file__).parent / "page").glob("*.test.mjs"))
#: Lines; what is longer has two subjects.
LONGEST = 300
#: The first whose test runner and language have all that the unit tests use.
OLDEST_NODE = 20
_IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "\./([\w.-]+)";|\bimport\("\./([\w.-]+)"\)', re.MULTILINE)


# --- the modules ---


def imports_of(name: str) -> set[str]:
    """The modules that a module of the chat page asks for."""
    return {static or dynamic for static, dynamic in _IMPORT.findall((CHAT / name).read_text("utf-8"))}


MODULES = {path.name for path in CHAT.glob("*.js")}
IMPORTS = {name: imports_of(name) for name in MODULES}


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.js")), ids=lambda path: path.relative_to(STATIC).as_posix())
def test_no_script_is_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


def test_every_module_is_reached_from_the_first_one():
    reached: set[str] = set()
    ahead = {"start.js"}
    while ahead:
        reached |= ahead
        ahead = set().union(*(IMPORTS[name] for name in ahead)) - reached
    assert reached == MODULES


def test_no_module_imports_itself_over_others():
    left = dict(IMPORTS)
    while free := {name for name, wanted in left.items() if not wanted & set(left)}:
        left = {name: wanted for name, wanted in left.items() if name not in free}
    assert left == {}


def test_every_import_is_seen_by_these_tests():
    """Whatever form an import has: none leads elsewhere than beside the module."""
    for name in MODULES:
        source = re.sub(r"/\*.*?\*/|//.*", "", (CHAT / name).read_text("utf-8"), flags=re.DOTALL)
        assert len(re.findall(r"^import\b|\bimport\(", source, re.MULTILINE)) == len(IMPORTS[name]), name


# --- how they are served ---


@pytest.fixture
def sessions(sqlite_engine):
    return Sessions(sqlite_engine, KEYS)


@pytest.fixture
async def caller(sessions):
    app = application(sessions)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        yield caller


def addresses_on(page: str) -> tuple[list[str], list[str]]:
    """The scripts a page loads ahead, and those it runs."""
    return re.findall(r'rel="modulepreload" href="([^"]+)"', page), re.findall(r'<script[^>]* src="([^"]+)"', page)


async def test_the_page_asks_for_all_of_its_modules_at_once_and_in_one_version(caller):
    ahead, run = addresses_on((await caller.get("/")).text)

    assert sorted(address.rpartition("/")[2] for address in ahead) == sorted(MODULES)
    assert len(run) == 1 and run[0] in ahead and run[0].endswith("/chat/start.js")
    assert len({address.rpartition("/")[0] for address in ahead}) == 1


async def test_each_is_answered_for_good_with_what_is_on_the_disk(caller):
    ahead, _ = addresses_on((await caller.get("/")).text)
    for address in ahead:
        answer = await caller.get(address)
        assert answer.status_code == 200
        assert answer.content == (CHAT / address.rpartition("/")[2]).read_bytes()
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_they_come_packed_to_who_can_unpack(caller):
    (address,) = (addresses_on((await caller.get("/")).text))[1]
    packed = await caller.get(address, headers={"Accept-Encoding": "gzip, br"})
    plain = await caller.get(address, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert {packed.headers["vary"], plain.headers["vary"]} == {"Accept-Encoding"}


def test_a_first_visit_costs_little_on_a_slow_line():
    """All modules packed, as they travel: half a second at 50 KB a second."""
    assert sum(len(gzip.compress(path.read_bytes())) for path in CHAT.glob("*.js")) < 40_000


@pytest.mark.parametrize(
    "asked", ["v-0000000000000000/chat/start.js", "{own}/chat/none.js", "{own}/../app.py", "{own}/"]
)
async def test_neither_another_version_nor_anything_else_is_found(caller, asked):
    (address,) = (addresses_on((await caller.get("/")).text))[1]
    own = address.removeprefix("/static/").partition("/")[0]

    answer = await caller.get("/static/" + asked.format(own=own))

    assert answer.status_code == 404
    assert "immutable" not in answer.headers["cache-control"]


def test_a_change_in_any_script_makes_another_version(tmp_path):
    static = shutil.copytree(STATIC, tmp_path / "static")
    before = Edition(static).address("chat/start.js")
    assert Edition(static).address("chat/start.js") == before
    for name in ("chat/words.js", "demo.js"):
        with (static / name).open("a", encoding="utf-8") as script:
            script.write("// changed\n")
        after = Edition(static).address("chat/start.js")
        assert after != before
        before = after
    (static / "chat" / "words.js").rename(static / "chat" / "texts.js")
    assert Edition(static).address("chat/start.js") != before


async def test_an_upgrade_under_a_running_process_changes_nothing_of_what_it_serves(tmp_path):
    static = shutil.copytree(STATIC, tmp_path / "static")
    edition = Edition(static)
    address = edition.address("chat/start.js")
    (static / "chat" / "start.js").write_text("// half of the next version")
    app = Starlette(routes=[edition.route()])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        assert (await caller.get(address)).content == (CHAT / "start.js").read_bytes()


async def test_a_page_gets_all_of_its_modules_at_once_even_where_a_client_may_ask_little_at_once(sessions):
    """Behind a proxy a browser asks for all of them in one moment."""
    app = application(sessions, limits=Limits(connections=8))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        ahead, _ = addresses_on((await caller.get("/")).text)
        answers = await asyncio.gather(*(caller.get(address) for address in ahead * 4))
    assert {answer.status_code for answer in answers} == {200}


# --- their own tests ---


@pytest.fixture(scope="module")
def node() -> str:
    """Where node is. Without one, or with an old one, the test is skipped; in CI (`CI=true`) that is a failure."""
    found = shutil.which("node")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout if found else ""
    if found and int(re.sub(r"\D.*", "", version.strip().removeprefix("v")) or 0) >= OLDEST_NODE:
        return found
    reason = (
        f"no node {OLDEST_NODE} or newer here (found: {version.strip() or 'none'}); nodejs.org or your packages have it"
    )
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


def test_the_unit_tests_of_the_scripts_pass(node):
    assert UNIT_TESTS
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", *map(str, UNIT_TESTS)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=110,
        env={**os.environ, "NO_COLOR": "1", "TZ": "America/New_York"},  # a device that is somewhere else
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"pass {_written()}\n" in done.stdout, done.stdout


def _written() -> int:
    """How many unit tests there are: none of them is passed over."""
    return sum(len(re.findall(r"^test\(", path.read_text("utf-8"), re.MULTILINE)) for path in UNIT_TESTS)
