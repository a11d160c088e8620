"""One person's chat page, as that person sees and touches it."""

from __future__ import annotations

import re
from typing import Any, Protocol

from playwright.async_api import BrowserContext, ConsoleMessage, FrameLocator, Locator, Page, expect

#: Chromium without a sandbox of its own (containers have none to give) and without asking after the outside world.
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: What Chromium itself notes while a test has the network or the server away.
_OUTAGE = re.compile(
    r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING)"
)


class Visit(Protocol):
    """Opens a browser with a profile of its own; options as for Playwright's new_context."""

    async def __call__(self, width: int = 390, height: int = 844, **options: Any) -> BrowserContext:
        """A browser whose window is `width` by `height` CSS pixels."""


class Overheard:
    """What the pages of one browser complain about: errors of scripts, refused contents, anything on the console."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.expects_outage = False
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(f"{error.error}"))
        context.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _OUTAGE.search(message.text):
            self.complaints.append(f"{message.type}: {message.text}")


class Phone:
    """A chat page: a page of its own, or a frame of the demo."""

    def __init__(self, root: Page | FrameLocator) -> None:
        self.root = root
        self.log = root.get_by_role("log")
        self.box = root.get_by_test_id("box")
        #: What the bot says, oldest first.
        self.messages = self.log.locator('[data-testid="message"][data-from="bot"]')
        #: What this person has sent.
        self.own = self.log.locator('[data-testid="message"][data-from="me"]')

    async def writes(self, text: str) -> None:
        """Type `text` and press the send button."""
        await self.box.fill(text)
        await self.root.get_by_test_id("send").click()

    async def asks(self, text: str, *answer: str) -> Locator:
        """Type `text`, send it, and wait for the bot's answer to it, which has all these words."""
        await self.writes(text)
        return await self.hears(*answer)

    async def presses(self, label: str, *answer: str) -> None:
        """Press the newest button with this label, then wait for a message with these words."""
        await self.button(label).last.click()
        if answer:
            await self.hears(*answer)

    async def hears(self, *words: str) -> Locator:
        """The newest of the bot's messages that have all these words, as soon as there is one."""
        message = self.saying(*words).last
        await expect(message).to_be_visible()
        return message

    def saying(self, *words: str) -> Locator:
        """All of the bot's messages that have these words."""
        found = self.messages
        for word in words:
            found = found.filter(has_text=word)
        return found

    def button(self, label: str) -> Locator:
        """The buttons under messages that are named exactly so."""
        return self.log.get_by_role("button", name=label, exact=True)


def phone_in(page: Page, role: str) -> Phone:
    """One of the phones on the demo page."""
    return Phone(page.frame_locator(f"#phone-{role} iframe"))


async def enrols(owner: Phone, name: str = "Nhà nghỉ Hoa Sen") -> None:
    """Register a place, from the first button to the confirmation."""
    await owner.root.get_by_role("button", name="Bắt đầu").click()
    await owner.presses("Đăng ký cơ sở", "loại nào")
    await owner.presses("Nhà nghỉ", "Tên cơ sở")
    await owner.asks(name, "địa chỉ nào")
    await owner.asks("12 đường Bến Trăng", "Số điện thoại")
    await owner.asks("0912 345 678", "khu vực nào")
    await owner.presses("Khu phố 3", "12 đường Bến Trăng", "Đồng ý")
    await owner.presses("Đồng ý", "Đã gửi đăng ký", name)


async def sends_notice(commander: Phone, text: str) -> None:
    """Write a notice to all guesthouses, asking for confirmation, and send it."""
    await commander.asks("/soan", "Soạn thông báo")
    await commander.asks(text, "Kèm ảnh")
    await commander.presses("Bỏ qua", "nhóm nào")
    await commander.log.get_by_role("button", name=re.compile(r"^Nhà nghỉ \(")).last.click()
    await commander.hears("phản hồi")
    await commander.presses("Cần bấm “Đã nhận”", "Gửi lúc nào")
    await commander.presses("Gửi ngay", "đúng như cơ sở sẽ thấy")
    await commander.presses("Gửi", "đã gửi tới")


async def reports(citizen: Phone, text: str) -> None:
    """Report something and wait for the receipt."""
    await citizen.asks("/baotin", "Có người đang gặp nguy hiểm")
    await citizen.asks(text, "Đã ghi 1 tin")
    await citizen.presses("Gửi", "Đã nhận lúc", "Mã tin")
