"""The public page of a notice: is it genuine?"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from broadcasts.notices import find_notice
from db.engine import Sessions
from texts.markup import parse
from texts.times import say_when
from web.pages import WebSettings

#: Longer than any number we give out.
_LONGEST = 20


def notice_routes(*, sessions: Sessions, settings: WebSettings, templates: Jinja2Templates) -> list[Route]:
    """`GET /tb/<number>`: text, unit and time of a notice that was sent; 404 and advice for any other number."""
    zone = ZoneInfo(settings.timezone)

    async def show(request: Request) -> Response:
        number = request.path_params.get("number", request.query_params.get("number", ""))[:_LONGEST]
        language = "en" if request.query_params.get("lang") == "en" else "vi"
        async with sessions.reading() as session:
            notice = await find_notice(session, number) if number else None
        shown = None
        if notice is not None and notice.sent_at is not None:
            shown = {
                "number": notice.number,
                "unit": settings.unit_name,
                "at": say_when(notice.sent_at, zone, language),
                "text": parse(notice.html)[0],
            }
        context = {"language": language, "unit_name": settings.unit_name, "number": number, "notice": shown}
        return templates.TemplateResponse(request, "notice.html", context, status_code=200 if shown else 404)

    return [Route(path, show) for path in ("/tb", "/tb/", "/tb/{number}", "/tb/{number}/")]
