"""What people read stands in the catalogues: no Vietnamese in code, pages and scripts, but for what is listed here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What is not ours to say: documents, tests, and what only plays or measures.
ELSEWHERE = ("texts", "docs", "tests", "demo", "bench")
#: Files in which letters with marks stand all the same, and why.
ALLOWED = {
    "bot/settings.py": "the default of UNIT_NAME: what a unit is called, not what it says",
    "unit/policy.py": "the same default, for who builds a policy without settings",
    "commands/setup.py": "the areas it makes are named in the unit's language, whatever the console speaks",
    "handlers/understanding.py": "what people say to us, not what we say",
    "web/templates/demo.html": "the demo's own page: it stands here because pages are served from here",
}
#: The name of the program is the same in every language.
NAME = "Bình Yên"
_MARKED = re.compile("[\u00c0-\u00c3\u00c8-\u00ca\u00cc\u00cd\u00d2-\u00d5\u00d9\u00da\u00dd\u00e0-\u00e3\u00e8-\u00ea"
                     "\u00ec\u00ed\u00f2-\u00f5\u00f9\u00fa\u00fd\u0102\u0103\u0110\u0111\u0128\u0129\u0168\u0169"
                     "\u01a0\u01a1\u01af\u01b0\u1ea0-\u1ef9]")  # fmt: skip


def files(*suffixes: str) -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.suffix in suffixes and not parts[0].startswith(".") and parts[0] not in ELSEWHERE:
            yield path


def said_in_python(source: str) -> list[str]:
    """The literal texts of a module, docstrings left out."""
    tree = ast.parse(source)
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, described) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def said_in_script(source: str) -> list[str]:
    """A script without its comments; `//` in an address does not begin one."""
    bare = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    return [re.sub(r"(?<![:\w])//.*", "", line) for line in bare.splitlines()]


def said_in_page(source: str) -> list[str]:
    return re.sub(r"<!--.*?-->|\{#.*?#\}", "", source, flags=re.DOTALL).splitlines()


READERS = {".py": said_in_python, ".js": said_in_script, ".html": said_in_page}


def vietnamese(path: Path) -> list[str]:
    said = READERS[path.suffix](path.read_text("utf-8"))
    return [text.strip() for text in said if _MARKED.search(text.replace(NAME, ""))]


def test_what_people_read_stands_in_the_catalogues():
    found = {path.relative_to(ROOT).as_posix(): vietnamese(path) for path in files(*READERS)}

    assert len(found) > 100
    assert {name: said for name, said in found.items() if said and name not in ALLOWED} == {}


def test_every_exception_is_one():
    assert [name for name in ALLOWED if not vietnamese(ROOT / name)] == []


@pytest.mark.parametrize(
    ("suffix", "source", "said"),
    [
        (".py", '"""Tệp."""\nx = "Tệp"  # Tệp', 1),
        (".js", '/* Tệp */ say("x"); // Tệp\nurl = "https://x";', 0),
        (".js", 'say("Tệp")', 1),
        (".html", "<!-- Tệp --><p>{{ say('x') }}</p>", 0),
        (".html", "<p>Tệp</p>", 1),
        (".html", "<p>Bình Yên</p>", 0),
    ],
)
def test_a_word_is_told_from_a_remark(tmp_path, suffix, source, said):
    path = tmp_path / f"x{suffix}"
    path.write_text(source, "utf-8")

    assert len(vietnamese(path)) == said
