"""What a sender's app says a file is may be anything, its owner's name as well: none of it is kept or sent on.

| promise | test |
|---|---|
| the type under which a file is kept, and goes to officers, is one of a short list | `..._telegram...`, `..._web...` |
| so is the ending of its name | the same |
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from channels.shapes import Upload
from db.engine import Sessions
from db.tables.deliveries import MediaRow
from db.tables.officers import Role
from media.files import _TYPES, known_type, load_media
from tests.conftest import KEYS
from tests.worlds import World, open_world

UNKNOWN = "application/octet-stream"
#: What is said → what is kept.
SAID = {
    "application/pdf": "application/pdf",
    "APPLICATION/Pdf": "application/pdf",
    "application/pdf; name=Nguyen-Van-Nam.pdf": "application/pdf",
    "audio/ogg;codecs=opus": "audio/ogg",
    " text/plain ;charset=utf-8": "text/plain",
    "": UNKNOWN,
    "nam@example.vn": UNKNOWN,
    "application/x-nguyen-van-nam": UNKNOWN,
    "text/html": UNKNOWN,
    "application/xhtml+xml; x": UNKNOWN,
    "application/pdf\r\nX-Owner: Nam": UNKNOWN,
    "application/pdf\x00": UNKNOWN,
    "text/plain\u202e": UNKNOWN,
    "x" * 100_000: UNKNOWN,
    "a/" + "b" * 300: UNKNOWN,
    ";" * 50: UNKNOWN,
}
NAMES = {"tep.pdf", "tep.mp3", "tep.ogg", "tep.m4a", "tep.bin", "ghi-am.ogg", "video.mp4"}


@pytest.fixture(params=["telegram", "web"])
async def either(request, engine, clock):
    """The house on each channel that carries files, on SQLite and on PostgreSQL."""
    async with open_world(Sessions(engine, KEYS), clock, [request.param]) as opened:
        yield opened


async def _kept(world: World) -> dict[str, str]:
    """The type of each kept file, by its name."""
    async with world.sessions.reading() as session:
        files = [await load_media(session, which) for which in await session.scalars(select(MediaRow.id))]
    return {file.name: file.mime for file in files}


def _says(world: World, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """The sender's app says so of whatever it uploads."""
    keep_file = world.port.gateway.keep_file

    async def saying(kind: Any, upload: Upload) -> Any:
        return await keep_file(kind, Upload(upload.name, said, upload.content))

    monkeypatch.setattr(world.port.gateway, "keep_file", saying)


def test_what_is_known_is_a_short_list():
    assert len(_TYPES) < 30
    assert {known_type(said) for said in SAID} <= {*_TYPES, UNKNOWN}
    assert {said: known_type(said) for said in SAID} == SAID


@pytest.mark.parametrize("said", [said for said in SAID if said.strip()], ids=lambda said: ascii(said)[:40])
async def test_a_telegram_document_or_web_upload_is_kept_and_sent_under_a_known_type(either: World, monkeypatch, said):
    world = either
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    with monkeypatch.context() as patched:
        if world.port.name == "telegram":
            _says(world, patched, said)
        elif said.isprintable() and len(said) < 1_000:  # what else there is, is no header that a browser sends
            world.port.file_type = said
        await nam.sends_document(b"\x07 neither one nor the other", name="nguyen-van-nam.exe")
    sent: list[Any] = []
    keep_file = world.port.gateway.keep_file

    async def noting(kind: Any, upload: Upload) -> Any:
        sent.append((upload.name, upload.mime))
        return await keep_file(kind, upload)

    monkeypatch.setattr(world.port.gateway, "keep_file", noting)
    await nam.presses("Gửi")

    kept = await _kept(world)
    # On the web a type is read from the bytes, whatever is said.
    expected = SAID[said] if world.port.name == "telegram" else UNKNOWN
    assert list(kept.values()) == [expected]
    assert set(kept) <= NAMES
    assert [kind for shown in duty.shown for kind, _, _ in shown.files] == ["document"]
    assert sent
    assert {name for name, _ in sent} <= NAMES
    assert {mime for _, mime in sent} <= {*_TYPES, UNKNOWN}
