"""Congestion by the states of segments: measurements in, states and transitions out, however they are fed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import orjson
import pytest

from models.detections import Detection
from models.traffic import TrafficState
from rules.explaining.tracing import follow
from rules.tables.load import read_tables
from tests.rules.detection.stage import LAT, LON, Sent, Stage, at_ms

REPOSITORY = Path(__file__).resolve().parents[3]
CONGESTION = """
version: 1
defaults: {owner: {department: traffic-police}}
rules:
  - id: congestion
    revision: 1
    name: {zh: 道路拥堵, en: Congestion}
    status: active
    type: {code: "X2101", severity: moderate}
    from: [traffic.states]
    where: quality.samples >= 5
    by: [segment_id]
    detect:
      hold: {value: level, open_when: value >= 4, close_when: value <= 2, for: 3m, close_for: 5m}
    no_data: hold
    message: {zh: "{segment.name} {level|level_name}", en: "{level|level_name}"}
"""
MINUTE_S, HOUR_S = 60, 3600
FREE, SLOW = 45.0, 14.0


@pytest.fixture(scope="module")
def roads() -> Stage:
    tables, _ = read_tables(REPOSITORY / "rules" / "tables")
    assert tables is not None
    stage = Stage(CONGESTION)
    stage.traffic = tables.traffic
    return stage


def measured(minute: float, speed: float, *, samples: int = 6, segment: str = "s-1", source: str = "loop-1") -> Sent:
    at_s = minute * MINUTE_S
    body = {
        "segment_id": segment, "source": source, "end_time": at_ms(at_s), "period_s": 60, "speed_kmh": speed,
        "sample_size": samples, "lon": LON, "lat": LAT,
    }  # fmt: skip
    return Sent("traffic.measurements", at_s + 1, orjson.dumps(body))


def minutes(speeds: Sequence[float], *, segment: str = "s-1") -> list[Sent]:
    return [measured(number, speed, segment=segment) for number, speed in enumerate(speeds, 1)]


JAM = [FREE] * 3 + [SLOW] * 6 + [FREE] * 8


def run(roads: Stage, records: Sequence[Sent], cut: int | None = None) -> tuple[list[Detection], list[TrafficState]]:
    """Feeds one by one; stopped and gone on with after `cut` records."""
    stage, made = roads.again(), list[TrafficState]()
    for number, sent in enumerate(records):
        if number == cut:
            saved, stage.detector = stage.detector.snapshot(), stage.new()
            stage.detector.restore(saved)
        stage.feed(sent)
        made += stage.detector.states()
    stage.advance(HOUR_S)
    return stage.told, made + stage.detector.states()


def kinds(told: Sequence[Detection]) -> list[tuple[str, str]]:
    return [(d.kind, d.event_time[11:16]) for d in told if d.kind in ("raised", "cleared")]


def test_a_jam_of_six_minutes_is_raised_at_the_third_and_cleared_after_five_free_ones(roads: Stage) -> None:
    told, made = run(roads, minutes(JAM))
    assert kinds(told) == [("raised", "07:17"), ("cleared", "07:25")]
    assert [state.level for state in made] == [1] * 3 + [4] * 6 + [1] * 8
    assert told[0].sources == ["traffic.states"]
    assert told[0].evidence[0].topic == "traffic.measurements"


def test_too_few_vehicles_say_nothing(roads: Stage) -> None:
    told, made = run(roads, [measured(minute, SLOW, samples=2) for minute in range(1, 12)])
    assert (kinds(told), len(made)) == ([], 11)


def test_two_sources_of_a_minute_are_one_state(roads: Stage) -> None:
    _, made = run(roads, [measured(1, 20.0, samples=3), measured(1, 60.0, samples=1, source="loop-2")])
    assert [(state.quality.samples, state.quality.sources) for state in made] == [(4, 2)]


TWO = [one for pair in zip(minutes(JAM), minutes(JAM[::-1], segment="s-2"), strict=True) for one in pair]


@pytest.mark.parametrize("cut", range(0, len(TWO), 3))
def test_stopped_and_gone_on_with_it_tells_and_makes_the_same(roads: Stage, cut: int) -> None:
    assert run(roads, TWO, cut) == run(roads, TWO)


def test_in_one_batch_it_tells_and_makes_the_same(roads: Stage) -> None:
    stage = roads.again()
    stage.feed(*TWO)
    stage.advance(HOUR_S)
    assert (stage.told, stage.detector.states()) == run(roads, TWO)


@pytest.mark.parametrize("seed", range(5))
def test_doubled_it_makes_the_same(roads: Stage, seed: int) -> None:
    doubled = [again for one in TWO for again in (one, one)]
    told, made = run(roads, doubled)
    plain, made_plain = run(roads, TWO)
    assert (kinds(told), made) == (kinds(plain), made_plain)
    nearly = Random(seed)
    late = sorted(doubled, key=lambda one: one.arrival_s + nearly.random())
    assert run(roads, late)[1] == made_plain


def test_the_next_moment_is_the_end_of_the_minute_after_the_lateness(roads: Stage) -> None:
    stage = roads.again()
    stage.feed(measured(0.5, FREE))
    assert stage.detector.next_us() == at_ms(MINUTE_S + 5) * 1000
    stage.advance(MINUTE_S + 5)
    assert len(stage.detector.states()) == 1


def test_a_lane_of_measurements_that_is_followed_still_makes_states(roads: Stage) -> None:
    stage = roads.again()
    follow(stage.detector, ["traffic.measurements"], lambda *_: True, stage.atlas, stage.decoder,
           accept_unregistered=True)  # fmt: skip
    for sent in minutes(JAM):
        stage.feed(sent)
    stage.advance(HOUR_S)
    assert len(stage.detector.states()) == len(JAM)
