"""The demo page as a newcomer uses it: by clicking."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.browser.phone import enrols, phone_in, reports, sends_notice

NOTICE = "Cảnh giác kẻ gian giả nhân viên điện lực\nXem thẻ trước khi mở cửa phòng kỹ thuật."
REPORT = "Có hai người lạ thử khoá xe ở bãi gửi sau chợ."


async def test_the_five_steps_by_clicking(demo, visit):
    page = await (await visit(1440, 900)).new_page()
    await page.goto(demo)
    owner, citizen, duty, commander = (phone_in(page, role) for role in ("owner", "citizen", "duty", "commander"))

    await enrols(owner)

    await commander.hears("Cơ sở mới đăng ký", "Nhà nghỉ Hoa Sen")
    await commander.presses("Duyệt")
    await owner.hears("Nhà nghỉ Hoa Sen", "đã được duyệt")

    await sends_notice(commander, NOTICE)
    number = await (await owner.hears("Cảnh giác kẻ gian")).get_attribute("data-id")

    await owner.presses("Đã nhận")
    notice = owner.log.locator(f'[data-testid="message"][data-id="{number}"]')
    await expect(notice).to_contain_text("✅ Nhà nghỉ Hoa Sen đã nhận lúc")  # in the very same bubble
    await expect(owner.saying("Cảnh giác kẻ gian")).to_have_count(1)
    await expect(owner.button("Đã nhận")).to_have_count(0)
    await commander.hears("đã gửi tới", "đã xác nhận 1")

    await citizen.root.get_by_role("button", name="Bắt đầu").click()
    await citizen.presses("Báo tin", "Có người đang gặp nguy hiểm")
    await citizen.asks(REPORT, "Đã ghi 1 tin")
    await citizen.presses("Gửi", "Đã nhận lúc", "Mã tin")
    await duty.hears("Tin mới", REPORT)
    await duty.presses("Nhận xử lý")
    await citizen.hears("Cán bộ trực đã tiếp nhận tin")


async def test_a_report_nobody_takes_goes_on_when_time_passes(demo, visit):
    page = await (await visit(1440, 900)).new_page()
    await page.goto(demo)
    citizen, duty, commander = (phone_in(page, role) for role in ("citizen", "duty", "commander"))
    clock = page.locator("#now")
    await expect(clock).to_have_text(re.compile(r"\d\d:\d\d$"))
    began = await clock.text_content() or ""
    await reports(citizen, REPORT)
    await duty.hears("Tin mới", "Chưa ai nhận. Sau 5 phút")
    await expect(commander.saying(REPORT)).to_have_count(0)

    await page.get_by_role("button", name="+5 phút").click()

    await commander.hears(REPORT, "Tin đã chờ 5 phút")
    await expect(clock).not_to_have_text(began)
