"""What the documents say exists: links, commands, settings, files, events; and nothing private is in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from bot import __version__
from bot.settings import Settings
from commands.cli import cli
from handlers.routes import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
_SKIPPED = {".git", ".venv", "__pycache__", "data", "build", "dist"}
#: The screenshot and the letters; everything else is to stay small enough to read.
_MAY_BE_LARGE = re.compile(r"docs/demo\.png|web/static/fonts/.*")
_LARGE = 1_000_000
#: Paths of one machine and addresses of mirrors; in pieces, so that this file does not find itself.
_FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.])/wor" + r"k/",
            r"(?<![\w.])/roo" + r"t/",
            r"/home/(?!\*)\w+/",
            r"pypi" + r"\.org|pythonhosted" + r"\.org",
            r"deb\.debian" + r"\.org|debian\.org" + r"/debian",
            r"--(?:extra-)?index" + r"-url[= ]https?:",
            r"(?i:co-authored" + r"-by:)",
        )
    )
)
#: In capitals and backticks, but no setting.
_NO_SETTINGS = {"SIGTERM", "CONSENT_VERSION", "VACUUM", "CLUSTER"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"python3 (?:/opt/binhyen/)?run\.py ([a-z][a-z-]*)")
_MODULE = re.compile(r"python -m bot ([a-z-]+)|^\s*binhyen ([a-z-]+)", re.MULTILINE)


@cache
def repository() -> tuple[Path, ...]:
    """The files of the repository: those git knows, or without git everything that is not made here."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _SKIPPED & set(path.relative_to(ROOT).parts)]
    return tuple(path for path in found if path.is_file())


def documents() -> list[Path]:
    """Everything written for people to read."""
    return sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})


def named(path: Path) -> str:
    """A file's name, as test ids show it."""
    return path.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """A document without its blocks of commands."""
    return _FENCE.sub("", document.read_text("utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as the usual hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


each_document = pytest.mark.parametrize("document", documents(), ids=named)


@each_document
def test_every_link_between_documents_leads_somewhere(document: Path):
    broken = []
    for target in _LINK.findall(prose(document)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        to = (document.parent / path).resolve() if path else document
        if not to.exists() or (anchor and anchor not in anchors(to)):
            broken.append(target)

    assert not broken


@each_document
def test_every_command_line_in_a_document_can_be_typed(document: Path):
    said = document.read_text("utf-8")
    blocks = "\n".join(block for _, block in _FENCE.findall(said))
    ours = set(cli.commands) | developing() | {"check", "lint", "test"}
    wrong = [command for command in _COMMAND.findall(said) if command not in ours]
    wrong += [one or other for one, other in _MODULE.findall(blocks) if (one or other) not in cli.commands]

    assert not wrong


def developing() -> set[str]:
    """The commands run.py knows besides those of `binhyen`."""
    tree = ast.parse((ROOT / "run.py").read_text("utf-8"))
    named = {getattr(node.targets[0], "id", ""): node.value for node in tree.body if isinstance(node, ast.Assign)}
    return {*ast.literal_eval(named["DEVELOPING"]), *ast.literal_eval(named["APART"])}


def test_the_readme_names_the_two_commands_alone_on_their_lines():
    blocks = [block.strip() for _, block in _FENCE.findall((ROOT / "README.md").read_text("utf-8"))]

    assert "python3 run.py demo" in blocks
    assert "python3 run.py test" in blocks


@each_document
def test_every_setting_in_a_document_exists(document: Path):
    said = document.read_text("utf-8")
    known = {name.upper() for name in Settings.model_fields}
    in_prose = {name.partition("=")[0] for name in re.findall(r"`([A-Z][A-Z_]{3,}(?:=[^`]*)?)`", prose(document))}
    in_blocks = {
        name
        for language, block in _FENCE.findall(said)
        if language == "sh"
        for name in re.findall(r"^([A-Z][A-Z_]{3,})=", block, re.MULTILINE)
    }

    assert not (in_prose | in_blocks) - known - _NO_SETTINGS


@each_document
def test_every_chat_command_in_a_document_is_answered(document: Path):
    routes = {"/healthz", "/readyz", "/metrics", "/newbot", "/revoke"}  # ours on the web, and @BotFather's
    ours = {f"/{name}" for command in COMMANDS for name in (command.name, command.alias)} | routes
    said = set(re.findall(r"`(/[a-z]+)`", prose(document)))

    assert not said - ours


@each_document
def test_every_file_a_document_names_exists(document: Path):
    places = (
        "bench|bot|broadcasts|channels|commands|conversations|db|deliveries|demo|deploy|docs|establishments|handlers|media|"
        "officers|reports|tests|texts|unit|web"
    )
    names = set(re.findall(rf"`((?:{places})/[\w./-]*\w)`", prose(document)))

    assert not {name for name in names if not (ROOT / name).exists()}


def test_every_log_event_operators_are_told_of_is_written_somewhere():
    code = "\n".join(path.read_text("utf-8") for path in repository() if path.suffix == ".py")
    told = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", prose(ROOT / "docs/operators/incident.md")))

    assert not {event for event in told if f'"{event}"' not in code}


def test_the_version_is_the_same_wherever_it_is_said():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert __version__ == packaged
    assert packaged in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_decision_has_its_own_number():
    numbers = [path.name[:4] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]

    assert all(number.isdecimal() for number in numbers)
    assert len(numbers) == len(set(numbers))


def test_nothing_of_one_machine_or_mirror_is_in_the_repository():
    found = []
    for path in repository():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{named(path)}: {match.group()}" for match in _FORBIDDEN.finditer(text)]

    assert not found


def test_no_file_is_large():
    large = [named(path) for path in repository() if path.stat().st_size > _LARGE]

    assert not [name for name in large if not _MAY_BE_LARGE.fullmatch(name)]
