"""What the web answers when it cannot do what was asked, in the visitor's language."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("vi", "en")

_SENTENCES: Mapping[str, tuple[str, str]] = {
    "empty": ("Tin đang trống. Hãy gõ chữ hoặc chọn tệp rồi gửi.", "This is empty. Write something or choose a file."),
    "too_long": (
        "Tin dài quá. Hãy chia làm nhiều tin, mỗi tin tối đa 4.000 ký tự (chú thích ảnh: 1.024).",
        "This is too long. Split it into parts of at most 4,000 characters (captions: 1,024).",
    ),
    "bad_request": (
        "Trang chưa hiểu yêu cầu này. Hãy tải lại trang rồi thử lại.",
        "The page did not understand this. Reload it and try again.",
    ),
    "old_button": (
        "Nút này không còn dùng được. Hãy xem tin mới nhất bên dưới.",
        "This button no longer works. See the newest message below.",
    ),
    "no_chat": ("Hãy tải lại trang để tiếp tục trò chuyện.", "Reload the page to go on."),
    "cross_site": (
        "Yêu cầu đến từ trang khác nên không được nhận. Hãy mở trang này trực tiếp.",
        "This came from another site and was refused. Open this page directly.",
    ),
    "not_found": ("Không tìm thấy. Tệp có thể đã được xoá.", "Not found. The file may have been deleted."),
    "too_large": ("Tệp lớn quá. Mỗi tệp tối đa 20 MB.", "This file is too large. The limit is 20 MB."),
    "not_json": (
        "Trang chưa hiểu yêu cầu này. Hãy tải lại trang rồi thử lại.",
        "The page did not understand this. Reload it and try again.",
    ),
    "too_fast": (
        "Đang nhận nhiều tin quá. Chờ vài giây rồi gửi lại; nội dung vẫn còn. Việc gấp: gọi {police}.",
        "Too many messages at once. Wait a few seconds and send again; nothing is lost. Urgent: call {police}.",
    ),
    "outage": (
        "Xin lỗi, hệ thống gặp lỗi. Nội dung vẫn còn; thử lại sau ít phút. Việc gấp: gọi {police}.",
        "Sorry, something went wrong. Your text is kept; try again in a few minutes. Urgent: call {police}.",
    ),
}


class Refused(Exception):
    """The request is answered with this code's sentence; `wait` is for "too_fast", seconds."""

    def __init__(self, code: str, *, wait: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.wait = wait


def sentence(language: str, code: str, *, police: str) -> str:
    """The sentence for a code of the HTTP contract; Vietnamese unless `language` is "en". `police`: whom to call."""
    return _SENTENCES[code][language == "en"].replace("{police}", police)


def preferred_language(accept: str) -> str:
    """The one of our languages an Accept-Language header likes best; Vietnamese when it names none."""
    wishes = []
    for wish in accept.split(","):
        tag, _, weight = wish.strip().partition(";q=")
        wishes.append((-_weight(weight), tag[:2].lower()))
    liked = [tag for _, tag in sorted(wishes, key=lambda wish: wish[0]) if tag in LANGUAGES]
    return liked[0] if liked else "vi"


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
