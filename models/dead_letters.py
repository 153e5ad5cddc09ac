"""What becomes of records that are not used: `dead-letters` and `late`, as CONTRACTS v1 has them.

A dead letter keeps the record's bytes, which may hold personal data in the clear: they are encrypted when a key is
set, kept as they are only where the operator allows it (demo), and else left out.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.columns import RawRecord
from models.observations import DecodeFailure

NONCE_BYTES = 12
MAX_BODY_BYTES = 2 << 20  # in base64 2.7 MiB, within the topic's 4 MiB; a longer body is cut
MAX_KEY_BYTES = 4096  # what a step of the Desk keeps of a key, too; as long a one may be cut
MAX_HEADER_CHARACTERS = 1024  # of one header's value
MAX_HEADERS_CHARACTERS = 64 << 10  # of all names and values; in JSON six times that at most, so the letter still fits
KEY_CONTEXT = b"\x1fkey"  # so that a key and a body cannot stand for each other
PRIVATE_HEADERS = frozenset(("authorization", "cookie"))


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`dead-letters`. `body_b64` null: the bytes were not kept. Encrypted: nonce (12 bytes), ciphertext, tag (16).

    The key is kept as the body is; null where the record had none, too, and in letters from before it was kept."""

    topic: str
    partition: int
    offset: int
    stage: str
    reason: str
    path: str
    detail: str
    body_b64: str | None
    encrypted: bool
    headers: dict[str, str]
    key_b64: str | None = None


class LateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`late`: a record whose moment had already been decided. `value` is the record's own JSON."""

    topic: str
    partition: int
    offset: int
    late_by_s: float
    value: msgspec.Raw


class Vault:
    """AES-256-GCM under a key of any length. The core draws nothing, so the nonce is made of the key and of all that is
    encrypted (as AES-SIV does): the same letter gives the same bytes, different ones never share a nonce."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("the key of dead letters must not be empty")
        root = blake2b(key, digest_size=64, person=b"zhinao-letters").digest()
        self._cipher = AESGCM(root[:32])
        self._nonce_key = root[32:]

    def seal(self, clear: bytes, context: bytes) -> bytes:
        """nonce + ciphertext + tag; `context` is not kept but must be the same to open it."""
        digest = blake2b(digest_size=NONCE_BYTES, key=self._nonce_key)
        digest.update(len(context).to_bytes(8, "big") + context + clear)
        nonce = digest.digest()
        return nonce + self._cipher.encrypt(nonce, clear, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """ValueError where the key, the context or a byte is not the same."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except InvalidTag:
            raise ValueError("the dead letter was not sealed with this key, or was changed") from None


def dead_letter(
    topic: str, partition: int, record: RawRecord, failure: DecodeFailure, vault: Vault | None, keep_clear: bool = False
) -> DeadLetter:
    """The letter of a record that failed. Without a vault the bytes are kept only if `keep_clear`."""
    body = None if record.value is None else record.value[:MAX_BODY_BYTES]
    key = None if record.key is None else record.key[:MAX_KEY_BYTES]
    if vault is not None:
        context = letter_context(topic, partition, record.offset)
        body = None if body is None else vault.seal(body, context)
        key = None if key is None else vault.seal(key, context + KEY_CONTEXT)
    elif not keep_clear:
        body = key = None
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=record.offset,
        stage=failure.stage,
        reason=failure.reason.value,
        path=failure.path,
        detail=failure.detail,
        body_b64=_base64(body),
        encrypted=vault is not None and not (body is None and key is None),
        headers=kept_headers(record.headers),
        key_b64=_base64(key),
    )


def _base64(kept: bytes | None) -> str | None:
    return None if kept is None else b64encode(kept).decode()


def kept_headers(headers: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """Of the first ones as many as there is room for, without those that are nobody's business."""
    kept: dict[str, str] = {}
    room = MAX_HEADERS_CHARACTERS
    for name, value in headers:
        if name.lower() in PRIVATE_HEADERS:
            continue
        text = value[: 4 * MAX_HEADER_CHARACTERS].decode("utf-8", "replace")[:MAX_HEADER_CHARACTERS]
        room -= len(name) + len(text)
        if room < 0:
            break
        kept[name] = text
    return kept


def letter_body(letter: DeadLetter, vault: Vault | None) -> bytes | None:
    """The record's bytes again; ValueError where they are encrypted and the vault cannot open them."""
    return _opened(letter.body_b64, letter, vault, b"")


def letter_key(letter: DeadLetter, vault: Vault | None) -> bytes | None:
    """The record's key again; ValueError as for the body."""
    return _opened(letter.key_b64, letter, vault, KEY_CONTEXT)


def _opened(kept: str | None, letter: DeadLetter, vault: Vault | None, of: bytes) -> bytes | None:
    if kept is None:
        return None
    sealed = b64decode(kept)
    if not letter.encrypted:
        return sealed
    if vault is None:
        raise ValueError("the dead letter is encrypted and no key is set")
    return vault.open(sealed, letter_context(letter.topic, letter.partition, letter.offset) + of)


def letter_context(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}\x1f{partition}\x1f{offset}".encode()


def late_record(topic: str, partition: int, record: RawRecord, late_by_us: int) -> LateRecord:
    """A late record that decoded well, so its value is JSON."""
    return LateRecord(
        topic=topic,
        partition=partition,
        offset=record.offset,
        late_by_s=late_by_us / 1e6,
        value=msgspec.Raw(record.value or b"null"),
    )


def as_json(letter: Any) -> bytes:
    """A dead letter or late record as it is published."""
    return msgspec.json.encode(letter)
