"""The scripts of the pages, as they were when the process started: one version, under an address that names it."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: A page names its edition, so what lies under that name never changes. Seconds: a year.
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Script:
    plain: bytes
    packed: bytes


class Edition:
    """Every script below a folder, held in memory.

    A page is made of many modules, and they fit together only when they are of one version. So none of them is read
    from the disk again, where an upgrade may have begun, and one that is asked for under the name of another edition is
    not found. A browser that has an edition asks for nothing of it again; one that has not gets it packed, without
    waiting for a disk or a place.
    """

    def __init__(self, static: Path) -> None:
        found = {path.relative_to(static).as_posix(): path.read_bytes() for path in sorted(static.rglob("*.js"))}
        self._scripts = {name: _Script(plain, gzip.compress(plain, mtime=0)) for name, plain in found.items()}
        content = hashlib.sha256()
        for name, plain in found.items():
            content.update(f"{name}\0{len(plain)}\0".encode() + plain)
        self._root = f"/static/v-{content.hexdigest()[:16]}"

    def address(self, name: str) -> str:
        """Where a script is; `name` is its path below the folder."""
        return f"{self._root}/{name}"

    def modules(self, folder: str) -> list[str]:
        """The addresses of all scripts in a folder, for a page that loads them at once."""
        return [self.address(name) for name in self._scripts if name.rpartition("/")[0] == folder]

    def route(self) -> Route:
        """All of them; comes before other static files."""
        return Route(self._root + "/{name:path}", self._answer)

    async def _answer(self, request: Request) -> Response:
        script = self._scripts.get(request.path_params["name"])
        if script is None:
            return Response("not found", 404, media_type="text/plain")
        headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return Response(script.plain, headers=headers, media_type="text/javascript")
        return Response(script.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type="text/javascript")


@cache
def edition_of(static: Path) -> Edition:
    """The edition of this process: read at the first call, the same for every page."""
    return Edition(static)
