"""The key ring: what is written to disk sealed, and how it is opened again."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class CannotUnseal(Exception):
    """The sealed bytes were changed, belong elsewhere, or their key is not on the ring."""


class KeyRing:
    """Seals with the first master key and opens with any of them.

    Every purpose has its own AES-256-GCM key, derived with HKDF-SHA256. A sealed value is
    `version (1) · key id (4) · nonce (12) · ciphertext and tag`; `bound_to` is authenticated with it, so a value
    moved to another row does not open.
    """

    def __init__(self, masters: Sequence[bytes]) -> None:
        if not masters or any(len(master) != KEY_BYTES for master in masters):
            raise ValueError(f"a master key is {KEY_BYTES} bytes")
        self._masters = [_Master(master) for master in masters]

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """A ring from comma-separated base64 keys; raises ValueError for anything else."""
        return cls([b64decode(part.strip(), validate=True) for part in text.split(",")])

    def seal(self, purpose: str, plain: bytes, *, bound_to: str) -> bytes:
        """`plain`, readable only with this ring, this purpose and the same `bound_to`."""
        return self._masters[0].seal(purpose, plain, bound_to)

    def unseal(self, purpose: str, sealed: bytes, *, bound_to: str) -> bytes:
        """What was sealed; raises CannotUnseal."""
        for master in self._masters:
            if sealed[:5] == _VERSION + master.id:
                return master.unseal(purpose, sealed, bound_to)
        raise CannotUnseal(purpose)

    def seal_text(self, purpose: str, plain: str, *, bound_to: str) -> str:
        """Like `seal`, from text to URL-safe text."""
        return urlsafe_b64encode(self.seal(purpose, plain.encode(), bound_to=bound_to)).decode()

    def unseal_text(self, purpose: str, sealed: str, *, bound_to: str) -> str:
        """Like `unseal`, from what `seal_text` made."""
        return self.unseal(purpose, urlsafe_b64decode(sealed), bound_to=bound_to).decode()

    def fingerprint(self, purpose: str, *parts: str) -> str:
        """A keyed hash (32 hex digits) to find something again without storing it.

        The last key of the ring is used, so that adding a new first key does not lose what is stored.
        """
        return self._masters[-1].fingerprint(purpose, parts)


class _Master:
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._derived: dict[str, bytes] = {}
        self._ciphers: dict[str, AESGCM] = {}

    @cached_property
    def id(self) -> bytes:
        return hashlib.sha256(b"binhyen key id" + self._key).digest()[:4]

    def _sub_key(self, purpose: str) -> bytes:
        if purpose not in self._derived:
            self._derived[purpose] = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._key)
        return self._derived[purpose]

    def _cipher(self, purpose: str) -> AESGCM:
        if purpose not in self._ciphers:
            self._ciphers[purpose] = AESGCM(self._sub_key(purpose))
        return self._ciphers[purpose]

    def seal(self, purpose: str, plain: bytes, bound_to: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + self.id + nonce + self._cipher(purpose).encrypt(nonce, plain, bound_to.encode())

    def unseal(self, purpose: str, sealed: bytes, bound_to: str) -> bytes:
        nonce, body = sealed[5 : 5 + _NONCE_BYTES], sealed[5 + _NONCE_BYTES :]
        try:
            return self._cipher(purpose).decrypt(nonce, body, bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise CannotUnseal(purpose) from error

    def fingerprint(self, purpose: str, parts: Sequence[str]) -> str:
        message = "\x1f".join(parts).encode()
        return hmac.new(self._sub_key("fingerprint:" + purpose), message, hashlib.sha256).hexdigest()[:32]


def padded(plain: bytes, *, least: int = 256) -> bytes:
    """`plain` made as long as the next power of two, at least `least`: a size in the open then says next to nothing of
    what is sealed, nor which of two sealed things is the same."""
    size = max(least, 1 << len(plain).bit_length())
    return plain + b"\x80" + bytes(size - len(plain) - 1)


def unpadded(longer: bytes) -> bytes:
    """What `padded` was given."""
    return longer[: longer.rindex(b"\x80")]


def new_master_key() -> str:
    """A fresh master key, base64."""
    return b64encode(secrets.token_bytes(KEY_BYTES)).decode()
