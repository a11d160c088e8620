"""What the pages are made from: what they know of the unit, which chat pages there are, and their templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starlette.templating import Jinja2Templates

#: Where `static` and `templates` are.
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the pages need to know of the unit."""

    unit_name: str
    public_url: str | None = None
    timezone: str = "Asia/Ho_Chi_Minh"
    police: str = "113"

    @property
    def is_https(self) -> bool:
        """Whether the world sees us over TLS."""
        return (self.public_url or "").startswith("https://")


@dataclass(frozen=True, slots=True)
class ChatPage:
    """A chat page at one base path.

    `address` binds the page to one chat whoever opens it (the demo's persons); else the visitor's cookie decides.
    """

    address: str | None = None
    title: str | None = None
    cookie: str = "by_chat"


def templates_for(settings: WebSettings) -> Jinja2Templates:
    """The templates, which may all name the number to call."""
    templates = Jinja2Templates(directory=HERE / "templates")
    templates.env.globals["police"] = settings.police
    return templates
