"""The smallest phones we promise to serve: 320 CSS pixels wide."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.browser.phone import Phone, enrols, phone_in


async def test_enrolling_at_320_pixels(demo, visit):
    page = await (await visit(320, 568, has_touch=True, is_mobile=True)).new_page()
    await page.goto(f"{demo}/chat/")

    await enrols(Phone(page))

    await expect_no_sideways_scrolling(page)
    await page.get_by_test_id("attach").click()
    await expect(page.get_by_role("group", name="Gửi kèm")).to_be_visible()
    await expect_no_sideways_scrolling(page)


async def test_a_long_word_wraps_at_320_pixels(demo, visit):
    page = await (await visit(320, 568)).new_page()
    await page.goto(f"{demo}/chat/")

    await Phone(page).asks("A" * 300 + " https://" + "b" * 200 + ".vn/", "Muốn báo việc này")

    await expect_no_sideways_scrolling(page)


async def test_the_tabs_of_the_demo_at_320_pixels(demo, visit):
    page = await (await visit(320, 568)).new_page()
    await page.goto(demo)

    for tab, role in (("Dân", "citizen"), ("Trực", "duty"), ("Chỉ huy", "commander"), ("Chủ nhà", "owner")):
        await page.get_by_role("tab", name=tab).click()
        await expect(phone_in(page, role).box).to_be_visible()
        await expect_no_sideways_scrolling(page)
        await page.locator(f"#phone-{role} iframe").scroll_into_view_if_needed()
    await expect(page.locator("#phone-citizen")).to_be_hidden()

    await page.get_by_text("Thử năm bước này").click()
    await expect_no_sideways_scrolling(page)


async def expect_no_sideways_scrolling(page: Page) -> None:
    """Nothing in any frame of the page is wider than the place it has."""
    for frame in page.frames:
        overflowing = await frame.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll("body, body *")]
                .filter((node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 1)
                .filter((node) => node === document.documentElement
                    || ["auto", "scroll"].includes(getComputedStyle(node).overflowX))
                .map((node) => `${node.tagName}#${node.id}.${node.className}`)"""
        )
        assert overflowing == [], frame.url
        assert await frame.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
