"""Joins and clauses under whatever comes: once or twice, in batches, over restarts, in any order within the wait."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.times import MINUTE_US
from rules.incidents.desk import Desk, Output
from rules.language.model import Escalation, Suppression
from tests.rules.incidents.city import JAM, LON, Always, Said, Told, bytes_of, desk, detection, ticket
from tests.rules.incidents.joined import (
    BOTH,
    CITY,
    CLOSE,
    FIRE,
    LEFT_OUT,
    ORDER,
    PONDING,
    SILENT,
    M,
    says,
)
from tests.rules.incidents.test_properties import RULES as PLAIN
from tests.rules.incidents.test_properties import a_command, a_position, some_detections, some_feedback

UP_AND_DOWN = Escalation("critical", when=Always(4), down_after_us=MINUTE_US)
UNDER = replace(
    JAM, id="under", fingerprint="under", suppressed_by=(Suppression("jam", ("area",)),), escalate=(UP_AND_DOWN,)
)
JOINED = (PONDING, FIRE, BOTH, CLOSE, ORDER, LEFT_OUT)
RULES = (*PLAIN, *JOINED, SILENT, UNDER)
END = 30_000.0
PLACES_M = (0.0, 150.0, 320.0, 470.0)
"""Where two are at the same place or too far apart to be merged for that alone."""


@st.composite
def some_words(draw, upto: int = 4000) -> list[Said]:
    """What a part of a rule with joins tells of one opening."""
    of = draw(st.sampled_from(JOINED))
    part = draw(st.sampled_from([one.part for one in of.parts]))
    opened = draw(st.integers(100, upto))
    device = draw(st.integers(0, 2 * len(PLACES_M) - 1))
    more: dict[str, Any] = {
        "who": f"dev-{device}",
        "metres": PLACES_M[device // 2],
        "opened": float(opened),
        "error_m": 40.0 * (device % 2),
    }
    said = [says(of, part, opened, **more)]
    said += [says(of, part, opened + 30 * n, "still", **more) for n in range(1, draw(st.integers(1, 6)))]
    if draw(st.booleans()):
        said.append(says(of, part, opened + draw(st.integers(10, 1500)), "cleared", **more))
    return said


@st.composite
def a_call(draw) -> list[Said]:
    name, metres = draw(st.integers(1, 4)), draw(st.sampled_from(PLACES_M))
    category = draw(st.sampled_from(["道路积水", "火情", "别的"]))
    caller = draw(st.sampled_from(["13800001234", "13900001234", None]))
    return [ticket(draw(st.integers(100, 4000)), f"T{name}", category, lon=LON + metres * M, caller=caller)]


@st.composite
def some_silence(draw) -> list[Said]:
    name = draw(st.sampled_from(["tilt-1", "tilt-2", "tilt-x", "gw-1"]))
    key = {"gateway": name} if name.startswith("gw") else {"device_id": name}
    opened = draw(st.sampled_from([200.0, 900.0]))
    more: dict[str, Any] = {"of": SILENT, "key": key, "opened": opened, "suspected": True, "zone": None, "lon": None}
    said = [detection(opened, "raised", lat=None, **more)]
    if draw(st.booleans()):
        said.append(detection(opened + draw(st.integers(1, 2000)), "cleared", lat=None, **more))
    return said


@st.composite
def some_jams(draw) -> list[Said]:
    """A jam, or one under it, whose value goes up and down."""
    of, opened = draw(st.sampled_from([JAM, UNDER])), draw(st.sampled_from([300.0, 1200.0]))
    more: dict[str, Any] = {"of": of, "opened": opened, "track": draw(st.sampled_from("12"))}
    said = [detection(opened, "raised", value=draw(st.integers(2, 5)), **more)]
    times = draw(st.lists(st.integers(1, 2000), max_size=3))
    said += [detection(opened + n, "still", value=draw(st.integers(2, 5)), **more) for n in times]
    if draw(st.booleans()):
        said.append(detection(opened + draw(st.integers(1, 2000)), "cleared", **more))
    return said


anything = st.one_of(
    some_words(), some_words(), some_words(), a_call(), a_call(), some_silence(), some_jams(), some_detections(),
    some_feedback(), a_command(), a_position(),
)  # fmt: skip


@st.composite
def days(draw, *, ordered: bool = False) -> list[Said]:
    said = [one for several in draw(st.lists(anything, max_size=14)) for one in several]
    said.sort(key=lambda one: one[1].timestamp)
    return said if ordered or draw(st.booleans()) else draw(st.permutations(said))


def city() -> Desk:
    return desk(*RULES, sites=CITY)


def run(said: list[Said]) -> Told:
    told = Told(city())
    told.tell(*said)
    told.until(END)
    return told


@settings(max_examples=60)
@given(days())
def test_everything_twice_is_everything_once(said):
    once, twice = run(said), run([one for each in said for one in (each, each)])
    assert bytes_of(twice.outputs) == bytes_of(once.outputs)
    assert once.desk.snapshot() == twice.desk.snapshot()


@settings(max_examples=60)
@given(days(ordered=True))
def test_the_whole_day_again_says_nothing_new(said):
    told = Told(city())
    told.tell(*said)
    assert told.tell(*said) == []


@settings(max_examples=60)
@given(days(), st.data())
def test_stop_snapshot_restore_go_on_is_running_through(said, data):
    through, told = run(said), Told(city())
    table: dict[str, bytes] = {}
    stops = data.draw(st.sets(st.integers(0, len(said)), max_size=3))
    for n, one in enumerate(said):
        if n in stops:
            for name, blob in told.desk.changes().items():
                table.update({name: blob}) if blob is not None else table.pop(name, None)
            assert table == told.desk.snapshot()
            told.desk = city()
            told.desk.restore(dict(sorted(table.items())))
        told.tell(one)
    told.until(END)
    assert bytes_of(told.outputs) == bytes_of(through.outputs)
    assert told.desk.snapshot() == through.desk.snapshot()


@settings(max_examples=40)
@given(days())
def test_in_batches_is_one_by_one(said):
    through, batched = run(said), city()
    outputs: list[Output] = []
    for topic, run_of in groupby(said, key=lambda one: one[0]):
        outputs += batched.feed(topic, [record for _, record in run_of]).outputs
    outputs += batched.advance(through.desk.now_us).outputs
    assert bytes_of(outputs) == bytes_of(through.outputs)


@settings(max_examples=40)
@given(days(), st.lists(st.integers(0, round(END)), max_size=20))
def test_ticks_in_between_change_nothing_that_is_due_anyway(said, ticks):
    through, told = run(said), Told(city())
    told.tell(*said)
    for tick in sorted(ticks):
        told.until(tick)
    told.until(END)
    assert bytes_of(told.outputs) == bytes_of(through.outputs)


@settings(max_examples=60)
@given(days())
def test_every_record_is_in_one_bin_and_every_output_is_said_once(said):
    told = run(said)
    assert sum(told.counts.get(name, 0) for name in ("used", "duplicate", "filtered", "late", "dead")) == len(said)
    assert len({output.id for output in told.outputs}) == len(told.outputs)
    heard = {one[1].value.split(b'"')[3].decode() for one in said if one[0] == "hotline.tickets"}
    assert {reply.ticket_id for reply in told.of("hotline.replies")} == heard
    assert len(told.desk._ledger.witnesses) == len(told.desk._ledger.reached) == 0


def cases(told: Told) -> set[str]:
    """All detections that came to be of a case."""
    newest = {one.incident_id: one for one in told.of("incidents")}
    confirmed = {one.incident_id for one in told.of("incidents") if one.state in ("confirmed", "dispatched")}
    return {seen for identity in confirmed for seen in newest[identity].detections}


@settings(max_examples=100)
@given(st.lists(some_words(upto=155), max_size=8), st.data())
def test_within_the_wait_the_order_of_coming_decides_nothing(words, data):
    said = [one for several in words for one in several if b'"kind":"raised"' in one[1].value]
    in_order, shuffled = Told(city()), Told(city())
    in_order.tell(*sorted(said, key=lambda one: one[1].timestamp))
    shuffled.tell(*data.draw(st.permutations(said)))
    in_order.until(1000)
    shuffled.until(1000)
    assert cases(in_order) == cases(shuffled)
