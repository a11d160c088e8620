"""A clean view copy of a picture: same pixels, nothing else.

Run as a script it is the child process of `media.darkroom`: a picture on stdin becomes a clean one on stdout. It
imports nothing of ours, so that the child starts fast and knows no secret.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 60_000_000
#: The same where no limit can be set on memory: the worst format takes 16 bytes a pixel (measured, WebP).
_MOST_PIXELS_UNGUARDED = 16_000_000
_LONGEST_SIDE = 2560
#: Modes that can be made smaller before they are converted, which is what keeps large ones cheap.
_SHRINKS_AS = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA"}

#: The child's limits: memory and CPU time. A picture of 12 megapixels fits in any format, one of 50 as a plain JPEG.
MEMORY_BYTES = 256 * 1024 * 1024
CPU_SECONDS = 20
#: What the child's exit codes say.
DONE, NOT_A_PICTURE, TOO_LARGE = 0, 3, 4


class NotAPicture(Exception):
    """The bytes are no picture of a kind we open, or a bomb."""


class TooLarge(NotAPicture):
    """It may well be a picture, but opening it takes more memory or time than we give."""


def clean_picture(content: bytes, *, most_pixels: int = _MOST_PIXELS) -> bytes:
    """The picture as a fresh JPEG without EXIF, position, comments or thumbnails; slow and hungry: `media.darkroom`
    calls it where it can do no harm.

    Raises:
        NotAPicture: unreadable, or another format.
        TooLarge: more pixels than any camera makes, or than memory holds.
    """
    # Imported here: pictures are rare, and the start should not pay for them.
    from PIL import Image, ImageOps

    pixels = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                pixels = opened.width * opened.height
                if pixels > most_pixels:
                    raise TooLarge("too many pixels")
                # Made small before anything else: every copy of the largest we take is 240 MB.
                opened.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
                mode = _SHRINKS_AS.get(opened.mode, "RGB")
                small = opened if opened.mode == mode else opened.convert(mode)
                small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
                upright = ImageOps.exif_transpose(small)
            fresh = Image.new("RGB", upright.size)
            fresh.paste(upright if upright.mode == "RGB" else upright.convert("RGB"))
            out = io.BytesIO()
            fresh.save(out, "JPEG", quality=88)
        except NotAPicture:
            raise
        except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise TooLarge("too many pixels") from error
        except (OSError, ValueError, SyntaxError) as error:
            # Some decoders say only that they failed when memory has run out.
            kind = TooLarge if pixels > _MOST_PIXELS_UNGUARDED else NotAPicture
            raise kind("not readable") from error
    return out.getvalue()


def _limited() -> bool:
    """Set the child's limits; False where the system does not let us (Windows, some sandboxes)."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # if memory runs out all the same, this is the process to end
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, OSError, ValueError):
        return False
    return True


def _child() -> int:
    most = _MOST_PIXELS if _limited() else _MOST_PIXELS_UNGUARDED
    try:
        clean = clean_picture(sys.stdin.buffer.read(), most_pixels=most)
    except (TooLarge, MemoryError):
        return TOO_LARGE
    except NotAPicture:
        return NOT_A_PICTURE
    sys.stdout.buffer.write(clean)
    sys.stdout.buffer.flush()
    return DONE


if __name__ == "__main__":
    sys.exit(_child())
