"""Tokens and masks: the same person is one token, and no mask shows who it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.privacy import Tokens, mask_name, mask_phone, mask_plate, mask_text

TOKENS = Tokens(b"secret")


def test_tokens_are_keyed_and_typed() -> None:
    assert TOKENS.token("plate", "浙F12345").startswith("pt-")
    assert TOKENS.token("caller", "13800001234").startswith("ct-")
    assert TOKENS.token("plate", "浙F12345") == Tokens(b"secret").token("plate", "浙F12345")
    assert TOKENS.token("plate", "浙F12345") != Tokens(b"other").token("plate", "浙F12345")
    assert TOKENS.token("plate", "13800001234")[3:] != TOKENS.token("caller", "13800001234")[3:]


def test_a_key_may_be_long_but_not_empty() -> None:
    long = b"k" * 1000
    assert Tokens(long).token("plate", "x") != Tokens(long + b"k").token("plate", "x")
    with pytest.raises(ValueError, match="must not be empty"):
        Tokens(b"")


@pytest.mark.parametrize("written", ["浙F12345", "浙f12345", "浙F 12345", "浙F·12345", "浙Ｆ１２３４５", " 浙F-12345 "])
def test_one_plate_is_one_token(written: str) -> None:
    assert TOKENS.token("plate", written) == TOKENS.token("plate", "浙F12345")
    assert mask_plate(written) == "浙F·**345"


@pytest.mark.parametrize(
    "written", ["13800001234", "138 0000 1234", "+86 138-0000-1234", "008613800001234", "8613800001234"]
)
def test_one_phone_is_one_token(written: str) -> None:
    assert TOKENS.token("caller", written) == TOKENS.token("caller", "13800001234")
    assert mask_phone(written) == "138****1234"


def test_masks() -> None:
    assert mask_plate("浙FD12345") == "浙F·***345"
    assert mask_plate("粤B1234学") == "粤B·**34学"
    assert mask_plate("ABC123") == "A****3"
    assert mask_plate("A1") == "**"
    assert mask_phone("85012345") == "******45"
    assert mask_phone("110") == "***"
    assert mask_name("李某") == "李*"
    assert mask_name("欧阳某某") == "欧***"
    assert mask_name("") == ""


def test_free_text_loses_its_numbers() -> None:
    assert (
        mask_text("车牌浙F·D12345，电话13800001234或0573-85012345") == "车牌浙F·***345，电话138****1234或057*****2345"
    )
    assert mask_text("身份证330482199001011234") == "身份证330482************"
    assert mask_text("当湖路12号，2026年3月2日，水深30厘米") == "当湖路12号，2026年3月2日，水深30厘米"


@given(st.text(alphabet="浙京沪F12345ABC１２Ａ· -学13800", max_size=16))
def test_no_mask_shows_more_than_two_signs_before_and_four_after(clear: str) -> None:
    for mask in (mask_plate(clear), mask_phone(clear)):
        assert len(mask.replace("*", "").replace("·", "")) <= 7
        assert mask == "" or "*" in mask


@given(st.from_regex(r"1[3-9]\d{9}", fullmatch=True), st.text(alphabet="水很深，请回电。", max_size=5))
def test_no_mobile_number_gets_through(phone: str, words: str) -> None:
    assert phone not in mask_text(f"{words}{phone}{words}")
