"""Schema and decoder judge alike, whatever is done to a good record; where they may differ is said exactly here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import CONTRACTS
from models.contracts_texts import Texts
from models.observations import DeadReason, DecodeFailure
from streams.contracts import CATALOGUE, PUBLISHED, read_texts
from tests.contracts.judging import IN, SENT, objections, refusal, samples, schema

SMALL = 4_000  # characters of a sample: what is found in a large frame is found in a small one
BODIES = {topic: [body for _, body in samples(topic) if len(str(body)) < SMALL] for topic in CONTRACTS}

STAMPS = [
    "2026-03-02T07:10:00+08:00", "2026-03-02 07:10:00z", "2026-03-02t07:10:00.123456789-23:59", "2026-03-02T07:10:00",
    "2026-13-02T07:10:00Z", "2026-02-30T07:10:00Z", "2026-03-02T24:00:00Z", "2026-03-02T07:60:00Z",
    "2026-03-02T07:10:60Z", "2026-03-02T07:10:00+24:00", "2026-03-02T07:10:00.1234567891Z", "0000-01-01T00:00:00Z",
    "1969-12-31T20:00:00-08:00", "1969-12-31T20:00:00+08:00", "1968-12-31T20:00:00Z", "2099-01-01T00:00:00Z",
    "2100-01-01T04:00:00+08:00", "2100-01-01T00:00:00.001Z", "2101-01-01T00:00:00Z", "２026-03-02T07:10:00Z",
]  # fmt: skip
TEXTS = ["", " ", "x", "x" * 128, "x" * 129, "\x00", "a\u200bb", "a\u00a0b", "😀", "\ue000", "浙F12345", "\U000e0001"]
WORDS = ["wgs84", "bd09", "WGS84", "handled", "finished", "false_alarm", "closed", "raised", "minor", "not_json"]
NUMBERS = [0, -1, 1, 0.5, -0.0, -1e-9, 90, 91, 180, -181, 100, 100.001, 101, 1e300, -1e300, 2**53, 2**64, -(2**70)]
TIMES = [1772406600000, 1772406600000.0, -1000, 4_102_444_800_000, 4_102_444_800_001, 1772406600000.5]
PARTS = [[], {}, [1], ["x"], [None], {"a": 1}, {"track_id": []}, {"track_id": ["1"], "lon": [1.0], "lat": [None]}]
POOL = [None, True, False, *STAMPS, *TEXTS, *WORDS, *NUMBERS, *TIMES, *PARTS]
VALUES = st.one_of(
    st.sampled_from(POOL),
    st.text(max_size=3),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
)
GONE = object()


def places(part: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, name or index) of everything inside."""
    for name, below in part.items() if isinstance(part, dict) else enumerate(part):
        yield part, name
        if isinstance(below, dict | list):
            yield from places(below)


FIELDS = {topic: list(schema(topic)["properties"]) for topic in CONTRACTS}


@st.composite
def mutated(draw: st.DrawFn, topic: str) -> Any:
    """A golden sample with one to three things in it changed, taken away or added."""
    body = copy.deepcopy(draw(st.sampled_from(BODIES[topic])))
    for _ in range(draw(st.integers(1, 3))):
        holder, name = draw(st.sampled_from([*places(body), (body, draw(st.sampled_from(FIELDS[topic])))]))
        value = draw(st.one_of(VALUES, st.just(GONE)))
        if value is not GONE:
            holder[name] = copy.deepcopy(value)
        elif isinstance(holder, list) or name in holder:
            del holder[name]
        if not body:
            break
    return body


def left_to_decoder(body: Any, failure: DecodeFailure) -> bool:
    """Whether the schema could not have said it: the gaps that the dictionary's last chapter names, and no others."""
    value = at_path(body, failure.path)
    match failure.reason:
        case DeadReason.TIME_IN_FUTURE:
            return True
        case DeadReason.BAD_TIME:
            return (isinstance(value, float) and value == int(value)) or no_such_instant(value)
        case DeadReason.BAD_COLUMNS:
            columns = body["columns"]
            return len({len(each) for each in columns.values() if isinstance(each, list)}) > 1
        case DeadReason.BAD_POSITION:
            row = failure.path.rpartition("[")[2].removesuffix("]")
            axes = [at_path(body, f"$.columns.{axis}[{row}]") for axis in ("lon", "lat")]
            return failure.path.startswith("$.columns.") and axes.count(None) == 1
        case DeadReason.BAD_ID:
            return any(sign > "\uffff" or category(sign) == "Cn" for sign in value)
        case DeadReason.UNIT_MISMATCH:
            return failure.path.endswith("unit")
        case _:
            return False


def at_path(body: Any, path: str) -> Any:
    """The value that a failure's path names; None where it is not there."""
    part = body
    for step in path.removeprefix("$").replace("[", ".").replace("]", "").split(".")[1:]:
        if isinstance(part, list):
            part = part[int(step)] if step.isdigit() and int(step) < len(part) else None
        else:
            part = part.get(step) if isinstance(part, dict) else None
    return part


def no_such_instant(value: Any) -> bool:
    """A well-formed stamp of a day that its month does not have, or just outside 1970..2100."""
    if not isinstance(value, str):
        return False
    if value[:4] in ("1969", "2100"):
        return True
    try:
        datetime.fromisoformat(value[:10])
    except ValueError:
        return True
    return False


def judge(topic: str, body: Any) -> None:
    """Fails where schema and decoder differ and the schema could have known."""
    failure, said = refusal(topic, body), objections(topic, body)
    if failure is None:
        assert said == [], f"the schema is stricter than the decoder: {body}"
    elif not said:
        assert isinstance(failure, DecodeFailure)
        assert left_to_decoder(body, failure), f"the schema let pass: {failure}"


def examples(topic: str) -> Iterator[Any]:
    return (body for path, body in samples(topic) if path.stem.startswith("example"))


@pytest.mark.parametrize("topic", IN)
def test_each_value_in_each_place_is_judged_alike(topic: str) -> None:
    """One change at a time to the contract's examples, all of them."""
    for body in examples(topic):
        absent = [(body, field) for field in FIELDS[topic] if field not in body]
        for holder, name in [*places(body), *absent]:
            before = copy.copy(holder)
            for value in POOL:
                holder[name] = value
                judge(topic, body)
            put_back(holder, before)


def put_back(holder: Any, before: Any) -> None:
    holder.clear()
    holder.update(before) if isinstance(holder, dict) else holder.extend(before)


@pytest.mark.parametrize("topic", IN)
def test_several_changes_are_judged_alike(topic: str) -> None:
    given(mutated(topic))(lambda body: judge(topic, body))()


@pytest.mark.parametrize("topic", SENT)
def test_what_the_schema_of_ours_allows_our_types_can_read(topic: str) -> None:
    @given(mutated(topic))
    def judged(body: Any) -> None:
        if objections(topic, body) == []:
            failure = refusal(topic, body)
            assert failure is None or whole_as_fraction(body), failure

    judged()


def whole_as_fraction(part: Any) -> bool:
    """Somewhere stands 1.0, which JSON Schema calls an integer and our types do not."""
    if isinstance(part, dict | list):
        return any(whole_as_fraction(each) for each in (part.values() if isinstance(part, dict) else part))
    return isinstance(part, float) and part == int(part)


def test_the_dictionary_names_the_gaps_and_only_reasons_that_exist() -> None:
    texts: Texts = read_texts(PUBLISHED / CATALOGUE)
    named = set(texts.beyond())
    assert named <= {reason.value for reason in DeadReason}
    told = {"time_in_future", "bad_time", "bad_columns", "bad_position", "bad_id", "unit_mismatch"}
    unseen = {"empty", "not_utf8", "not_json", "too_large", "too_deep", "not_finite", "tombstone"}  # before any check
    elsewhere = {"wrong_partition", "unregistered_sensor", "position_out_of_bounds", "swapped_axes", "internal"}
    assert named == told | unseen | elsewhere
