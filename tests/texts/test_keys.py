import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import handlers
from broadcasts.acknowledgements import _WHY_ORDER
from broadcasts.facts import NoticeState, Response
from channels.wording import plain
from establishments.facts import EstablishmentState, Kind
from handlers.buttons import verbs
from handlers.routes import COMMANDS, Command
from officers.permissions import Role
from reports.facts import OUTCOMES, ReportState
from texts.catalogue import LANGUAGES, Catalogue
from texts.markup import utf16_len
from web.sentences import CODES

CATALOGUE = Catalogue.load()
ROOT = Path(handlers.__file__).parents[1]
#: Packages that are run; "bot" also begins the names of modules, so its two keys are asked for by themselves.
PACKAGES = (
    *("commands", "bot", "handlers", "broadcasts", "reports", "establishments", "officers", "unit"),
    *("conversations", "deliveries", "media", "channels", "texts", "web"),
)
#: Calls whose first or second argument is a key even when a verb has the same name.
SPEAKING = {"say", "html", "plain", "message", "button", "Refusal", "tell_reporter"}
KEY = re.compile(r"[a-z_]+\.[a-z_]*[a-z]")
PREFIX = re.compile(r"[a-z_]+\.[a-z_]*")
#: What follows the prefix of a key that is put together while the program runs.
FAMILIES: dict[str, tuple[str, ...]] = {
    "answer_part.": ("photo", "video", "voice", "document", "point"),
    "ask.": ("where", "still", "who", "safe"),
    "button.share_": ("contact", "location"),
    "command.": tuple(command.name for command in COMMANDS),
    "kind.": tuple(Kind),
    "language.": LANGUAGES,
    "notice_state.": tuple(NoticeState),
    "outcome.": OUTCOMES,
    "place_state.": tuple(EstablishmentState),
    "plain_text.": ("contact", "location"),
    "problem.": CODES,
    "reject.": ("duplicate", "not_here", "wrong_facts"),
    "report.closed_": OUTCOMES,
    "report_state.": tuple(ReportState),
    "response.": tuple(Response),
    "role.": tuple(Role),
    "silent.": tuple(_WHY_ORDER),
    "talk.type_": ("contact", "location"),
    "track.": tuple(state for state in ReportState if state is not ReportState.DRAFT),
}
#: What platforms show outside any conversation.
PROFILE = {"bot.description", "bot.short"}


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def walk() -> Iterator[tuple[str, ast.AST]]:
    for package in PACKAGES:
        # The bench plays people: what it looks for and writes are no keys.
        for path in sorted(path for path in (ROOT / package).rglob("*.py") if path.parent.name != "bench"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


NODES = tuple(walk())


def literals() -> dict[str, str]:
    """Every key written out in the source, with a place it is written at. Verbs of buttons look alike; they are out."""
    namespaces = {key.partition(".")[0] for key in CATALOGUE.keys("vi")} - {"bot"}
    known_verbs = verbs()
    found: dict[str, str] = {}
    for place, node in NODES:
        if isinstance(node, ast.Constant) and KEY.fullmatch(str(node.value)):
            value = str(node.value)
            if value not in known_verbs and not value.endswith(".html") and value.partition(".")[0] in namespaces:
                found.setdefault(value, place)
        if isinstance(node, ast.Call) and called(node) in SPEAKING:
            for argument in node.args[:2]:
                if isinstance(argument, ast.Constant) and KEY.fullmatch(str(argument.value)):
                    found.setdefault(str(argument.value), place)
    return found


def prefixes() -> dict[str, str]:
    """The beginning of every key that is put together, with a place it is written at."""
    found: dict[str, str] = {}
    for place, node in NODES:
        if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[0], ast.Constant):
            start = str(node.values[0].value)
            if PREFIX.fullmatch(start):
                found.setdefault(start, place)
    return found


def on_pages() -> dict[str, str]:
    """Every key that a page or its script names, with the file that does."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "web" / "templates").glob("*.html")):
        page = path.read_text("utf-8")
        found |= dict.fromkeys(re.findall(r"say(?:_in)?\((?:\w+, )?'([a-z_]+\.[a-z_]+)'", page), path.name)
        found |= dict.fromkeys((f"page.{word}" for word in re.findall(r'data-t(?:-\w+)?="(\w+)"', page)), path.name)
    script = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "web" / "static" / "chat").glob("*.js")))
    said = [word for words in re.findall(r"\bsay\(([^()]*)", script) for word in re.findall(r'"([a-z_]+)"', words)]
    said += re.findall(r'"([a-z]+day)"', script)  # the days of the week, asked for by number
    # What is no key but stands in a condition: `say(entry.type === "text" ? …)`; and what a file's kind is called.
    return found | {f"page.{word}": "chat/*.js" for word in {*said, "photo", "video", "file"} - {"text", "document"}}


BEGINNINGS = prefixes()
WRITTEN = literals() | on_pages()
FAMILY_KEYS = {prefix + ending for prefix, endings in FAMILIES.items() for ending in endings}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_in_the_source_has_a_text(language: str) -> None:
    missing = {key: place for key, place in WRITTEN.items() if key not in CATALOGUE.keys(language)}

    assert not missing


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_member_of_a_family_has_a_text(language: str) -> None:
    assert (FAMILY_KEYS | PROFILE) - CATALOGUE.keys(language) == set()


def test_every_key_put_together_is_of_a_known_family() -> None:
    assert {prefix: place for prefix, place in BEGINNINGS.items() if prefix not in FAMILIES} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_used(language: str) -> None:
    assert CATALOGUE.keys(language) - WRITTEN.keys() - FAMILY_KEYS - PROFILE == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_description_for_the_menu(language: str, command: Command) -> None:
    description = plain(language, f"command.{command.name}")

    assert 1 <= utf16_len(description) <= 60


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("key", "limit"), [("bot.description", 512), ("bot.short", 120)])
def test_what_the_platform_says_about_us_fits(language: str, key: str, limit: int) -> None:
    assert utf16_len(plain(language, key, police="0" * 15)) <= limit


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_of_buttons_are_short_and_plain(language: str) -> None:
    refusals = {"button.unknown", "button.used"}
    labels = {key: CATALOGUE.forms(language, key)[0] for key in CATALOGUE.keys(language) if key.startswith("button.")}

    assert {key: label for key, label in labels.items() if key not in refusals and len(label) > 24} == {}
    assert not [key for key, label in labels.items() if key not in refusals and "<" in label]
