"""Walks over everything: what no single test would notice when it is forgotten."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.settings import Settings
from channels.telegram.channel import TelegramChannel
from db.base import Base
from handlers.buttons import verbs
from handlers.routes import COMMANDS
from officers.permissions import Permission
from texts.catalogue import LANGUAGES, Catalogue
from web.channel import PageChannel

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "bench",
    "demo",
    "commands",
    "bot",
    "handlers",
    "web",
    "broadcasts",
    "reports",
    "establishments",
    "officers",
    "unit",
    "conversations",
    "deliveries",
    "media",
    "channels",
    "texts",
    "db",
)
#: Where the environment may be read or set, with the reason.
ENVIRONMENT = {
    "bot/settings.py": "the only reader of the environment",
    "channels/api.py": "sets python-telegram-bot's own switch before it is imported",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


SOURCES = dict(sources())


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in names:
                yield node


def literal(call: ast.Call, position: int) -> str | None:
    if len(call.args) > position and isinstance(call.args[position], ast.Constant):
        value = call.args[position].value  # type: ignore[attr-defined]
        return value if isinstance(value, str) else None
    return None


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


# --- commands, permissions, buttons ---


def test_every_command_but_everybodys_names_a_permission():
    everybodys = {
        "start",
        "baotin",
        "tracuu",
        "dangky",
        "coso",
        "kiemtra",
        "riengtu",
        "khancap",
        "ngonngu",
        "trogiup",
        "huy",
    }
    assert {command.name for command in COMMANDS if command.permission is None} == everybodys


def test_every_permission_is_asked_for_somewhere():
    asked = {
        node.attr
        for path, tree in SOURCES.items()
        if path != "officers/permissions.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Permission"
    }
    assert asked == {permission.name for permission in Permission}


def test_no_two_commands_share_a_name():
    names = [name for command in COMMANDS for name in {command.name, command.alias}]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]{1,32}", name) for name in names)


def shown_verbs() -> set[str]:
    """Every verb a button is made with, anywhere."""
    found = set()
    for tree in SOURCES.values():
        for call in calls(tree, "button"):
            found.add(literal(call, 2))
        for call in calls(tree, "Button"):
            found.add(literal(call, 1))
    return {verb for verb in found if verb}


def test_every_verb_that_buttons_use_has_a_handler():
    assert shown_verbs() >= {"report.take", "notice.received", "place.approve"}
    assert shown_verbs() <= verbs()


def test_every_handler_of_a_verb_has_a_button():
    source = "\n".join((ROOT / path).read_text("utf-8") for path in SOURCES if path.startswith("handlers/"))
    made_from_tables = {verb for verb in verbs() if source.count(f'"{verb}"') > 1}
    assert verbs() <= shown_verbs() | made_from_tables


# --- texts ---


def test_every_command_is_described_in_both_languages():
    catalogue = Catalogue.load()
    for command in COMMANDS:
        for language in catalogue.languages:
            assert 3 <= len(catalogue.text(language, f"command.{command.name}")) <= 256


def test_every_text_that_is_named_exists():
    catalogue = Catalogue.load()
    missing = []
    for path, tree in SOURCES.items():
        for call in calls(tree, "say", "plain", "html", "message", "Refusal"):
            key = literal(call, 1 if _is_wording(call) else 0)
            if key and re.fullmatch(r"[a-z_]+\.[a-z_]+", key) and not catalogue.has(key):
                missing.append(f"{path}: {key}")
    assert not missing


def _is_wording(call: ast.Call) -> bool:
    """`html("vi", key)` of channels.wording, as against `turn.html(key)`."""
    return isinstance(call.func, ast.Name) and call.func.id in ("plain", "html", "message")


#: Where a language may be named, with the reason; everywhere else it is the reader's, or DEFAULT_LANGUAGE.
NAMES_A_LANGUAGE = {
    "handlers/context.py": "what an app says it speaks is told from Vietnamese",
    "handlers/menus.py": "commands have a name in Vietnamese and an alias in English",
    "handlers/start.py": "there are two, and the button offers the other",
    "bot/app.py": "platforms take the default without a language code",
}


def test_rules_and_conversations_speak_the_readers_language():
    speaking = (
        "broadcasts",
        "reports",
        "establishments",
        "officers",
        "unit",
        "conversations",
        "media",
        "handlers",
        "bot",
    )
    naming = {
        path
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if path.split("/")[0] in speaking and isinstance(node, ast.Constant) and node.value in LANGUAGES
    }
    assert naming <= NAMES_A_LANGUAGE.keys()


#: Packages whose rules hand out facts.
DOMAINS = ("broadcasts", "reports", "establishments", "officers")
#: Where rows still leave them: reports that are being written go from their writer's handler back to the rules.
SEES_ROWS = {"handlers.reports": {"Report"}}


def test_no_mapped_row_is_named_outside_the_rules():
    seen = {}
    for path in SOURCES:
        if path.split("/")[0] not in ("handlers", "web") or path.endswith("__init__.py"):
            continue
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        rows = {name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Base)}
        if rows - SEES_ROWS.get(module.__name__, set()):
            seen[module.__name__] = rows
    assert not seen


def test_facts_are_frozen_and_hold_no_row():
    for package in DOMAINS:
        facts = importlib.import_module(f"{package}.facts")
        own = [
            value for value in vars(facts).values() if isinstance(value, type) and value.__module__ == facts.__name__
        ]
        assert own
        for fact in own:
            assert fact.__dataclass_params__.frozen, fact  # type: ignore[attr-defined]
        assert not [name for name, value in vars(facts).items() if isinstance(value, type) and issubclass(value, Base)]


def test_words_stand_in_messages_only():
    """In the domain packages nothing but `messages.py` makes text of a key."""
    wording = {
        path
        for path in who_imports("channels.wording")
        if path.split("/")[0] in DOMAINS and not path.endswith("/messages.py")
    }
    assert not wording


# --- settings, environment, imports ---


def test_every_setting_is_in_the_example():
    example = (ROOT / ".env.example").read_text("utf-8")
    named = set(re.findall(r"^#?\s?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_environment_is_read_in_one_place():
    reading = {
        path
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
    }
    assert {path for path in reading if not is_about_child_processes(path)} <= ENVIRONMENT.keys()


def is_about_child_processes(path: str) -> bool:
    """What starts processes of our own (bench, its tools) hands the environment on."""
    return path.startswith("bench/")


def who_imports(library: str) -> set[str]:
    """The modules that import a library or something of it."""
    return {
        path
        for path, tree in SOURCES.items()
        if any(name == library or name.startswith(f"{library}.") for name in imports(tree))
    }


def packages(paths: set[str]) -> set[str]:
    return {path.split("/")[0] for path in paths}


def test_only_bot_handlers_and_channels_know_the_telegram_library():
    assert packages(who_imports("telegram")) == {"bench", "commands", "bot", "handlers", "channels"}


def test_handlers_do_not_know_the_tables():
    assert not {path for path in who_imports("db") if path.startswith("handlers/")}


def test_rules_do_not_read_the_clock():
    """Time is an argument: only the composition root, channels and tools may ask what time it is."""
    asking = {
        path
        for path, tree in SOURCES.items()
        for call in calls(tree, "now", "utcnow", "today")
        if isinstance(call.func, ast.Attribute) and _is_time(call.func.value)
    }
    assert not packages(asking) & {"broadcasts", "reports", "establishments", "officers", "handlers"}


def _is_time(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("datetime", "date")


def test_files_are_fetched_by_our_own_request_only():
    """python-telegram-bot's download reads the local path that a server in local mode, or a hostile one, answers."""
    own_downloads = ("get_file", "download_to_drive", "download_to_memory", "download_as_bytearray")
    assert not {path for path, tree in SOURCES.items() for _ in calls(tree, *own_downloads)}


# --- channels ---

#: Who may name a channel: the channels, the page's own face, the list of them, and what asks operators about settings.
NAMING = ("channels/", "web/", "commands/", "bench/", "demo/", "bot/app.py", "bot/settings.py")
#: Where else their names stand, and why.
NAMED = {
    "bot/logs.py": "the loggers of the library, and of our packages",
    "db/tables/__init__.py": "a channel's tables stand with all others",
    "db/tables/web.py": "the same",
    "db/migrations/versions/0001_first_tables.py": "the same",
}
_CHANNELS = {TelegramChannel.name, PageChannel.name, "webhook"}
_DESCRIBED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def channels_named(tree: ast.Module) -> set[str]:
    """What of a module names a channel; the library called telegram is the Bot API's, whatever the channel."""
    of_library = set(bound_by_library(tree))
    modules = {module for module in imports(tree) if module.partition(".")[0] != "telegram"}
    return {said for said in (modules | set(said_by(tree))) - of_library if _CHANNELS & set(words(said))}


def bound_by_library(tree: ast.Module) -> Iterator[str]:
    """The names that imports from the library give a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "telegram")
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "telegram":
            yield from (alias.asname or alias.name for alias in node.names)


def said_by(tree: ast.Module) -> Iterator[str]:
    """Names and texts of a module, without its docstrings."""
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, _DESCRIBED)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=str() as name) | ast.Attribute(attr=str() as name) | ast.arg(arg=str() as name):
                yield name
            case ast.keyword(arg=str() as name) | ast.alias(name=str() as name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Constant(value=str() as text) if text not in docstrings:
                yield f"text: {text}"


def words(name: str) -> list[str]:
    """`fill_web_menu` and `WebChat` each name the web; `webp` does not."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def test_only_the_list_of_channels_names_one():
    named = {path: channels_named(tree) for path, tree in SOURCES.items() if not path.startswith(NAMING)}

    assert {path: found for path, found in named.items() if found and path not in NAMED} == {}
    assert [path for path in NAMED if not named[path]] == []


@pytest.mark.parametrize(
    ("source", "names_one"),
    [
        ("from channels.telegram.channel import TelegramChannel", True),
        ("from channels import web", True),
        ("if chat.channel == 'telegram': pass", True),
        ("fill_web_menu()", True),
        ("house.telegram.health", True),
        ("build(telegram_webhook=None)", True),
        ("from telegram.error import TelegramError\nraise TelegramError('x')", False),
        ("import telegram", False),
        ('"""On Telegram."""\nkind = \'image/webp\'  # not the web', False),
    ],
)
def test_a_channel_is_told_from_the_library(source, names_one):
    assert bool(channels_named(ast.parse(source))) is names_one


def test_every_module_says_what_it_is_for():
    silent = {path for path, tree in SOURCES.items() if tree.body and not ast.get_docstring(tree)}
    assert not silent


def test_nothing_prints():
    printing = [
        path for path, tree in SOURCES.items() for call in calls(tree, "print") if isinstance(call.func, ast.Name)
    ]
    assert not printing


def test_the_import_contracts_hold():
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_every_package_is_listed():
    """Also those inside others: a wheel holds what is named, and no more."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    there = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}

    assert sorted(listed) == sorted(".".join(path.relative_to(ROOT).parts) for path in there)


#: Longer than a reader takes in at once, and why.
LONG = {
    "db/migrations/versions/0001_first_tables.py": "made by a tool from the tables, and frozen with the first release"
}


def test_no_module_is_longer_than_a_reader_takes_in():
    long = {path for path in SOURCES if len((ROOT / path).read_text("utf-8").splitlines()) > 400}
    assert long - LONG.keys() == set()


def test_what_runs_and_supervises_stays_small():
    lines = [len(path.read_text("utf-8").splitlines()) for path in (ROOT / "bot").glob("*.py")]
    assert sum(lines) < 2500
