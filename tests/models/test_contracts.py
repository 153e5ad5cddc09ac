"""Schemas from types: what is made of nulls, words and lists, and the keywords that say what the types leave unsaid."""

from __future__ import annotations

import re
from datetime import datetime
from unicodedata import category

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import CONTRACTS, Contract, Flow, schema_of, structs
from models.contracts_terms import DATE_TIME, RECEIVED, UNPRINTABLE, Words
from models.contracts_texts import MissingText, Texts
from models.detections import Evidence
from models.faults import is_id
from models.incidents import State
from models.times import BadTime, parse_rfc3339_us

WORDS = Words(("minor", "critical"), ("working",), ("detected",))


class Sample(msgspec.Struct):
    name: str
    state: State
    size_cm: float | None = None
    seen: list[Evidence] = []
    best: Evidence | None = None
    old_state: State | None = None


def test_words_stand_in_place_and_null_is_one_of_the_types() -> None:
    sample = structs(Sample)["Sample"]
    states = sorted(state.value for state in State)
    assert sample["required"] == ["name", "state"]
    assert sample["properties"] == {
        "name": {"type": "string"},
        "state": {"type": "string", "enum": states},
        "size_cm": {"type": ["number", "null"]},
        "seen": {"type": "array", "items": {"$ref": "#/$defs/Evidence"}},
        "best": {"anyOf": [{"$ref": "#/$defs/Evidence"}, {"type": "null"}]},
        "old_state": {"type": ["string", "null"], "enum": [*states, None]},
    }


SAID = {"zh": "文", "en": "text"}
FIELDS = ("name", "state", "size_cm", "seen", "best", "old_state", "topic", "partition", "offset", "ref")
TEXTS = Texts(
    {
        "topics": {"samples": {"zh": "样本", "en": "Samples"}},
        "fields": {"any": dict.fromkeys(FIELDS, SAID), "Sample": {"name": {"zh": "名", "en": "Its name"}}},
    }
)


def test_a_text_of_the_type_goes_before_one_of_any() -> None:
    made = schema_of(Contract("samples", Sample, Flow.IN), WORDS, TEXTS)
    assert made["properties"]["name"]["description"] == "名 / Its name"
    assert made["properties"]["size_cm"]["description"] == "文 / text"
    assert made["description"] == "样本 / Samples"


def test_what_goes_out_has_every_field_but_those_left_out_when_empty() -> None:
    sent = schema_of(Contract("samples", Sample, Flow.OUT), WORDS, TEXTS)
    assert sent["required"] == ["name", "state", "size_cm", "seen", "best", "old_state"]
    assert sent["$defs"]["Evidence"]["required"] == ["topic", "partition", "offset"]
    heard = schema_of(Contract("samples", Sample, Flow.IN), WORDS, TEXTS)
    assert heard["required"] == ["name", "state"]


def test_a_topic_without_text_has_no_schema() -> None:
    with pytest.raises(MissingText, match="no text in both languages for topic others"):
        schema_of(Contract("others", Sample, Flow.IN), WORDS, TEXTS)


def test_the_word_for_a_ticket_without_incident_is_no_state() -> None:
    assert RECEIVED not in set(State)


# ----------------------------------------------------------------------------------------------------------------- ids


def test_the_pattern_of_unprintable_signs_is_never_stricter_than_the_decoder() -> None:
    """And misses only what Unicode has not assigned, and surrogates, which no JSON can hold."""
    pattern = re.compile(UNPRINTABLE)
    for code in range(0x10000):
        sign = chr(code)
        if pattern.search(sign):
            assert not is_id(sign), hex(code)
        elif not is_id(sign):
            assert category(sign) in ("Cn", "Cs"), hex(code)


# --------------------------------------------------------------------------------------------------------------- stamps


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)),  # noqa: DTZ001 -- the offset is drawn beside it
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from("Tt "),
    st.integers(0, 9),
)
def test_every_way_to_write_an_instant_matches(at: datetime, offset: int, between: str, digits: int) -> None:
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    fraction = f".{at.microsecond:06d}000"[: digits + 1] if digits else ""
    text = f"{at:%Y-%m-%d}{between}{at:%H:%M:%S}{fraction}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    parse_rfc3339_us(text)
    assert re.fullmatch(DATE_TIME, text)


@given(st.from_regex(re.compile(DATE_TIME), fullmatch=True))
def test_what_matches_is_an_instant_unless_its_month_or_century_lacks_that_day(text: str) -> None:
    try:
        parse_rfc3339_us(text)
    except BadTime:
        assert int(text[8:10]) > 28 or text[:4] in ("1969", "2100")


def test_both_ends_of_time_match() -> None:
    for text in ("1970-01-01T00:00:00Z", "1969-12-31T23:00:00-01:00", "2100-01-01T00:00:00Z"):
        parse_rfc3339_us(text)
        assert re.fullmatch(DATE_TIME, text)


def test_a_type_has_one_name_among_all_contracts() -> None:
    """Texts and terms go by the names of types."""
    by_name: dict[str, set[str]] = {}
    for contract in CONTRACTS.values():
        for name, part in structs(contract.kind).items():
            by_name.setdefault(name, set()).add(msgspec.json.encode(part).decode())
    assert {name for name, shapes in by_name.items() if len(shapes) > 1} == set()
