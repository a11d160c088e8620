"""What the chat page promises beyond words: edits in place, files, reconnection, and no surprises."""

from __future__ import annotations

import io
import re

from PIL import Image
from playwright.async_api import BrowserContext, expect

from tests.browser.phone import Phone, phone_in, reports
from tests.processes import running, sqlite_url

HOSTILE = (
    '<b>đậm</b> &amp; "nháy" \'<img src=x onerror=alert(1)> </div><script>alert(1)</script> javascript:alert(1) '
    "שלום \u202eevil\u202c 👩‍👩‍👧‍👦🇻🇳 e\u0301"
)


async def test_a_photo_reaches_the_officer_without_what_the_camera_wrote_into_it(demo, visit):
    page = await (await visit(1440, 900)).new_page()
    await page.goto(demo)
    citizen, duty = phone_in(page, "citizen"), phone_in(page, "duty")
    await citizen.asks("/baotin", "Có người đang gặp nguy hiểm")

    await citizen.root.locator("#pick-media").set_input_files(
        {"name": "anh.jpg", "mimeType": "image/jpeg", "buffer": photo()}
    )
    await expect(citizen.root.get_by_role("list", name="Sẽ gửi kèm")).to_contain_text("anh.jpg")
    await citizen.writes("Xe này đỗ từ đêm qua.")
    await expect(citizen.own.locator("img")).to_have_js_property("naturalWidth", 64)
    await citizen.hears("Đã ghi 1 tin")
    await citizen.presses("Gửi", "Đã nhận lúc")

    await duty.hears("Tin mới", "Xe này đỗ từ đêm qua.")
    image = duty.messages.locator("img").last
    await expect(image).to_have_js_property("naturalWidth", 64)
    source = await image.get_attribute("src")
    received = await (await page.request.get(f"{demo}{source}")).body()
    assert not Image.open(io.BytesIO(received)).getexif()
    assert b"Nokia" not in received


def photo() -> bytes:
    """A picture that tells which camera took it."""
    exif = Image.Exif()
    exif[0x010F] = "Nokia"
    target = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(target, "JPEG", exif=exif)
    return target.getvalue()


async def test_what_happened_while_the_network_was_away_appears(demo, visit):
    duty_context = await visit()
    duty_page = await duty_context.new_page()
    # An open stream outlives Playwright's set_offline, so this one never opens.
    await duty_page.route("**/api/events*", lambda route: route.abort("internetdisconnected"))
    await duty_page.goto(f"{demo}/demo/duty/")
    duty = Phone(duty_page)
    await duty.hears("Chào đồng chí")
    citizen_page = await (await visit()).new_page()
    await citizen_page.goto(f"{demo}/demo/citizen/")

    await duty_context.set_offline(True)
    await expect(duty_page.get_by_text("Mất kết nối, đang thử lại")).to_be_visible()
    await duty.writes("/truc")
    await expect(duty_page.get_by_role("button", name="Thử lại")).to_be_visible()
    await reports(Phone(citizen_page), "Tin gửi lúc mất mạng.")
    await expect(duty.saying("Tin gửi lúc mất mạng.")).to_have_count(0)
    await duty_page.unroute("**/api/events*")
    await duty_context.set_offline(False)

    await duty.hears("Tin gửi lúc mất mạng.")
    await duty.hears("Đang trực")
    await expect(duty_page.get_by_text("Mất kết nối, đang thử lại")).to_be_hidden()
    await expect(duty.own.filter(has_text="/truc")).to_have_count(1)


async def test_the_page_comes_back_by_itself_after_the_server_was_killed(tmp_path, visit):
    settings = {"DATABASE_URL": sqlite_url(tmp_path), "WEB_PORT": "0", "UNIT_NAME": "Công an Phường 2"}
    context: BrowserContext = await visit()
    page = await context.new_page()
    phone = Phone(page)
    async with running(tmp_path, settings) as server:
        port = server.port
        await page.goto(f"{server.url}/")
        await page.get_by_role("button", name="Bắt đầu").click()
        await phone.presses("Báo tin", "Có người đang gặp nguy hiểm")
        await phone.asks("Có khói ở tầng ba.", "Đã ghi 1 tin")
        await server.dies()
        await expect(page.get_by_text("Mất kết nối, đang thử lại")).to_be_visible()
        await phone.writes("Gần cầu thang.")
        await expect(page.get_by_role("button", name="Thử lại")).to_be_visible()

    async with running(tmp_path, settings | {"WEB_PORT": str(port)}) as server:
        await phone.hears("Đã ghi 2 tin")
        await expect(page.get_by_text("Mất kết nối, đang thử lại")).to_be_hidden()
        await expect(phone.own.filter(has_text="Gần cầu thang.")).to_have_count(1)
        await phone.presses("Gửi", "Đã nhận lúc")
        assert await server.terminates() == 0


async def test_what_was_typed_survives_a_reload(demo, visit):
    page = await (await visit()).new_page()
    await page.goto(f"{demo}/demo/citizen/")
    phone = Phone(page)
    await phone.box.fill("Một câu viết dở,\nhai dòng")

    await page.reload()

    await expect(phone.box).to_have_value("Một câu viết dở,\nhai dòng")


async def test_an_unsent_message_survives_a_reload_and_goes_out_once(demo, visit):
    context = await visit()
    page = await context.new_page()
    await page.goto(f"{demo}/demo/citizen/")
    phone = Phone(page)
    await page.get_by_role("button", name="Bắt đầu").click()
    await phone.hears("Chọn việc cần làm")
    await page.route("**/api/text", lambda route: route.abort("internetdisconnected"))
    await phone.writes("/khancap")
    await expect(page.get_by_role("button", name="Thử lại")).to_be_visible()
    await page.unroute("**/api/text")

    await page.reload()

    await phone.hears("114")
    await expect(phone.own.filter(has_text="/khancap")).to_have_count(1)
    await expect(phone.saying("114")).to_have_count(1)


async def test_hostile_text_is_shown_as_it_is(demo, visit):
    page = await (await visit(1440, 900)).new_page()
    await page.goto(demo)
    citizen, duty = phone_in(page, "citizen"), phone_in(page, "duty")

    await reports(citizen, HOSTILE)

    seen = re.sub("[\u202a-\u202e]", "", HOSTILE).replace("e\u0301", "é")  # overrides of direction are taken away
    await duty.hears("Tin mới", f"“{seen}”")
    await expect(citizen.own.filter(has_text=seen)).to_have_count(1)
    for phone in (citizen, duty):
        await expect(phone.log.locator("script, b, [onerror], img[src=x]")).to_have_count(0)


async def test_english_from_the_first_word_on(demo, visit):
    page = await (await visit(1440, 900, locale="en-GB")).new_page()
    await page.goto(demo)
    citizen = phone_in(page, "citizen")

    await expect(page.get_by_role("button", name="+5 minutes")).to_be_visible()
    await citizen.root.get_by_role("button", name="Start").click()
    await citizen.presses("Report", "Someone in danger right now?")
    await citizen.asks("A light is broken.", "Send")
    await citizen.presses("Send", "Received at")


async def test_switching_the_language_in_the_chat(demo, visit):
    page = await (await visit()).new_page()
    await page.goto(f"{demo}/chat/")
    phone = Phone(page)
    await page.get_by_role("button", name="Bắt đầu").click()

    await phone.presses("English", "We will write in English")

    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await phone.hears("/language")
    await expect(phone.log.get_by_role("button", name="/language")).to_be_visible()  # the menu's commands are English
    await expect(phone.box).to_have_attribute("placeholder", "Message")
    await page.reload()
    await expect(phone.box).to_have_attribute("placeholder", "Message")


#: Every script that was fetched for the page so far: its address, and how many bytes came over the network for it.
_SCRIPTS = """() => performance.getEntriesByType("resource")
    .filter((entry) => entry.name.endsWith(".js")).map((entry) => [entry.name, entry.transferSize])"""


async def test_every_script_comes_once_and_on_the_next_visit_none(demo, visit):
    context = await visit()
    page = await context.new_page()
    await page.goto(f"{demo}/chat/")
    await expect(page.get_by_role("button", name="Bắt đầu")).to_be_visible()
    first = await page.evaluate(_SCRIPTS)

    page = await context.new_page()
    await page.goto(f"{demo}/chat/")
    await expect(page.get_by_role("button", name="Bắt đầu")).to_be_visible()
    second = await page.evaluate(_SCRIPTS)

    assert len(first) > 20 and all(size > 0 for _, size in first)
    assert len({address for address, _ in first}) == len(first)
    assert {address: size for address, size in second if size} == {}
    assert len(second) == len(first)


async def test_a_file_that_cannot_be_sent_is_said_and_the_others_lie_in_the_tray(demo, visit):
    page = await (await visit()).new_page()
    await page.goto(f"{demo}/chat/")
    phone = Phone(page)

    await page.locator("#pick-file").set_input_files(
        [
            {"name": "trong.pdf", "mimeType": "application/pdf", "buffer": b""},
            {"name": "bien-ban.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"},
        ]
    )

    await expect(page.get_by_role("list", name="Sẽ gửi kèm")).to_contain_text("bien-ban.pdf")
    await expect(page.get_by_role("alert")).to_have_text("“trong.pdf” không có nội dung.")
    await phone.box.fill("Biên bản")
    await expect(page.locator("#problem")).to_be_hidden()  # what is written next takes it away


async def test_of_two_equal_messages_that_could_not_be_sent_both_go_out(demo, visit):
    page = await (await visit()).new_page()
    await page.goto(f"{demo}/demo/citizen/")
    phone = Phone(page)
    await phone.asks("/khancap", "114")
    await page.route("**/api/text", lambda route: route.abort("internetdisconnected"))
    await phone.writes("/khancap")
    await phone.writes("/khancap")
    await expect(page.get_by_role("button", name="Thử lại")).to_have_count(2)
    await page.unroute("**/api/text")

    await page.reload()

    await expect(phone.own.filter(has_text="/khancap")).to_have_count(3)
    await expect(phone.saying("114")).to_have_count(3)
    await expect(page.get_by_role("button", name="Thử lại")).to_have_count(0)
