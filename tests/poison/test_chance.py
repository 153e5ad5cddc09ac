"""Any bytes, any JSON and any change of a good record, on every topic: no exception, one bin, every way of reading it
says the same, and neighbours are told of as without it."""

from __future__ import annotations

import json
from functools import partial
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ticks import tick_us
from streams.commands.one_liners import one_liner
from streams.commands.reading import tick_ms
from tests.fuzz.mutating import changed
from tests.poison.cases import cases
from tests.poison.checks import DeskTrial, DetectorTrial, check_decoding, is_detectors
from tests.poison.test_cases import END_S, clean_detections, clean_outputs
from tests.poison.world import TOPICS, at_ms, body, columns, good_run, key_of, readings
from tests.support import Record

TOPIC = st.sampled_from(TOPICS)
ARRIVAL_MS = at_ms(60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_source", "zhinao_tick", "x"]) | st.text(max_size=9), st.binary(max_size=20)
    ),
    max_size=3,
).map(tuple)


def check(topic: str, value: bytes | None, headers: Any = (), arrival_ms: int = ARRIVAL_MS) -> None:
    """Alone, and in one batch with good records before and after it."""
    record = Record(value, key_of(topic), arrival_ms, headers, offset=35)
    check_decoding(topic, record)
    run = good_run(topic)
    among = [*run[:4], record, *run[4:]]
    if tick_us(record) is not None:
        return
    if is_detectors(topic):
        trial = DetectorTrial()
        outcome = trial.feed(topic, among)
        told = outcome.detections + trial.advance(END_S)
        if outcome.dead:
            assert [failure.record for failure in outcome.dead] == [4]
            assert told == clean_detections(topic)
        return
    desks = DeskTrial()
    made = desks.feed(topic, among)
    desks.advance(END_S)
    if made.failures:
        assert [failure.record for failure in made.failures] == [4]
        assert desks.made == clean_outputs(topic)


@settings(max_examples=150)
@given(TOPIC, st.none() | st.binary(max_size=300), HEADERS)
def test_any_bytes(topic: str, value: bytes | None, headers: Any) -> None:
    check(topic, value, headers)


@settings(max_examples=150)
@given(TOPIC, JSON, st.booleans())
def test_any_json(topic: str, document: Any, ascii_only: bool) -> None:
    check(topic, json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@settings(max_examples=150)
@given(TOPIC, st.dictionaries(st.sampled_from(sorted({n for t in TOPICS for n in body(t, 0)})), JSON, max_size=6))
def test_any_values_for_the_fields_of_the_contract(topic: str, fields: dict[str, Any]) -> None:
    check(topic, json.dumps({**body(topic, 3.5), **fields}).encode())


@settings(max_examples=500)
@given(
    TOPIC,
    st.integers(0, 2),
    st.lists(st.integers(0, 1 << 32), min_size=1, max_size=3),
    st.sampled_from([-1, 0, ARRIVAL_MS]),
)
def test_any_change_of_a_good_record(topic: str, shape: int, seeds: list[int], arrival_ms: int) -> None:
    said = body(topic, 3.5)
    if shape == 1 and topic == "camera.tracks":
        said = columns(3.5)
    elif shape == 1 and topic == "sensor.readings":
        said = readings(3.5)
    data = b"-" + orjson.dumps(said)
    for seed in seeds:
        rng = Random(seed)
        data = changed(data, 4096, rng, partial(flipped, rng))
    check(topic, data[1:], arrival_ms=arrival_ms)


def flipped(rng: Random, text: bytes, most: int) -> bytes:
    """One byte of it another, gone or doubled."""
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice([b"", bytes([rng.randrange(256)]), text[at : at + 1] * 2]) + text[at + 1 :]


@pytest.mark.parametrize("stamp", [b"soon", b"", b"9" * 40, b"-1", None])
def test_a_tick_that_is_none_ended_whoever_followed_a_topic(stamp: Any) -> None:
    assert tick_ms(Record(None, headers=(("zhinao_tick", stamp),))) is None
    assert tick_ms(Record(None, headers=(("zhinao_tick", b"1772406600000"),))) == 1772406600000


@pytest.mark.parametrize("topic", TOPICS)
def test_all_poison_has_a_line_on_the_screen(topic: str) -> None:
    for case in cases():
        if case.topic == topic:
            line = one_liner(topic, case.value, "zh")
            assert "\n" not in line
            assert len(line) <= 220
