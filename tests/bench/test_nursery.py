"""What the nursery forks is a process of its own, and ends with whoever asked for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.nursery import Child, Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
SAYS = "import os, sys; print(os.getcwd(), sorted(os.environ), sys.argv[1:]); sys.exit(7)"
WAITS = "import signal; print('here', flush=True); signal.pause()"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


def start(nursery: Nursery, folder: Path, code: str, *words: str) -> Child:
    (folder / "child.py").write_text(code)
    with (folder / "said").open("wb") as said:
        env = {"PYTHONPATH": str(folder)}
        # It looks for modules where it stands, as `python -m` does.
        return nursery.start("child", *words, folder=folder, env=env, out=said.fileno(), err=said.fileno())


async def test_a_child_has_its_own_folder_environment_words_and_exit_code(nursery, tmp_path):
    child = start(nursery, tmp_path, SAYS, "a", "b")

    assert await child.wait() == 7

    assert (tmp_path / "said").read_text() == f"{tmp_path} ['PYTHONPATH'] ['a', 'b']\n"
    child.kill()  # nothing happens


async def test_a_child_that_was_killed_says_of_what(nursery, tmp_path):
    child = start(nursery, tmp_path, WAITS)
    assert child.pid != os.getpid() and child.returncode is None

    child.kill()

    assert await child.wait() == child.returncode == -signal.SIGKILL


async def test_children_end_with_the_nursery(tmp_path):
    nursery = Nursery()
    child = start(nursery, tmp_path, WAITS)

    nursery.close()

    assert await child.wait() == -signal.SIGKILL
