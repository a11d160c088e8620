"""The view copy of a picture: the same pixels, nothing else, at a bearable cost."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from reports.pictures import NotAPicture, clean_picture
from tests.worlds import picture

_ORIENTATION = 0x0112
_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 100


@pytest.mark.parametrize("content", [b"", b"not a picture", b"<svg/>", _HEIC, picture()[:60]])
def test_what_is_no_picture_we_open_is_said_to_be_none(content: bytes):
    with pytest.raises(NotAPicture):
        clean_picture(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_taken_sideways_stands_upright_and_says_nothing_else(kind: str):
    tags = Image.Exif()
    tags[_ORIENTATION] = 6
    out = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 30, 30)).save(out, kind, exif=tags)

    with Image.open(io.BytesIO(clean_picture(out.getvalue()))) as clean:
        assert clean.size == (20, 40)
        assert not clean.getexif()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_pictures_of_every_sort_become_plain_ones_that_fit_a_screen(mode: str):
    out = io.BytesIO()
    Image.new(mode, (3000, 30)).save(out, "JPEG" if mode == "CMYK" else "PNG")

    with Image.open(io.BytesIO(clean_picture(out.getvalue()))) as clean:
        assert (clean.mode, clean.size) == ("RGB", (2560, 26))
