"""What of a report is encrypted under which key; its pseudonym and its receipt code.

Every report has a random data key, wrapped by the key ring and bound to the report's number. Its parts are sealed
under that key alone: erasing the wrapped key erases the report wherever copies of the parts lie. The link to the chat
it came from is sealed under a purpose of its own, so that whoever may open parts need not be able to open links.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from channels.port import Recipient
from db.sealing import CannotUnseal, KeyRing, padded, unpadded

_NONCE_BYTES = 12
CODE_DIGITS = 16
_PREFIX_DIGITS = 5
_CODE = re.compile(rf"(?<![0-9])(?:[0-9][\s.,_-]*){{{CODE_DIGITS - 1}}}[0-9](?![0-9])")
# RFC 9106's second recommendation is 64 MiB; 16 digits of entropy allow the lighter setting of OWASP's sheet
# (19 MiB, 2 passes), which an old office computer bears. Read 2026-11.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def new_data_key(keys: KeyRing, number: str) -> bytes:
    """A fresh data key for the report of that number, wrapped."""
    return keys.seal("report-key", AESGCM.generate_key(bit_length=256), bound_to=number)


class ReportBox:
    """Seals and opens the parts of one report."""

    def __init__(self, keys: KeyRing, number: str, data_key: bytes) -> None:
        self._cipher = AESGCM(keys.unseal("report-key", data_key, bound_to=number))

    def seal(self, value: dict[str, Any], *, part_id: int) -> bytes:
        """JSON values, sealed and bound to the part."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        body = json.dumps(value, ensure_ascii=False).encode()
        return nonce + self._cipher.encrypt(nonce, padded(body), str(part_id).encode())

    def unseal(self, sealed: bytes, *, part_id: int) -> dict[str, Any]:
        """What `seal` was given; raises CannotUnseal."""
        try:
            body = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], str(part_id).encode())
        except (InvalidTag, ValueError) as error:
            raise CannotUnseal("report-part") from error
        value: dict[str, Any] = json.loads(unpadded(body))
        return value


@dataclass(frozen=True, slots=True)
class Link:
    """The chat a report came from, and when that is forgotten."""

    chat: Recipient
    dies_at: datetime


def seal_link(keys: KeyRing, number: str, link: Link) -> bytes:
    """A link, sealed; chats of all lengths come out alike."""
    plain = json.dumps([str(link.chat), link.dies_at.isoformat()]).encode()
    return keys.seal("report-link", padded(plain), bound_to=number)


def unseal_link(keys: KeyRing, number: str, sealed: bytes) -> Link:
    """What `seal_link` was given; raises CannotUnseal."""
    try:
        chat, dies_at = json.loads(unpadded(keys.unseal("report-link", sealed, bound_to=number)))
        return Link(Recipient.parse(chat), datetime.fromisoformat(dies_at))
    except (ValueError, TypeError) as error:
        raise CannotUnseal("report-link") from error


def new_code() -> str:
    """A receipt code: 16 random digits, no grouping."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


def show_code(code: str) -> str:
    """`4821 0937 5526 1840`."""
    return " ".join(code[start : start + 4] for start in range(0, CODE_DIGITS, 4))


def read_code(typed: str) -> str | None:
    """The code in what a person typed, whatever they put between the digits; None when it is none."""
    typed = _plain_digits(typed)
    digits = "".join(letter for letter in typed if letter.isascii() and letter.isdigit())
    strange = [letter for letter in typed if letter.isalpha()]
    return digits if len(digits) == CODE_DIGITS and not strange else None


def codes_in(text: str) -> list[str]:
    """Whatever could be a code anywhere in a text, however it is spaced."""
    return [re.sub(r"\D", "", found) for found in _CODE.findall(_plain_digits(text))]


def _plain_digits(text: str) -> str:
    """A text with the digits of every script, also full-width ones, as 0 to 9."""
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
        for letter in unicodedata.normalize("NFKC", text)
    )


def hash_code(code: str) -> str:
    """The slow hash that is stored (Argon2id)."""
    return _HASHER.hash(code)


def code_fits(code: str, stored: str) -> bool:
    """Whether a code is the one whose hash is stored."""
    try:
        return _HASHER.verify(stored, code)
    except (Argon2Error, InvalidHashError):
        return False


def code_prefix(keys: KeyRing, code: str) -> str:
    """20 bits of a keyed hash: enough to find the few reports a code may belong to, too few to prove anything."""
    return keys.fingerprint("report-code", code)[:_PREFIX_DIGITS]


def same_chat(one: Recipient, other: Recipient) -> bool:
    """Compare two chats in constant time."""
    return hmac.compare_digest(str(one).encode(), str(other).encode())
