"""A real Chromium in front of the real demo: one of each for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.browser.phone import CHROMIUM_FLAGS, Overheard, Visit
from tests.processes import BotProcess, starting

#: How long the page may take to show what it promises, milliseconds.
PATIENCE = 15_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser lives as long as the run, so every test here shares the loop it lives on."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


_CUT_SHORT = "Task was destroyed but it is pending!"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    """A Chromium."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def demo_process(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BotProcess]:
    """A demo that serves."""
    async with starting(tmp_path_factory.mktemp("demo"), {}, "--port", "0", module="demo") as process:
        process.port = int((await process.says(r"http://127\.0\.0\.1:(\d+)/"))[1])
        yield process
        assert await process.terminates() == 0
        # What asyncio notes when a page went away in the middle of a line is no incident: nobody waits for the rest.
        incidents = [line for line in process.output.splitlines() if "error" in line and _CUT_SHORT not in line]
        assert not incidents, process.output


@pytest_asyncio.fixture(loop_scope="session")
async def demo(demo_process: BotProcess) -> str:
    """The address of the demo, where nothing has happened yet."""
    async with (
        aiohttp.ClientSession(headers={"Origin": demo_process.url}) as session,
        session.post(f"{demo_process.url}/demo/reset", json={}) as answer,
    ):
        assert answer.status == 200
    return demo_process.url


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Opens a browser of somebody's own; none of them may have complained about anything at the end."""
    async with AsyncExitStack() as stack:
        heard: list[Overheard] = []

        async def open_browser(width: int = 390, height: int = 844, **options: object) -> BrowserContext:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                **{"locale": "vi-VN", "reduced_motion": "reduce", **options},  # type: ignore[arg-type]
            )
            context.set_default_timeout(PATIENCE)
            stack.push_async_callback(context.close)
            heard.append(Overheard(context))
            return context

        yield open_browser
        for overheard in heard:
            assert overheard.complaints == []
