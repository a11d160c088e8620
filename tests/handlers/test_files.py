"""What citizens send as files: told when it cannot be used, and never more than they meant to tell."""

from __future__ import annotations

import io

from PIL import Image

from db.tables.officers import Role
from tests.worlds import World, phrase, picture

_MADE_BY = 0x010F


async def test_a_picture_nobody_can_open_is_refused_with_a_sentence(telegram_world: World):
    nam = await telegram_world.person("nam")
    await nam.sends("/baotin")

    await nam.sends_photo(b"\xff\xd8\xff\xe0 torn on the way")

    nam.sees(phrase("media.unreadable"))
    assert not telegram_world.incidents


async def test_a_picture_sent_as_a_file_of_no_kind_shows_officers_its_pixels_only(telegram_world: World):
    lan = await telegram_world.officer("lan", Role.DUTY, on_duty=True)
    nam = await telegram_world.person("nam")
    await nam.sends("/baotin")
    await nam.sends_document(picture(exif={_MADE_BY: "Phone of Nam"}), name="x.bin")
    await nam.presses("Gửi")

    files = [file for shown in lan.shown for file in shown.files]

    assert [kind for kind, _, _ in files] == ["photo"]
    with Image.open(io.BytesIO(files[0][2])) as seen:
        assert not seen.getexif()
