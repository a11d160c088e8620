"""The container file: built and run where a builder works, and everywhere its steps one by one, without one.

Without a builder there is neither a base image nor a registry of packages. In that run, and in nothing else,

- `FROM python:…` is an interpreter of this machine that the container's user can read;
- `pip install --require-hashes -r requirements.lock` is a copy of exactly the packages the lock names, in exactly the
  versions it names, from where the tests have theirs;
- `useradd` is that user's number, and only where the tests may become somebody else;
- paths lie below a folder, and the port is a free one.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.processes import free_port
from tests.test_documents import named, repository

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/Containerfile"
#: Long enough for a loaded machine.
_START_SECONDS = 60


class Step(NamedTuple):
    """One line of a container file."""

    instruction: str
    argument: str


def steps() -> list[Step]:
    """The lines of the container file: continued ones joined, comments gone."""
    kept = [line for line in FILE.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(kept))
    return [Step(*line.split(None, 1)) for line in joined.splitlines()]


def last(instruction: str) -> str:
    """The argument of the last line with this instruction."""
    return [step.argument for step in steps() if step.instruction == instruction][-1]


def health_check() -> list[str]:
    """The command that says whether the container is healthy."""
    command: list[str] = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    return command


# --- what is in the image -------------------------------------------------------------------------------------------


def is_left_out(path: str) -> bool:
    """Whether .dockerignore keeps a file out of the image: the last line that fits it, or a folder above, decides."""
    above = [path, *(str(parent) for parent in Path(path).parents if parent != Path())]
    out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").split():
        pattern, anywhere = line.removeprefix("!"), line.startswith("**/")
        names = Path(path).parts if anywhere else above
        if any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
            out = not line.startswith("!")
    return out


def context() -> Iterator[str]:
    """The files of the repository that come into the image."""
    for path in repository():
        if not is_left_out(named(path)):
            yield named(path)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def install(lock: Path, environment: Path) -> None:
    """Copy the packages a lock names into a virtual environment; AssertionError for one that is not as it says."""
    (target,) = environment.glob("lib/python*/site-packages")
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text("utf-8"), re.MULTILINE):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform, or an extra the tests do without
            continue
        assert found.version == version, f"the lock says {name} {version}, installed is {found.version}"
        for file in found.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            source = Path(str(file.locate()))
            _copy(source, target / file)
            compiled = Path(cache_from_source(str(source)))
            if source.suffix == ".py" and compiled.exists():  # as an installer compiles it
                _copy(compiled, target / file.parent / "__pycache__" / compiled.name)


# --- a container without a builder ----------------------------------------------------------------------------------


class Container:
    """What the steps made below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/bin:/bin"}
        self.working = "/"
        self.users: dict[str, int] = {}
        self.user: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def do(self, step: Step) -> None:
        """Do one step; AssertionError for one that is not known here."""
        match step:
            case ("FROM", image):
                assert_new_enough(image)
            case ("RUN", command):
                self._run(shlex.split(command))
            case ("COPY", what):
                self._copy(what.split())
            case ("ENV", pairs):
                for word in shlex.split(pairs):
                    name, _, value = word.partition("=")
                    self.environment[name] = self._below(value.replace("$PATH", self.environment["PATH"]))
            case ("WORKDIR", path):
                self.working = path
                self.at(path).mkdir(parents=True, exist_ok=True)
            case ("USER", name):
                self._become(self.users[name])
            case ("VOLUME", path):
                assert path == self.working, "what is kept lies in the working directory"
            case ("EXPOSE", port):
                assert port == self.environment["WEB_PORT"]
            case ("HEALTHCHECK" | "STOPSIGNAL" | "ENTRYPOINT" | "CMD", _):
                pass  # read when it is started, asked and stopped
            case _:
                raise AssertionError(f"{step} is new: say here what it does")

    def at(self, path: str) -> Path:
        """Where a path of the container lies."""
        return self.folder / (path if path.startswith("/") else f"{self.working}/{path}").lstrip("/")

    def _below(self, paths: str) -> str:
        return re.sub(r"(?<![^:])/opt/", f"{self.folder}/opt/", paths)

    def _run(self, words: list[str]) -> None:
        match words:
            case ["python", "-m", "venv", path]:
                subprocess.run([interpreter(), "-m", "venv", "--without-pip", self.at(path)], check=True)
            case [pip, "install", "--no-cache-dir", "--require-hashes", "-r", lock]:
                install(self.at(lock), self.at(pip).parents[1])
            case ["useradd", "--system", "--uid", number, "--home-dir", home, "--create-home", name]:
                self.users[name] = int(number)
                self.at(home).mkdir(parents=True)
            case _:
                raise AssertionError(f"RUN {shlex.join(words)} is new: say here what it does")

    def _copy(self, words: list[str]) -> None:
        match words:
            case ["--from=packages", source, target]:  # both stages are in the same folder here
                assert source == target and self.at(source).exists()
            case [".", target]:
                for path in context():
                    _copy(ROOT / path, self.at(target) / path)
            case [source, "."]:
                assert not is_left_out(source), f".dockerignore leaves {source} out"
                _copy(ROOT / source, self.at(source))
            case _:
                raise AssertionError(f"COPY {words} is new: say here what it does")

    def _become(self, user: int) -> None:
        if os.geteuid() == 0:
            self.user = user
            os.chown(self.at(self.working), user, user)

    def runs(self, command: list[str]) -> int:
        """Run a command in it; the exit code."""
        return subprocess.run(command, **self._how(), capture_output=True, check=False, timeout=30).returncode

    def start(self) -> None:
        """Start what ENTRYPOINT and CMD say."""
        command = json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, **self._how(), stdout=output, stderr=output)

    def becomes_healthy(self) -> bool:
        """Whether its own check finds it healthy in time."""
        ends_at = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends_at and self._process is not None and self._process.poll() is None:
            if self.runs(health_check()) == 0:
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> int:
        """Stop it as STOPSIGNAL says; the exit code, or TimeoutExpired after what is promised."""
        assert self._process is not None
        self._process.send_signal(signal.Signals[last("STOPSIGNAL")])
        return self._process.wait(10)

    def end(self) -> None:
        """Kill what still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def output(self) -> str:
        """What it wrote."""
        return (self.folder / "output").read_text("utf-8", "replace")

    def _how(self) -> dict[str, Any]:
        who = {"user": self.user, "group": self.user, "extra_groups": []} if self.user is not None else {}
        # The program is looked for where the container would.
        return {"cwd": self.at(self.working), "env": self.environment, **who}


def assert_new_enough(image: str) -> None:
    """The base image is a Python that pyproject.toml allows."""
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim(?: AS \w+)?", image)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert found and (int(found[1]), int(found[2])) >= tuple(map(int, oldest.removeprefix(">=").split("."))), image


def interpreter() -> str:
    """A Python like the tests' own that everybody on this machine can read."""
    wanted = sys.version_info[:2]
    asks = "import sys, ssl, sqlite3; sys.exit(sys.version_info[:2] != tuple(map(int, sys.argv[1:])))"
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    for found in (getattr(sys, "_base_executable", sys.executable), f"/usr/bin/python{wanted[0]}.{wanted[1]}"):
        try:
            asked = subprocess.run([found, "-c", asks, *map(str, wanted)], check=False, capture_output=True, **nobody)
        except OSError:
            continue
        if asked.returncode == 0:
            return found
    pytest.skip("no Python here that another user than root can read")


@pytest.fixture(scope="module")
def image() -> Iterator[Container]:
    """Everything up to the start, once."""
    # Not below pytest's folders: those are closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="binhyen-container-") as folder:
        Path(folder).chmod(0o755)
        made = Container(Path(folder))
        before = os.umask(0o022)
        try:
            for step in steps():
                made.do(step)
        finally:
            os.umask(before)
        yield made


@pytest.fixture
def container(image) -> Iterator[Container]:
    """A container that has not been started, on a free port."""
    image.environment["WEB_PORT"] = str(free_port())
    yield image
    image.end()


def asked(container: Container, path: str) -> tuple[int, str]:
    """Ask a running container over HTTP."""
    url = f"http://127.0.0.1:{container.environment['WEB_PORT']}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


@pytest.mark.timeout(300)
def test_every_step_can_be_done_and_what_it_makes_runs_is_healthy_and_stops(container):
    assert container.runs(health_check()) != 0, "healthy before it is started"
    for _ in range(2):  # the second time with what the first has kept
        container.start()
        assert container.becomes_healthy(), container.output
        assert asked(container, "/healthz") == (200, "ok")
        assert json.loads(asked(container, "/readyz")[1])["ready"] is True
        assert asked(container, "/")[0] == 200
        assert container.stop() == 0, container.output
    kept = container.at("/var/lib/binhyen/data")
    assert {path.name for path in kept.iterdir()} >= {"binhyen.db", "secret.key"}
    assert (kept / "secret.key").stat().st_mode & 0o777 == 0o600
    if container.user is not None:
        assert (kept / "secret.key").stat().st_uid == container.user
    assert "Traceback" not in container.output


@pytest.mark.timeout(300)
def test_it_stays_healthy_while_a_part_is_out(container, monkeypatch):
    """A platform that does not answer is no reason to start again and again."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, value in {"BOT_TOKEN": "123456:AAbbcc", "TELEGRAM_API_URL": nowhere}.items():
        monkeypatch.setitem(container.environment, name, value)
    container.start()
    assert container.becomes_healthy(), container.output
    with pytest.raises(OSError, match="503"):
        asked(container, "/readyz")
    assert container.runs(health_check()) == 0
    assert container.stop() == 0, container.output


def test_nothing_private_and_nothing_needless_is_in_the_image():
    found = set(context())
    assert {"bot/app.py", "web/templates/chat.html", "texts/vi.po", "requirements.lock", "LICENSE"} <= found
    assert not [path for path in found if path.startswith((".env", "data/", "tests/", ".git", ".venv", "docs/"))]
    for private in (
        ".env",
        "data/secret.key",
        "data/binhyen.db",
        ".venv/bin/python",
        "tests/bot/test_demo.py",
        "web/__pycache__/app.pyc",
    ):
        assert is_left_out(private)


# --- a container with one -------------------------------------------------------------------------------------------


def builder() -> str:
    """A program that builds images and runs them here."""
    for name in ("podman", "docker"):
        found = shutil.which(name)
        if found and subprocess.run([found, "info"], capture_output=True, check=False, timeout=60).returncode == 0:
            return found
    pytest.skip("no container builder works here; the steps are run by the tests above")


@pytest.mark.timeout(1800)
def test_the_image_is_built_and_runs_where_there_is_a_builder():
    program, name, port = builder(), f"binhyen-test-{os.getpid()}", free_port()
    base = last("FROM").split()[0]
    if subprocess.run([program, "pull", base], capture_output=True, check=False).returncode:
        pytest.skip(f"{base} cannot be had here; the steps are run by the tests above")

    def runs(*words: str, fails: bool = False) -> str:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        assert fails or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        runs("build", "-f", "deploy/Containerfile", "-t", name, ".")
        runs("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8080", name)
        for _ in range(_START_SECONDS):
            if (
                subprocess.run([program, "exec", name, *health_check()], capture_output=True, check=False).returncode
                == 0
            ):
                break
            time.sleep(1)
        else:
            raise AssertionError(runs("logs", name))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok"
        assert runs("exec", name, "id", "-u").strip() == "10001"
        runs("stop", "--time", "10", name)
        assert runs("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
    finally:
        runs("rm", "--force", name, fails=True)
        runs("rmi", "--force", name, fails=True)
