"""Closures and masks mean the same: random typed expressions on random rows with nulls."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.columns import Scalar
from models.streams import STREAMS
from tests.rules.language.world import expression
from tests.support import batch_of

NUMBERS = {"camera.tracks": ["speed_mps", "confidence", "heading_deg"], "sensor.readings": ["value", "battery_pct"],
           "vehicle.positions": ["speed_mps", "lon"]}  # fmt: skip
TEXTS = {"camera.tracks": ["class", "role", "colour"], "sensor.readings": ["value", "metric", "status"],
         "vehicle.positions": ["role", "unit_id"]}  # fmt: skip
FLAGS = {"camera.tracks": [], "sensor.readings": ["value"], "vehicle.positions": ["on_duty"]}
WORDS = ["a", "b", "ab", "B", "积水", ""]
FEW = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 1e200]
COMPARE = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
EQUAL = st.sampled_from(["==", "!="])


def numbers(topic: str, depth: int) -> st.SearchStrategy[str]:
    """Text of a number; a field of unknown type only where something else tells its kind."""
    leaf = st.one_of(st.sampled_from(FEW).map(str), st.sampled_from([n for n in NUMBERS[topic] if n != "value"]))
    if depth == 0:
        return leaf
    inner = numbers(topic, depth - 1)
    return st.one_of(
        leaf,
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda p: f"(({p[0]}) * 1 {p[1]} ({p[2]}) * 1)"),
        inner.map(lambda a: f"(-({a}))"),
        inner.map(lambda a: f"abs({a})"),
        inner.map(lambda a: f"round(({a}))"),
        st.tuples(inner, inner).map(lambda p: f"max(({p[0]}) * 1, ({p[1]}) * 1, 0 * 1)"),
        st.tuples(inner, inner).map(lambda p: f"coalesce(({p[0]}) * 1, ({p[1]}) * 1)"),
        texts(topic, depth - 1).map(lambda t: f"len({t})"),
        st.just("hour()"),
        st.just("distance(121, 30.5)"),
        st.just("bearing(121, 30.5)"),
    )


def texts(topic: str, depth: int) -> st.SearchStrategy[str]:
    plain = st.one_of(
        st.sampled_from(WORDS).map(lambda w: f'"{w}"'),
        st.sampled_from([n for n in TEXTS[topic] if n != "value"]),
        st.just("weekday()"),
    )
    if depth == 0:
        return plain
    inner = texts(topic, depth - 1)
    return st.one_of(
        plain,
        inner.map(lambda t: f"lower({t})"),
        st.tuples(inner, inner).map(lambda p: f"coalesce({p[0]}, {p[1]})"),
    )


def flags(topic: str, depth: int) -> st.SearchStrategy[str]:
    number, text = numbers(topic, max(0, depth - 1)), texts(topic, max(0, depth - 1))
    mixed = [n for n in ("value",) if n in STREAMS[topic].fields]
    leaves = [
        st.sampled_from(["true", "false", "null", *FLAGS[topic]]),
        st.tuples(number, COMPARE, number).map(lambda p: f"({p[0]}) * 1 {p[1]} ({p[2]}) * 1"),
        st.tuples(text, EQUAL, text).map(" ".join),
        st.tuples(text, st.sampled_from(WORDS)).map(lambda p: f'contains({p[0]}, "{p[1]}")'),
        st.tuples(text, st.sampled_from(["^a", "b$", "积", "A?"])).map(lambda p: f'matches({p[0]}, "{p[1]}")'),
        text.map(lambda t: f'{t} in ("a", "积水", "mon")'),
        number.map(lambda n: f"({n}) * 1 not in (0, 1, 2.5)"),
        st.tuples(number, number, number).map(lambda p: f"({p[0]}) * 1 between ({p[1]}) * 1 and ({p[2]}) * 1"),
        st.tuples(number, COMPARE, number, COMPARE, number).map(
            lambda p: f"({p[0]}) * 1 {p[1]} ({p[2]}) * 1 {p[3]} ({p[4]}) * 1"
        ),
        st.one_of(number, text).map(lambda n: f"is_null({n})"),
    ]
    if mixed:
        leaves.append(
            st.sampled_from(
                ["value > 0", "value == true", 'value != "a"', "is_null(value)", "coalesce(value, 1) >= 1",
                 'value in ("a", "b")', "value not in (1, 2)", 'coalesce(value, "a") == "a"', "-value < 1",
                 "coalesce(value, true) == true", "value in (true)", "len(value) > 0"]
            )
        )  # fmt: skip
    leaf = st.one_of(leaves)
    if depth == 0:
        return leaf
    inner = flags(topic, depth - 1)
    return st.one_of(
        leaf,
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + " and ".join(f"({p})" for p in parts) + ")"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + " or ".join(f"({p})" for p in parts) + ")"),
        inner.map(lambda p: f"not ({p})"),
        st.tuples(inner, inner).map(lambda p: f"is_null(({p[0]}) and ({p[1]}))"),
    )


def cells(kind: str) -> st.SearchStrategy[Scalar]:
    number, text, flag = st.sampled_from(FEW), st.sampled_from(WORDS), st.booleans()
    chosen: dict[str, st.SearchStrategy[Scalar]] = {
        "number": number, "text": text, "flag": flag, "mixed": st.one_of(number, text, flag),
    }  # fmt: skip
    return st.one_of(st.none(), chosen[kind])


def rows(topic: str) -> st.SearchStrategy[list[dict[str, Scalar]]]:
    fields: dict[str, st.SearchStrategy[Scalar]] = {
        name: cells(of.kind) for name, of in STREAMS[topic].fields.items()
    }
    fields["time_us"] = st.integers(0, 4_000_000_000_000_000)
    return st.lists(st.fixed_dictionaries(fields), max_size=6)


CASES = st.sampled_from(sorted(NUMBERS)).flatmap(lambda topic: st.tuples(st.just(topic), flags(topic, 2), rows(topic)))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES)
def test_both_back_ends_agree(case: tuple[str, str, list[dict[str, Scalar]]]) -> None:
    topic, text, records = case
    checked = expression(text, topic)
    negated = expression(f"not ({text})", topic)
    batch = batch_of(topic, records)
    values = [checked.value(record) for record in records]
    assert checked.mask(batch).tolist() == [v is True for v in values]
    assert negated.mask(batch).tolist() == [v is False for v in values]
    assert all(v is None or isinstance(v, bool) for v in values)
