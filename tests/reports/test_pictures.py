"""A clean view copy of a picture: same pixels, nothing else."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from media.pictures import NotAPicture, clean_picture
from tests.worlds import picture

SECRET = "10.7769, 106.7009"


def encoded(kind: str, **more) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), (10, 200, 30)).save(out, kind, **more)
    return out.getvalue()


def with_text() -> PngInfo:
    about = PngInfo()
    about.add_text("Comment", SECRET)
    return about


@pytest.mark.parametrize(
    "content",
    [
        picture(exif={0x010E: SECRET, 0x010F: "LanPhone"}),
        encoded("PNG", pnginfo=with_text()),
        encoded("JPEG", comment=SECRET.encode()),
        encoded("JPEG", icc_profile=SECRET.encode()),
        encoded("WEBP", exif=Image.Exif().tobytes() + SECRET.encode()),
        encoded("GIF", comment=SECRET.encode()),
        encoded("JPEG") + SECRET.encode(),
    ],
    ids=["exif", "png text", "jpeg comment", "icc profile", "webp exif", "gif comment", "after the end"],
)
def test_nothing_but_pixels_survives(content):
    assert SECRET.encode() in content or b"LanPhone" in content
    clean = clean_picture(content)
    assert SECRET.encode() not in clean and b"LanPhone" not in clean
    opened = Image.open(io.BytesIO(clean))
    assert (opened.format, opened.size in ((30, 20), (8, 6))) == ("JPEG", True)
    assert not opened.getexif() and "icc_profile" not in opened.info


def test_a_picture_taken_sideways_stands_upright():
    image = Image.new("RGB", (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(clean_picture(out.getvalue()))).size == (20, 30)


def test_a_huge_picture_is_made_smaller():
    out = io.BytesIO()
    Image.new("RGB", (4000, 1000)).save(out, "JPEG")
    assert Image.open(io.BytesIO(clean_picture(out.getvalue()))).size == (2560, 640)


def test_transparency_becomes_opaque():
    out = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(out, "PNG")
    assert Image.open(io.BytesIO(clean_picture(out.getvalue()))).mode == "RGB"


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\xff\xd8\xff", b"<svg xmlns='http://www.w3.org/2000/svg'/>", encoded("TIFF"), encoded("PNG")[:60]],
    ids=["nothing", "text", "cut jpeg", "svg", "tiff", "cut png"],
)
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(NotAPicture):
        clean_picture(content)


def test_a_bomb_is_refused_before_it_is_unpacked():
    out = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(out, "PNG")
    with pytest.raises(NotAPicture):
        clean_picture(out.getvalue())
