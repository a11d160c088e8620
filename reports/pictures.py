"""A clean view copy of a picture: same pixels, nothing else."""

from __future__ import annotations

import io
import warnings

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 60_000_000
_LONGEST_SIDE = 2560


class NotAPicture(Exception):
    """The bytes are no picture of a kind we open, or a bomb."""


def clean_picture(content: bytes) -> bytes:
    """The picture as a fresh JPEG without EXIF, position, comments or thumbnails; slow, call it in a thread.

    Raises:
        NotAPicture: unreadable, another format, or more pixels than any camera makes.
    """
    # Imported here: pictures are rare, and the start should not pay for them.
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    raise NotAPicture("too many pixels")
                # Made small before anything else: every copy of the largest we take is 240 MB.
                opened.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
                small = opened if opened.mode == "RGB" else opened.convert("RGB")
                small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
                upright = ImageOps.exif_transpose(small)
        except NotAPicture:
            raise
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise NotAPicture("not readable") from error
    fresh = Image.new("RGB", upright.size)
    fresh.paste(upright)
    out = io.BytesIO()
    fresh.save(out, "JPEG", quality=88)
    return out.getvalue()
