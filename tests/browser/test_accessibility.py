"""Without a mouse, without sight, in the dark: the page is still usable."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect

from tests.browser.phone import Phone, enrols, phone_in

REPORT = "Đèn đường ở bến đò không sáng."


async def test_reporting_and_taking_the_report_by_keyboard_alone(demo, visit):
    context = await visit(390, 844)
    citizen_page, duty_page = await context.new_page(), await context.new_page()
    citizen, duty = Phone(citizen_page), Phone(duty_page)
    await duty_page.goto(f"{demo}/demo/duty/")
    await citizen_page.goto(f"{demo}/demo/citizen/")
    await expect(citizen.box).to_be_focused()

    await types(citizen_page, "/baotin")
    await citizen.hears("Có người đang gặp nguy hiểm")
    await expect(citizen.box).to_be_focused()
    await types(citizen_page, REPORT)
    await citizen.hears("Đã ghi 1 tin")
    await tabs_to(citizen_page, citizen.button("Gửi").last, backwards=True)
    await citizen_page.keyboard.press("Enter")
    await citizen.hears("Đã nhận lúc", "Mã tin")

    await duty_page.bring_to_front()
    await duty.hears("Tin mới", REPORT)
    await duty_page.keyboard.press("Alt+ArrowUp")  # the shortcut that the box describes
    await expect(duty.button("Nhận xử lý")).to_be_focused()
    await expect_ring(duty_page)
    await duty_page.keyboard.press("Enter")
    await duty.hears(REPORT, "Đồng chí Đại uý Trần Hải nhận xử lý lúc")
    await expect(duty.button("Nhận xử lý")).to_have_count(0)
    await citizen_page.bring_to_front()
    await citizen.hears("Cán bộ trực đã tiếp nhận tin")


async def test_new_messages_are_read_aloud_and_old_ones_are_not(demo, visit):
    page = await (await visit()).new_page()
    await page.goto(f"{demo}/demo/duty/")
    phone = Phone(page)
    await phone.hears("Chào đồng chí")

    await expect(phone.log).to_have_attribute("aria-live", "polite")
    await expect(phone.log).to_have_attribute("aria-busy", "false")
    message = await phone.asks("/truc", "Đang trực")
    await expect(message).to_have_attribute("aria-label", re.compile(r"^Công an phường Sông Trăng, \d\d:\d\d$"))
    assert await message.evaluate("(node) => node.closest('[aria-live]').id") == "log"


async def test_everything_has_a_name(demo, visit):
    context = await visit(1440, 900)
    page = await context.new_page()
    await page.goto(demo)
    await enrols(phone_in(page, "owner"))

    for frame in page.frames:
        assert await frame.evaluate("document.documentElement.lang") == "vi"
        assert await frame.title()
        assert await frame.evaluate(_NAMELESS) == [], frame.url
        assert await frame.evaluate(_TWINS) == [], frame.url


#: What can be touched or looked at and has nothing a screen reader could say.
_NAMELESS = """() => [...document.querySelectorAll("button, a, textarea, iframe, img:not([alt])")]
    .filter((node) => node.checkVisibility())
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.title
        || [...(node.labels ?? [])].some((label) => label.textContent.trim())))
    .map((node) => node.outerHTML)"""
#: Ids given twice.
_TWINS = """() => [...document.querySelectorAll("[id]")].map((node) => node.id)
    .filter((id, index, all) => all.indexOf(id) !== index)"""


async def test_the_page_is_readable_in_both_schemes(demo, visit):
    for scheme in ("light", "dark"):
        page = await (await visit(390, 844, color_scheme=scheme)).new_page()
        await page.goto(f"{demo}/demo/duty/")
        phone = Phone(page)
        answer = await phone.asks("/trogiup", "Việc của cán bộ")

        parts = {
            "body": answer.locator(".text"),
            "time": answer.locator(".meta"),
            "command": answer.locator(".command").first,
            "own": phone.own.last.locator(".text"),
            "own time": phone.own.last.locator(".meta"),
            "button": phone.log.locator(".inline-button").first,
            "heading": page.get_by_role("heading", level=1),
            "call": page.locator(".call"),
        }
        contrasts = {name: await contrast(part) for name, part in parts.items()}
        assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}, scheme
        is_dark = await luminance_of_ground(answer.locator(".text")) < 0.2
        assert is_dark is (scheme == "dark")


async def types(page: Page, text: str) -> None:
    """Type and press Enter, wherever the focus is."""
    await page.keyboard.insert_text(text)
    await page.keyboard.press("Enter")


async def tabs_to(page: Page, target: Locator, *, backwards: bool = False) -> None:
    """Press Tab until `target` has the focus; every stop on the way shows where it is."""
    for _ in range(30):
        await page.keyboard.press("Shift+Tab" if backwards else "Tab")
        await expect_ring(page)
        if await target.evaluate("(node) => node === document.activeElement"):
            return
    raise AssertionError("Tab never gets there")


async def expect_ring(page: Page) -> None:
    """Whatever has the focus shows it: an outline of its own, or a frame around the field it is in."""
    assert await page.evaluate(
        """() => {
            const node = document.activeElement, style = getComputedStyle(node);
            const field = node.closest(".field");
            return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)
                || Boolean(field && getComputedStyle(field).boxShadow !== "none");
        }"""
    ), await page.evaluate("document.activeElement.outerHTML")


_COLOURS = """(node) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const read = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    let ground = node;
    while (ground && read(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
    const below = ground ? getComputedStyle(ground).backgroundColor : "white";
    return [read(getComputedStyle(node).color), read(below)];
}"""


async def contrast(node: Locator) -> float:
    """The contrast of a text with what lies under it, as WCAG reckons it (1 to 21)."""
    ink, ground = (luminance(*colour[:3]) for colour in await node.evaluate(_COLOURS))
    lighter, darker = max(ink, ground), min(ink, ground)
    return (lighter + 0.05) / (darker + 0.05)


async def luminance_of_ground(node: Locator) -> float:
    """How light the ground under a text is, 0 to 1."""
    _, ground = await node.evaluate(_COLOURS)
    return luminance(*ground[:3])


def luminance(red: int, green: int, blue: int) -> float:
    """Relative luminance of an sRGB colour. Source: WCAG 2.2, relative luminance."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in (red, green, blue))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
