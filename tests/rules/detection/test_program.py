"""Programs mean what masks and closures mean: random typed expressions on records that the scanner read, with nulls."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Batch, Scalar
from models.compiling import compiled_wanted
from models.observations import NOT_NEGATIVE, PERCENT
from models.privacy import Tokens
from models.streams import STREAMS
from rules.detection.rows import ANYHOW, FRESH
from rules.language.expressions import Checked
from rules.language.typed import Apply, Compare, FieldOf, Typed
from tests.rules.language.author import Author
from tests.rules.language.world import expression

if not compiled_wanted():
    pytest.skip("no numba", allow_module_level=True)

from models.scanner import ScannedColumns, Scanner
from rules.detection import selecting
from rules.detection.places import Places
from rules.detection.program import DEEPEST, Unsayable, Writer

TOPICS = ("camera.tracks", "camera.events", "traffic.measurements", "sensor.readings")
RECORDS, EXPRESSIONS = 12, 6
NOW_MS = 1_772_406_600_000
HEAD = ("sensor_id", "model", "ptz_preset")
IDS = {"sensor_id", "track_id", "event_id", "segment_id", "source", "device_id", "metric"}
WHOLE = {"lane", "ptz_preset", "sample_size"}
Cells = dict[str, Scalar]


@pytest.fixture(autouse=True, scope="module")
def loops() -> None:
    """Once is enough: without them there are no programs."""


def cells(author: Author, topic: str) -> Cells:
    """A row that the scanner takes."""
    drawn: Cells = {}
    for name, field in STREAMS[topic].fields.items():
        cell = None if field.tokenised else author.cell(field.kind)
        if name in IDS:
            cell = author.any_of("a", "b", "ab", "B")
        elif isinstance(cell, float) and (name in NOT_NEGATIVE[topic] or name in PERCENT):
            cell = abs(cell)
        drawn[name] = cell
    for name in WHOLE & drawn.keys():
        drawn[name] = author.random.choice((None, 1, 2))
    drawn["lon"], drawn["lat"] = author.random.choice([(None, None), (121.0, 30.5), (0.5, 1.0)])
    needs = {"camera.events": "label", "traffic.measurements": "speed_kmh", "sensor.readings": "value"}
    if topic in needs and drawn[needs[topic]] is None:
        drawn[needs[topic]] = "a" if topic == "camera.events" else 1.0
    return drawn


def written(cell: Cells) -> dict[str, Any]:
    """As it is sent: what is null is left out, a colour is an attribute."""
    sent = {name: value for name, value in cell.items() if value is not None and name != "colour"}
    return sent if cell.get("colour") is None else {**sent, "attributes": {"colour": cell["colour"]}}


def scanned(author: Author, topic: str) -> tuple[Batch, list[Cells]]:
    """A batch, and its rows."""
    rows: list[Cells] = []
    sent = []
    for number in range(RECORDS):
        at_ms = NOW_MS + 1000 * number
        drawn = [cells(author, topic) for _ in range(author.random.randint(0, 3))] or [cells(author, topic)]
        body = written(drawn[0]) | {STREAMS[topic].time: at_ms}
        if topic == "camera.tracks":
            head = {name: drawn[0][name] for name in HEAD}
            drawn = [one | head for one in drawn]
            objects = [{k: v for k, v in written(one).items() if k not in HEAD} for one in drawn]
            body = written(head) | {"frame_time": at_ms, "objects": objects}
        else:
            drawn = drawn[:1]
        rows += [one | {"time_us": at_ms * 1000} for one in drawn]
        sent.append(orjson.dumps(body))
    found = Scanner(topic, {}, Tokens(b"test-key-of-16-bytes")).scan(sent, np.full(len(sent), -1, dtype=np.int64))
    assert found.taken.all(), [body for body, taken in zip(sent, found.taken, strict=True) if not taken]
    return found.batch, rows


def held(batch: Batch, *trees: Typed, but: tuple[Typed, int | None] | None = None) -> list[bool]:
    """Where the program of these conditions is true; raises Unsayable."""
    assert isinstance(batch.columns, ScannedColumns)
    assert batch.columns.fields is not None
    fields, places, rows = batch.columns.fields, Places(batch.topic), len(batch)
    writer = Writer(places)
    first = writer.write(trees, () if but is None else (but,))
    into, masks = selecting.OTHERS, np.zeros((selecting.OTHERS + 1, rows), dtype=np.bool_)
    masks[FRESH] = masks[ANYHOW] = True
    wishes = selecting.judge(
        np.array([(0, FRESH, first, into)], dtype=selecting.CONDITION), 1, *writer.done(), fields.row_numbers,
        fields.row_texts, fields.head_numbers, fields.head_texts, places.shape, fields.head, fields.buffer,
        batch.time_us, masks, np.empty(DEEPEST), np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    assert wishes == masks[into].sum()
    return masks[into].tolist()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**48), topic=st.sampled_from(TOPICS))
def test_programs_agree_with_both_back_ends(seed: int, topic: str) -> None:
    author = Author(Random(seed), topic)
    batch, rows = scanned(author, topic)
    for _ in range(EXPRESSIONS):
        text = author.flag(2)
        for checked in (expression(text, topic), expression(f"not ({text})", topic)):
            try:
                found = held(batch, checked.tree)
            except Unsayable:
                continue
            assert found == checked.mask(batch).tolist(), checked.text
            assert found == [checked.value(row) is True for row in rows], checked.text


@pytest.mark.parametrize("after_s", [None, 0, 6, 100])
@pytest.mark.parametrize("exempt", ["confidence >= 0.5", "not is_null(role)", 'class == "a" or speed_mps > 0'])
def test_an_exemption_holds_until_its_moment(exempt: str, after_s: int | None) -> None:
    batch, rows = scanned(Author(Random(7), "camera.tracks"), "camera.tracks")
    where, but = expression("coalesce(speed_mps, 1) >= 0"), expression(exempt)
    until_us = None if after_s is None else (NOW_MS + 1000 * after_s) * 1000
    ended = [until_us is not None and int(at_us) >= until_us for at_us in batch.time_us]
    found = held(batch, where.tree, but=(but.tree, until_us))
    assert found == [over or but.value(row) is not True for row, over in zip(rows, ended, strict=True)]
    assert True in found
    assert False in found or after_s == 0


SAYABLE = (
    "class in lists.motor_vehicles and speed_mps < 0.5 and coalesce(confidence, 1) >= 0.6",
    'not (role == "police") or is_null(role)',
    "speed_mps between 1 and 2 and 0.5 <= confidence < 0.9",
    'class == role and class != "car"',
    "abs(speed_mps - 1) / 2 > min(confidence, 0.3) * 1",
    "lon > 121 and is_null(heading_deg) and ptz_preset in (1, 2)",
)
UNSAYABLE = (
    'contains(class, "a")',
    'matches(class, "^a")',
    'lower(class) == "a"',
    'coalesce(role, "a") == "a"',
    "hour() > 6",
    "len(class) > 2",
    'plate == "浙F12345"',
    "is_null(plate)",
)


def tree(text: str) -> Typed:
    checked: Checked = expression(text)
    return checked.tree


@pytest.mark.parametrize("text", SAYABLE)
def test_what_rules_mostly_ask_has_a_program(text: str) -> None:
    Writer(Places("camera.tracks")).write([tree(text)])


@pytest.mark.parametrize("text", UNSAYABLE)
def test_what_has_none_leaves_nothing_written(text: str) -> None:
    writer = Writer(Places("camera.tracks"))
    with pytest.raises(Unsayable):
        writer.write([tree(SAYABLE[0]), tree(text)])
    assert writer.steps == []


def test_a_condition_too_deep_for_the_stack_has_none() -> None:
    speed = FieldOf("speed_mps", "number")
    sum_: Typed = speed
    for _ in range(DEEPEST):
        sum_ = Apply("+", "number", (speed, sum_))
    with pytest.raises(Unsayable):
        Writer(Places("camera.tracks")).write([Compare("number", (sum_, speed), (">",))])


def test_mixed_values_are_read_by_kind() -> None:
    author = Author(Random(1), "sensor.readings")
    batch, rows = scanned(author, "sensor.readings")
    for text in ("value > 0.4", "value == true", 'value == "a"', "is_null(value)", "value in (true)", "-value < 0"):
        checked = expression(text, "sensor.readings")
        assert held(batch, checked.tree) == [checked.value(row) is True for row in rows], text
