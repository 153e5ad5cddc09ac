"""Personal data at the door: plates and callers become a token and a mask; clear values go no further.

A token is keyed, so that it cannot be looked up in a table of all plates; it is the same for the same key, so that
lists in rules and dispatch can be compared with it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

TokenKind = Literal["plate", "caller"]
PREFIXES: dict[str, str] = {"plate": "pt-", "caller": "ct-"}

CACHED_TOKENS = 65_536  # distinct plates and callers a process sees in some hours; about 15 MB
PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
SEPARATORS = re.compile(r"[\s·•‧∙・.\-_]+")
PLATE = re.compile(rf"[{PROVINCES}][A-Z][A-Z0-9]{{4,6}}[警学挂使领港澳试超]?")
HALF_WIDTH = {
    wide: wide - 0xFEE0 for wide in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), 0xFF0B)
}
PLATE_IN_TEXT = re.compile(rf"[{PROVINCES}]\s?[A-Za-z][·•‧∙・.\-]?\s?[A-Za-z0-9]{{4,6}}[警学挂使领港澳试超]?")
IDENTITY_IN_TEXT = re.compile(r"(?<!\d)[1-9]\d{16}[\dXx](?!\d)")
PHONE_IN_TEXT = re.compile(
    r"(?<!\d)(?:(?:\+?86|0086)[\s\-]?)?1[3-9]\d[\s\-]?\d{4}[\s\-]?\d{4}(?!\d)"  # mobile
    r"|(?<!\d)[(（]?0\d{2,3}[)）]?[\s\-]?\d{7,8}(?!\d)"  # with an area code
)


class Tokens:
    """Tokens under one key. The same value written differently (case, width, spaces, separators) is one token."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("a token key must not be empty: without it anyone can list the plates behind the tokens")
        self._key = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
        self._cached = lru_cache(maxsize=CACHED_TOKENS)(self._make)

    def token(self, kind: TokenKind, clear: str) -> str:
        """`pt-` (plate) or `ct-` (caller) and 128 bits in hexadecimal."""
        return self._cached(kind, clear)[0]

    def token_and_mask(self, kind: TokenKind, clear: str) -> tuple[str, str]:
        """The two that stand for a value. The mask is empty where there is nothing but spaces and separators."""
        return self._cached(kind, clear)

    def _make(self, kind: TokenKind, clear: str) -> tuple[str, str]:
        digest = blake2b(NORMALISE[kind](clear).encode(), digest_size=16, key=self._key, person=kind.encode())
        return PREFIXES[kind] + digest.hexdigest(), MASKS[kind](clear)


def normalise_plate(clear: str) -> str:
    """浙f·１２３４５ and 浙F12345 are one plate."""
    return SEPARATORS.sub("", unicodedata.normalize("NFKC", clear)).upper()


def normalise_caller(clear: str) -> str:
    """+86 138-0000-1234 and 13800001234 are one caller."""
    text = re.sub(r"[\s\-()._]+", "", unicodedata.normalize("NFKC", clear)).upper()
    return re.sub(r"^(?:\+86|0086|86(?=1\d{10}$))", "", text)


NORMALISE = {"plate": normalise_plate, "caller": normalise_caller}


def mask_plate(clear: str) -> str:
    """浙F12345 → 浙F·**345. What is not a mainland plate keeps its first and last sign only."""
    plate = normalise_plate(clear)
    if PLATE.fullmatch(plate):
        return f"{plate[:2]}·{'*' * (len(plate) - 5)}{plate[-3:]}"
    return f"{plate[0]}{'*' * (len(plate) - 2)}{plate[-1]}" if len(plate) >= 4 else "*" * len(plate)


def mask_phone(clear: str) -> str:
    """13800001234 → 138****1234. Shorter numbers keep their last two digits."""
    phone = normalise_caller(clear)
    if len(phone) >= 11:
        return f"{phone[:3]}{'*' * (len(phone) - 7)}{phone[-4:]}"
    return f"{'*' * (len(phone) - 2)}{phone[-2:]}" if len(phone) >= 5 else "*" * len(phone)


def mask_name(clear: str) -> str:
    """李某 → 李*."""
    name = clear.strip()
    return name[:1] + "*" * (len(name) - 1)


MASKS = {"plate": mask_plate, "caller": mask_phone}


def mask_text(text: str) -> str:
    """Free text with the identity numbers, phone numbers and plates inside it masked; wide letters and digits become
    narrow. Names and bare local numbers without an area code are not recognised."""
    text = text.translate(HALF_WIDTH)
    text = IDENTITY_IN_TEXT.sub(lambda found: found[0][:6] + "*" * 12, text)
    text = PHONE_IN_TEXT.sub(lambda found: mask_phone(found[0]), text)
    return PLATE_IN_TEXT.sub(lambda found: mask_plate(found[0]), text)
