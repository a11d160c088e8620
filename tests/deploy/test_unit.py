"""The systemd unit: systemd understands it, and it keeps what the documents say of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy/binhyen.service"


def settings() -> dict[str, list[str]]:
    """Every setting of the unit, with its values in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def analyze(tmp_path):
    """systemd's own examination of the unit, with a program that exists here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd here")
    said = UNIT.read_text("utf-8").replace("/opt/binhyen/.venv/bin/python", sys.executable)
    (tmp_path / UNIT.name).write_text(said, "utf-8")

    def analyze(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words, str(tmp_path / UNIT.name)], capture_output=True, text=True, check=False)

    return analyze


def test_systemd_understands_every_line(analyze):
    done = analyze("verify")
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr


def test_it_starts_after_the_clock_is_set():
    for name in ("After", "Wants"):
        assert "time-sync.target" in settings()[name][0].split()


def test_memory_and_open_files_are_bounded():
    found = settings()
    assert int(found["LimitNOFILE"][0]) >= 2 * 400, "the web alone may hold WEB_CONNECTIONS, and takes at most half"
    assert found["MemoryMax"] and found["TasksMax"]


def test_it_is_started_again_but_not_over_a_bad_setting():
    found = settings()
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["2"]
