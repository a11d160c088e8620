"""`run.py` in a copy of its own, with a pip that only says what it was asked."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE_PYTHON = str(getattr(sys, "_base_executable", sys.executable))

# Fails when `fail` exists, else writes down how it was called. Stands for pip and for uv.
INSTALLER = """
import pathlib, sys
here = pathlib.Path({here!r})
if "config" in sys.argv or "--version" in sys.argv: sys.exit()
with (here / "calls").open("a") as calls: print({name!r}, *sys.argv[1:], file=calls)
if (here / "{name} fails").exists(): sys.exit(1)
"""

MODULE = """
import sys
print({name!r}, *sys.argv[1:])
sys.exit(7)
"""


class Copy:
    """A checkout that holds `run.py`, two locks and a bot that exits with 7."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.stubs = folder / "checkout", folder / "stubs"
        self.checkout.mkdir()
        shutil.copy(ROOT / "run.py", self.checkout)
        self.pin("requirements.lock", "one==1")
        self.pin("requirements-dev.lock", "one==1\ntwo==2")
        for name in ("bot", "demo", "bench"):
            self._module(self.checkout / name, MODULE.format(name=name))
        self.add_installer("pip")
        # A uv that the machine happens to have must not be found.
        self.add_installer("uv", fails=True)

    def _module(self, package: Path, code: str) -> None:
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(code)

    def add_installer(self, name: str, *, fails: bool = False) -> None:
        self._module(self.stubs / name, INSTALLER.format(here=str(self.stubs), name=name))
        if fails:
            self.break_(name)

    def break_(self, name: str) -> None:
        (self.stubs / f"{name} fails").touch()

    def mend(self, name: str) -> None:
        (self.stubs / f"{name} fails").unlink()

    def pin(self, lock: str, text: str) -> None:
        (self.checkout / lock).write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        environment |= {"PYTHONPATH": str(self.stubs), "PATH": "", "PYTHONIOENCODING": "utf-8"}
        return subprocess.run(
            [BASE_PYTHON, str(self.checkout / "run.py"), *arguments],
            capture_output=True,
            encoding="utf-8",
            cwd=self.stubs,
            env=environment,
        )

    def installs(self) -> list[str]:
        """What was asked of the installers since the last look."""
        calls = self.stubs / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    yield Copy(tmp_path)


def test_the_first_start_installs_by_hash_and_hands_everything_to_the_bot(copy: Copy) -> None:
    done = copy.run("run", "--port", "1 2")

    assert (done.returncode, done.stdout) == (7, "bot run --port 1 2\n")
    last = copy.installs()[-1]
    assert last.startswith("pip --python ") and "install --require-hashes -r requirements.lock" in last


def test_the_second_start_does_not_install(copy: Copy) -> None:
    copy.run("demo")
    copy.installs()

    done = copy.run("demo")

    assert done.returncode == 7 and done.stderr == ""
    assert copy.installs() == []


def test_a_changed_lock_is_installed(copy: Copy) -> None:
    copy.run("demo")
    copy.installs()
    copy.pin("requirements.lock", "one==2")

    copy.run("demo")

    assert copy.installs()


def test_a_failed_install_is_redone_from_nothing_and_the_bot_is_not_started(copy: Copy) -> None:
    copy.break_("pip")
    failed = copy.run("demo")
    assert failed.returncode == 1 and failed.stdout == ""
    (left_behind := copy.checkout / ".venv" / "half-installed").touch()
    copy.installs()
    copy.mend("pip")

    done = copy.run("demo")

    assert done.returncode == 7
    assert copy.installs() and not left_behind.exists()


@pytest.mark.parametrize("stamp", ["", '{"python"', '{"python": "unfinished"}', '{"python": "/gone/python3"}'])
def test_an_install_interrupted_at_the_stamp_is_redone(copy: Copy, stamp: str) -> None:
    copy.run("demo")
    copy.installs()
    (copy.checkout / ".venv" / "binhyen.json").write_text(stamp)

    copy.run("demo")

    assert copy.installs()


def test_an_environment_whose_python_is_gone_is_made_again(copy: Copy) -> None:
    copy.run("demo")
    python = next(path for path in (copy.checkout / ".venv").glob("*/python*") if path.stem == "python")
    python.unlink()

    assert copy.run("demo").returncode == 7


def test_what_another_made_is_added_to_not_thrown_away(copy: Copy) -> None:
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(copy.checkout / ".venv")], check=True)
    (mine := copy.checkout / ".venv" / "mine").touch()

    copy.run("demo")

    assert copy.installs() and mine.exists()


def test_the_tools_include_what_the_bot_needs_but_not_the_other_way_round(copy: Copy) -> None:
    copy.run("demo")
    copy.installs()
    copy.run("bench")
    assert "-r requirements-dev.lock" in copy.installs()[-1]

    copy.run("demo")

    assert copy.installs() == []


def test_uv_is_asked_first_and_pip_not_at_all_when_it_can(copy: Copy) -> None:
    copy.mend("uv")

    copy.run("demo")

    (only,) = copy.installs()
    assert only.startswith("uv pip install --require-hashes -r requirements.lock --python ")


def test_uv_is_asked_again_with_the_systems_certificates_before_pip(copy: Copy) -> None:
    copy.run("demo")

    assert [line.split()[0] for line in copy.installs()] == ["uv", "uv", "pip"]


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("--help",), 0)])
def test_help_installs_nothing(copy: Copy, arguments: tuple[str, ...], code: int) -> None:
    done = copy.run(*arguments)

    assert done.returncode == code and "run.py demo" in done.stdout
    assert not (copy.checkout / ".venv").exists()


def test_an_older_python_can_read_it_far_enough_to_say_so() -> None:
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 6))

    _docstring, first_import, check, *_ = tree.body
    assert isinstance(first_import, ast.Import) and isinstance(check, ast.If)
    assert ast.unparse(check.test) == "sys.version_info < (3, 11)"


def pins(lock: str) -> dict[str, str]:
    """Package and version, as pinned with at least one hash."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==(\S+)(?: ;[^\\\n]*)? \\\n    --hash=", text, re.MULTILINE))


def test_both_locks_pin_the_same_versions() -> None:
    runtime, everything = pins("requirements.lock"), pins("requirements-dev.lock")

    assert runtime and runtime.items() <= everything.items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_no_place(lock: str) -> None:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()

    assert len(pins(lock)) == sum(not line.startswith(" ") for line in lines)
    assert not [line for line in lines if "/" in line or line.lstrip().startswith(("-i", "-f", "--index", "--find"))]


def test_the_stamp_holds_no_more_than_the_interpreter_and_the_locks(copy: Copy) -> None:
    copy.run("demo")

    assert set(json.loads((copy.checkout / ".venv" / "binhyen.json").read_text())) == {"python", "requirements.lock"}
