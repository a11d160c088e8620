"""Makes the environment in `.venv` on first use, then runs Bình Yên or its checks in it.

    python3 run.py demo      a made-up ward in the browser
    python3 run.py init      the few settings, and the first administrator's invitation
    python3 run.py run       the bot
    python3 run.py doctor    is this unit set up right?
    python3 run.py test      the tests (arguments go to pytest; --fast: the inner loop)
    python3 run.py check     formatting, lint, types, imports, tests
    python3 run.py lint      the same without the tests
    python3 run.py bench     the measurements

Anything else is handed to `binhyen` as it stands. Needs Python 3.11 or later with pip, venv or uv, and nothing more.
"""

import sys

# Up to here, and in its syntax, this file is readable to Python 3.6.
if sys.version_info < (3, 11):  # noqa: UP036 - this line is for those who start it with an older Python
    sys.exit("Bình Yên needs Python 3.11 or later; this is {}.{}.".format(*sys.version_info))

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
#: What is installed; written last, so an interrupted install is seen and redone.
STAMP = VENV / "binhyen.json"
UNFINISHED = "unfinished"
RUNTIME, EVERYTHING = "requirements.lock", "requirements-dev.lock"

#: What `lint` runs, each as arguments to Python.
LINTS = {
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "ruff check": ["-m", "ruff", "check", "."],
    "mypy": ["-m", "mypy"],
    "lint-imports": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
}
DEVELOPING = ("test", "check", "lint", "bench")
#: Rooms of their own, which no unit needs.
APART = ("demo", "bench")


def main(arguments: list[str]) -> int:
    """Prepare the environment and run the command in it; its exit code is ours."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    os.chdir(ROOT)
    prepare(EVERYTHING if command in DEVELOPING else RUNTIME)
    # Some environments forbid writing bytecode: then every process that a test starts compiles the whole house again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if command == "test":
        return become("pytest", *rest)
    if command == "lint":
        return run_all(LINTS)
    if command == "check":
        return run_all(LINTS | {"pytest": ["-m", "pytest", *rest]})
    if command in APART:
        return become(command, *rest)
    return become("bot", *arguments)


def prepare(lock: str) -> None:
    """Install what `lock` pins, unless it is there already. One at a time on a machine."""
    with alone():
        python = os.path.realpath(PYTHON)  # names another interpreter after an upgrade of the system's
        installed = read_stamp()
        if installed.get("python") == python and installed.get(lock) == digest(lock) and PYTHON.exists():
            return
        if not PYTHON.exists() or installed.get("python", python) != python:
            shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir(exist_ok=True)
        STAMP.write_text(json.dumps({"python": UNFINISHED}))
        print("Preparing .venv, once…", file=sys.stderr, flush=True)
        if not PYTHON.exists():
            # Without pip: Debian has venv in python3 itself, but not ensurepip.
            subprocess.run([base_python(), "-m", "venv", "--without-pip", str(VENV)], check=True)
        install(lock)
        # The developers' lock pins the same versions and more.
        locks = [RUNTIME, EVERYTHING] if lock == EVERYTHING else [RUNTIME]
        STAMP.write_text(json.dumps({"python": os.path.realpath(PYTHON)} | {name: digest(name) for name in locks}))


def install(lock: str) -> None:
    """Install from `lock` with the first installer that can: uv, uv with the system's certificates, pip."""
    wanted = ["install", "--require-hashes", "-r", lock]
    uv = find_uv()
    if uv:
        # Compiled now, not at every start: some environments forbid writing bytecode later.
        with_uv = [*uv, "pip", *wanted, "--python", str(PYTHON), "--compile-bytecode"]
        for certificates in ({}, {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}):
            if subprocess.run(with_uv, env=as_pip_does() | certificates, capture_output=True).returncode == 0:
                return
    # pip.conf may ask for --user, which no virtual environment can do.
    environment = os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if has(base_python(), "pip"):
        with_pip = [base_python(), "-m", "pip", "--python", str(PYTHON)]
    elif has(str(PYTHON), "ensurepip"):
        subprocess.run([str(PYTHON), "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
        with_pip = [str(PYTHON), "-m", "pip"]
    else:
        sys.exit("Nothing here can install packages. On Debian and Ubuntu: apt install python3-pip")
    done = subprocess.run([*with_pip, *wanted, "--quiet"], env=environment)
    if done.returncode:
        sys.exit("The packages could not be installed (see above). Start again to try again.")


def find_uv() -> list[str] | None:
    """How to call uv, where there is one."""
    path = shutil.which("uv")
    if path:
        return [path]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else None


def as_pip_does() -> dict[str, str]:
    """The environment for uv, which asks the index that pip is configured with, unless uv has its own."""
    listed = subprocess.run([base_python(), "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    indexes = re.findall(r"\.index-url='(.+)'", listed)
    return ({"UV_DEFAULT_INDEX": indexes[-1]} if indexes else {}) | dict(os.environ)


def base_python() -> str:
    """The interpreter itself, even when started from within `.venv`."""
    return getattr(sys, "_base_executable", None) or sys.executable


def has(python: str, module: str) -> bool:
    """Can this interpreter import the module?"""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-c", code, module]).returncode == 0


def read_stamp() -> dict[str, str]:
    """What the last finished install left; empty for an environment that somebody else made."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"python": UNFINISHED}


def digest(lock: str) -> str:
    """Fingerprint of a lock file."""
    return hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two starts at once wait for each other (on POSIX)."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with Path(__file__).open() as this:
        fcntl.flock(this, fcntl.LOCK_EX)
        yield


def become(module: str, *arguments: str) -> int:
    """Run a module in `.venv` in our place, so that signals reach it; on Windows as a child."""
    command = [str(PYTHON), "-m", module, *arguments]
    if os.name == "nt":
        with contextlib.suppress(KeyboardInterrupt):
            return subprocess.call(command)
        return 130
    os.execv(command[0], command)


def run_all(checks: dict[str, list[str]]) -> int:
    """Run every check, also after one has failed, and name those that failed."""
    failed = []
    for name, arguments in checks.items():
        print(f"== {name}", flush=True)
        if subprocess.call([str(PYTHON), *arguments]):
            failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
