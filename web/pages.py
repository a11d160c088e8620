"""What the pages are made from: what they know of the unit, which chat pages there are, and their templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import pass_context
from jinja2.runtime import Context
from starlette.templating import Jinja2Templates

from channels.wording import catalogue, plain
from texts.markup import parse
from web.edition import edition_of

#: Where `static` and `templates` are.
HERE = Path(__file__).parent
_SCRIPT = "page."


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
    """The templates. In all of them `say(key)` is a text in the page's `language`, `say_in(language, key)` one in
    another; `police` is the number to call, `words` are what the page's script says, and
    `edition` is where the scripts are."""
    templates = Jinja2Templates(directory=HERE / "templates")

    def say_in(language: str, key: str) -> str:
        return plain(language, key, police=settings.police)

    @pass_context
    def say(context: Context, key: str) -> str:
        return say_in(context["language"], key)

    templates.env.globals |= {
        "say": say,
        "say_in": say_in,
        "police": settings.police,
        "words": script_words(),
        "edition": edition_of(HERE / "static"),
    }
    return templates


@cache
def script_words() -> Mapping[str, Mapping[str, str]]:
    """What the script of the chat page says, by language and key: `page.…` of the catalogues, places not filled in."""
    texts = catalogue()
    return {
        language: {
            key.removeprefix(_SCRIPT): parse(texts.forms(language, key)[0])[0]
            for key in sorted(texts.keys(language))
            if key.startswith(_SCRIPT)
        }
        for language in texts.languages
    }
