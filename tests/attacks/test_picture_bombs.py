"""A few kilobytes that unpack to half a gigabyte, and pictures that end whatever opens them.

| promise | test |
|---|---|
| what a picture costs is a child's, and little | `..._costs_the_house_next_to_nothing...` |
| the child knows no secret | `..._nothing_of_ours...` |
| a picture that ends the process is not tried for ever | `..._crash_loop...` |
| the sender hears why | `..._told...` |
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import resource
import time
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import func, select

from db.engine import Sessions
from db.tables.troubles import Trouble
from media import darkroom, pictures
from media.darkroom import Darkroom
from media.pictures import NotAPicture, TooLarge, clean_picture
from tests.conftest import KEYS, NOW
from tests.worlds import World, phrase, picture

SIDE = 7_700
#: What a child may take at most, kilobytes.
MOST = pictures.MEMORY_BYTES // 1024


def bomb(mode: str, kind: str = "PNG", **more) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(out, kind, **more)
    return out.getvalue()


@pytest.fixture
def sqlite_sessions(sqlite_engine):
    return Sessions(sqlite_engine, KEYS)


async def clean(sessions: Sessions, content: bytes, room: Darkroom | None = None) -> bytes:
    return await (room or Darkroom()).clean(sessions.begin, content, now=NOW)


@pytest.mark.parametrize(
    ("mode", "kind", "more"), [("1", "PNG", {}), ("RGBA", "PNG", {}), ("RGB", "WEBP", {"method": 0})]
)
async def test_a_bomb_costs_the_house_next_to_nothing_and_its_child_little(sqlite_sessions, mode, kind, more):
    content = bomb(mode, kind, **more)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    working = asyncio.create_task(clean(sqlite_sessions, content))
    most = 0
    while not working.done():
        most = max(most, _memory_of_children())
        await asyncio.sleep(0.01)
    with contextlib.suppress(NotAPicture):
        assert len(await working) < 2_000_000

    assert 10_000 < most <= MOST
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def _memory_of_children() -> int:
    """The most address space any child that opens pictures has had, kilobytes."""
    most = 0
    for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in listed.read_text().split():
                with contextlib.suppress(OSError):
                    if "pictures.py" not in Path(f"/proc/{pid}/cmdline").read_text():
                        continue
                    found = re.search(r"VmPeak:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                    most = max(most, int(found[1]) if found else 0)
    return most


def test_where_no_limit_can_be_set_less_is_opened():
    with pytest.raises(TooLarge):
        clean_picture(bomb("1"), most_pixels=pictures._MOST_PIXELS_UNGUARDED)


async def test_what_phones_make_is_opened(sqlite_sessions):
    out = io.BytesIO()
    Image.new("RGB", (8160, 6120), (10, 200, 30)).save(out, "JPEG")  # 50 megapixels

    opened = Image.open(io.BytesIO(await clean(sqlite_sessions, out.getvalue())))

    assert max(opened.size) == 2560


async def test_what_is_no_picture_is_told_apart_from_what_is_too_large(sqlite_sessions):
    with pytest.raises(NotAPicture) as refused:
        await clean(sqlite_sessions, b"\xff\xd8\xff")

    assert not isinstance(refused.value, TooLarge)


async def test_nothing_of_ours_is_in_the_childs_environment(monkeypatch, sqlite_sessions):
    monkeypatch.setenv("SECRET_KEY", "a2V5IG9mIHRoZSB0ZXN0cywgdGhpcnR5IHR3byBieXQ=")
    monkeypatch.setenv("BOT_TOKEN", "123:abc")

    environment = darkroom._environment() or {}

    assert set(environment) == {"PYTHONPATH"}
    assert await clean(sqlite_sessions, picture())


async def test_one_picture_at_a_time(sqlite_sessions, monkeypatch):
    at_once, most = 0, 0
    in_a_child = darkroom._in_a_child

    async def counted(content: bytes) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await in_a_child(content)
        finally:
            at_once -= 1

    monkeypatch.setattr(darkroom, "_in_a_child", counted)
    room = Darkroom()
    await asyncio.gather(*(clean(sqlite_sessions, picture(size=(8, number + 1)), room) for number in range(4)))

    assert most == 1


async def test_a_picture_that_hangs_is_given_up_and_its_child_is_gone(sqlite_sessions, monkeypatch, tmp_path):
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import os, sys, time\nopen(sys.argv[0] + '.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    monkeypatch.setattr(pictures, "__file__", str(stuck))
    monkeypatch.setattr(darkroom, "_SECONDS", 1)

    with pytest.raises(TooLarge):
        await clean(sqlite_sessions, picture())

    assert not _lives(f"{stuck}.pid")


def _lives(written: str) -> bool:
    try:
        os.kill(int(Path(written).read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_picture_that_ends_the_process_is_not_in_a_crash_loop(sessions, monkeypatch):
    """The attempt is written down before it is made: what ended the machine twice is refused, others are not."""
    deadly, harmless = picture(size=(9, 9)), picture(size=(5, 5))

    class PowerCut(BaseException):
        pass

    async def ends_the_machine(content: bytes) -> bytes:
        raise PowerCut

    async def nothing_more_is_written(*_: object) -> None:
        raise PowerCut

    for _ in range(2):
        with monkeypatch.context() as cut:
            cut.setattr(darkroom, "_in_a_child", ends_the_machine)
            cut.setattr(darkroom, "forget_attempts", nothing_more_is_written)
            with pytest.raises(PowerCut):
                await clean(sessions, deadly)

    with pytest.raises(TooLarge):
        await clean(sessions, deadly)
    assert await clean(sessions, harmless)


async def test_a_picture_that_came_to_an_end_leaves_nothing_behind(sessions):
    for content in (picture(), b"no picture", bomb("RGBA")):
        with contextlib.suppress(NotAPicture):
            await clean(sessions, content)

    async with sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Trouble))


async def test_whoever_sent_a_bomb_is_told_and_the_draft_goes_on(telegram_world: World):
    nam = await telegram_world.person("nam")
    await nam.sends("/baotin")
    await nam.sends_document(bomb("RGBA"), name="anh.png")

    nam.sees(phrase("media.too_many_pixels"))

    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    nam.sees("Mã tin")


async def test_opening_a_picture_takes_less_than_a_second_where_nothing_is_wrong(sqlite_sessions):
    await clean(sqlite_sessions, picture())
    began = time.monotonic()
    await clean(sqlite_sessions, picture(size=(1280, 960)))
    assert time.monotonic() - began < 3  # measured 0.2 s; a loaded machine takes longer
