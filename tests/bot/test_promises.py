"""What is offered is kept: every setting is read and does what it says, every package is used, every text that names an
emergency number takes it from the settings."""

from __future__ import annotations

import ast
import re
import tomllib
from datetime import timedelta
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from bot.app import page_of, policy_of, telegram_of, web_settings
from bot.metrics import Metrics
from bot.settings import Settings
from broadcasts.shifting import leaves_at
from db.engine import Sessions
from db.tables.broadcasts import Notice
from db.tables.officers import Role
from tests.conftest import KEYS
from tests.worlds import open_world, phrase
from texts.catalogue import LANGUAGES, Catalogue
from web.app import build_web
from web.sentences import sentence

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = sorted({name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]})
CATALOGUE = Catalogue.load()
_HERE = "tests/bot/test_promises.py"
#: Settings that promise people something, each with the test that shows that it is kept.
KEPT = {
    "admin_ids": "tests/officers/test_officers.py::test_administrators_of_the_settings_come_and_go_and_come_back",
    "duty_phone": f"{_HERE}::test_people_are_told_the_numbers_that_are_set",
    "emergency_children": f"{_HERE}::test_people_are_told_the_numbers_that_are_set",
    "emergency_fire": f"{_HERE}::test_people_are_told_the_numbers_that_are_set",
    "emergency_medical": f"{_HERE}::test_people_are_told_the_numbers_that_are_set",
    "emergency_police": f"{_HERE}::test_people_are_told_the_numbers_that_are_set",
    "escalation_minutes": f"{_HERE}::test_a_report_goes_on_after_the_minutes_that_are_set",
    "escalation_urgent_minutes": f"{_HERE}::test_a_report_goes_on_after_the_minutes_that_are_set",
    "quiet_hours": f"{_HERE}::test_a_notice_waits_for_the_end_of_the_hours_that_are_set",
    "rate_telegram": f"{_HERE}::test_telegram_is_paced_as_it_is_set",
    "timezone": f"{_HERE}::test_a_notice_waits_for_the_end_of_the_hours_that_are_set",
    "unit_name": "tests/handlers/test_commands.py::test_start_says_who_we_are_113_first_and_what_one_can_do",
}
#: Packages that nothing imports by name, and what needs them.
UNNAMED = {
    "aiosqlite": "SQLAlchemy loads it for sqlite+aiosqlite://",
    "asyncpg": "SQLAlchemy loads it for postgresql+asyncpg://",
    "jinja2": "Starlette makes pages with it",
    "python-multipart": "Starlette reads forms with it",
    "tzdata": "zoneinfo reads it",
}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- settings ---


@cache
def reads() -> set[str]:
    """The names of settings that anything reads; the class that describes them does not count."""
    found = set()
    for path in sources(*PACKAGES):
        tree = ast.parse(path.read_text("utf-8"))
        described = {
            id(node)
            for item in tree.body
            if isinstance(item, ast.ClassDef) and item.name == "Settings"
            for node in ast.walk(item)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in described:
                owner = node.value
                name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if name.lstrip("_") == "settings":
                    found.add(node.attr)
    return found


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_read(name):
    assert name in reads()


def test_a_setting_that_nothing_reads_would_be_noticed():
    assert "emergency_dragons" not in reads()


def test_the_table_of_promises_names_settings_there_are():
    assert set(KEPT) <= set(Settings.model_fields)


@pytest.mark.parametrize("where", sorted(set(KEPT.values())))
def test_the_test_that_shows_a_promise_exists(where):
    file, _, name = where.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))

    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


# --- packages ---


@cache
def imported(*folders: str) -> set[str]:
    """The distributions that Python files import from."""
    names = set()
    for path in sources(*folders):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    known = packages_distributions()
    return {normal(distribution) for name in names for distribution in known.get(name, ())}


def required() -> list[str]:
    listed = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["scale"]]
    return [normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in listed]


@pytest.mark.parametrize("package", required())
def test_every_package_is_imported_by_something(package):
    assert package in UNNAMED or package in imported(*PACKAGES)


def test_packages_nothing_names_are_still_required():
    assert set(UNNAMED) <= set(required())


# --- emergency numbers ---

SET = {
    "emergency_police": "0263 113",
    "emergency_fire": "0263 114",
    "emergency_medical": "0263 115",
    "emergency_children": "0263 111",
}
_WRITTEN_OUT = re.compile(r"(?<![\d.])11[1345](?![\d.]\d|\d)")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_writes_an_emergency_number_out(language):
    forms = {key: " ".join(CATALOGUE.forms(language, key)) for key in CATALOGUE.keys(language)}

    assert {key: form for key, form in forms.items() if _WRITTEN_OUT.search(form)} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "web" / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_page_writes_an_emergency_number_out(path):
    assert not _WRITTEN_OUT.search(path.read_text("utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "web" / "static").rglob("*.js")), ids=lambda path: path.name)
def test_no_script_writes_an_emergency_number_out(path):
    assert not _WRITTEN_OUT.search(path.read_text("utf-8"))


def test_the_pages_errors_name_the_units_own():
    assert "0263 113" in sentence("vi", "outage", police="0263 113")


async def test_people_are_told_the_numbers_that_are_set(sqlite_engine, clock):
    policy = policy_of(Settings(**SET, duty_phone="0263 3822 999"))  # type: ignore[arg-type]
    async with open_world(Sessions(sqlite_engine, KEYS), clock, policy=policy) as world:
        lan = await world.person("lan")
        await lan.sends("/khancap")
        lan.sees(*SET.values(), "0263 3822 999")
        for said in ("/start", "/trogiup", "/baotin"):
            await lan.sends(said)
            lan.sees(SET["emergency_police"])
            lan.sees_not("Gọi 113")


async def nothing_comes(updates: list[dict[str, object]]) -> None:
    raise AssertionError(updates)


async def test_the_web_pages_call_the_number_that_is_set(sqlite_engine, clock):
    sessions = Sessions(sqlite_engine, KEYS)
    settings = Settings(**SET)  # type: ignore[arg-type]
    channel = page_of(settings, sessions, clock, Metrics())
    app = build_web(
        sessions=sessions,
        routes=channel.routes(nothing_comes, lambda: None),
        health=dict,
        settings=web_settings(settings),
        registry=CollectorRegistry(),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as caller:
        assert 'href="tel:0263 113"' in (await caller.get("/")).text
        assert "0263 113" in (await caller.get("/tb/TB-0000")).text


# --- times and rates ---


@pytest.mark.parametrize("urgent", [False, True])
async def test_a_report_goes_on_after_the_minutes_that_are_set(sqlite_engine, clock, urgent):
    policy = policy_of(Settings(escalation_minutes="8,9,10", escalation_urgent_minutes="2,3,4"))  # type: ignore[arg-type]
    async with open_world(Sessions(sqlite_engine, KEYS), clock, policy=policy) as world:
        await world.officer("chief", Role.COMMANDER)
        nam = await world.person("nam")
        await nam.sends("/baotin")
        await nam.sends("Có người lạ.")
        if urgent:
            await nam.presses(phrase("button.right_now"))
        await nam.presses("Gửi")
        deadline = policy.escalation_for(urgent)[0]
        assert deadline == timedelta(minutes=2 if urgent else 8)
        for after, passed in ((deadline - timedelta(seconds=5), False), (timedelta(seconds=10), True)):
            await world.tick(seconds=after.total_seconds())
            assert any(log["event"] == "reports_escalated" for log in world.logged) is passed


def test_a_notice_waits_for_the_end_of_the_hours_that_are_set(now):
    notice = Notice(urgent=False, at_night=False)
    ends = {
        (hours, zone): leaves_at(
            notice,
            now=now,  # 08:00 in Viet Nam, 10:00 in Tokyo
            policy=policy_of(Settings(quiet_hours=hours, timezone=zone)),  # type: ignore[arg-type]
        )
        - now
        for hours in ("07:30-08:30", "09:30-10:45", "21:00-07:00")
        for zone in ("Asia/Ho_Chi_Minh", "Asia/Tokyo")
    }

    assert {which: end for which, end in ends.items() if end} == {
        ("07:30-08:30", "Asia/Ho_Chi_Minh"): timedelta(minutes=30),
        ("09:30-10:45", "Asia/Tokyo"): timedelta(minutes=45),
    }


def test_telegram_is_paced_as_it_is_set():
    (channel,) = telegram_of(Settings(bot_token="123456789:AAbbccdd", rate_telegram=7))  # type: ignore[arg-type]

    assert channel.limits.per_second == 7
