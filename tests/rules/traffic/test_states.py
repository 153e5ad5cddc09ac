"""Measurements to states: bounds, the mean that the standard asks for, and no dependence on order."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.registry import Segment
from models.times import SECOND_US, format_time
from rules.tables.load import read_tables
from rules.tables.model import TrafficTable
from rules.traffic.states import PERIOD_US, Made, Measurement, SegmentStates
from tests.rules.detection.stage import ZONE

REPOSITORY = Path(__file__).resolve().parents[3]
NOON_US = 1_772_424_000 * SECOND_US


@pytest.fixture(scope="module")
def table() -> TrafficTable:
    tables, _ = read_tables(REPOSITORY / "rules" / "tables")
    assert tables is not None
    return tables.traffic


def states_of(table: TrafficTable, limits: dict[str, float] | None = None) -> SegmentStates:
    def segment(name: str) -> Segment | None:
        limit = (limits or {}).get(name)
        return None if limit is None else Segment(name, None, "a", "primary", limit, 2, (), None, 0.0, 0.0)  # type: ignore[arg-type]

    return SegmentStates(table, segment, lambda us: format_time(us, zone=ZONE))


def measured(
    speed: float | None, *, at_s: float = 0, samples: float | None = 1, of: str = "s-1", source: str = "loop-1"
) -> Measurement:
    return Measurement(of, "danghu", source, NOON_US + round(at_s * SECOND_US), speed, samples, 7)


def closed(states: SegmentStates, *measurements: Measurement, after_s: float = 600) -> list[Made]:
    for one in measurements:
        states.add(one)
    return states.close(NOON_US + round(after_s * SECOND_US))


@pytest.mark.parametrize(
    ("speed", "level"),
    [(70.1, 1), (70, 2), (50.1, 2), (50, 3), (40.1, 3), (40, 4), (30.1, 4), (30, 5), (0, 5), (130, 1)],
)
def test_a_bound_belongs_to_the_worse_level(table: TrafficTable, speed: float, level: int) -> None:
    (made,) = closed(states_of(table, {"s-1": 100}), measured(speed))
    assert made.state.level == level


def test_the_mean_is_distance_over_time_of_all_vehicles(table: TrafficTable) -> None:
    (made,) = closed(states_of(table), measured(60, samples=1), measured(20, samples=3, source="loop-2"))
    assert made.state.speed_kmh == pytest.approx(4 / (1 / 60 + 3 / 20), abs=0.05)
    assert (made.state.quality.samples, made.state.quality.sources) == (4, 2)


def test_faster_than_free_flow_is_no_gain(table: TrafficTable) -> None:
    (made,) = closed(states_of(table, {"s-1": 50}), measured(80))
    assert made.state.tti == 1.0


def test_free_flow_is_the_limit_else_what_the_table_says_and_says_so(table: TrafficTable) -> None:
    known, unknown = closed(states_of(table, {"s-1": 60}), measured(30), measured(30, of="s-2"))
    assert (known.state.free_flow_kmh, known.state.free_flow_basis) == (60, "limit")
    assert (unknown.state.free_flow_kmh, unknown.state.free_flow_basis) == (40, "default")


def test_a_measurement_belongs_to_the_minute_it_ends_in_and_its_end_to_the_one_before(table: TrafficTable) -> None:
    states = states_of(table)
    made = closed(states, measured(30, at_s=60), measured(40, at_s=60.001))
    assert [(one.end_us - NOON_US) // SECOND_US for one in made] == [60, 120]


def test_a_state_waits_for_the_watermark(table: TrafficTable) -> None:
    states = states_of(table)
    assert closed(states, measured(30, at_s=10), after_s=59.999) == []
    assert states.next_us() == NOON_US + PERIOD_US
    assert len(states.close(NOON_US + PERIOD_US)) == 1
    assert states.next_us() is None


def test_without_a_speed_there_is_no_state_and_the_gap_is_told(table: TrafficTable) -> None:
    made = closed(states_of(table), measured(30, at_s=60), measured(None, at_s=120), measured(31, at_s=240))
    assert [(one.end_us - NOON_US) // PERIOD_US for one in made] == [1, 4]
    assert [one.state.quality.gaps for one in made] == [0, 2]


def test_the_age_is_that_of_the_newest_measurement(table: TrafficTable) -> None:
    (made,) = closed(states_of(table), measured(30, at_s=20), measured(30, at_s=45, source="loop-2"))
    assert made.state.quality.age_s == 15


MEASUREMENTS = st.lists(
    st.builds(
        lambda speed, at, samples, of, source: measured(speed, at_s=at, samples=samples, of=of, source=source),
        st.none() | st.floats(0, 150),
        st.floats(0, 400),
        st.none() | st.floats(0, 50),
        st.sampled_from(["s-1", "s-2"]),
        st.sampled_from(["loop-1", "loop-2"]),
    ),
    max_size=40,
)


@given(MEASUREMENTS, st.integers())
def test_the_order_within_an_interval_changes_nothing(
    table: TrafficTable, measurements: list[Measurement], seed: int
) -> None:
    shuffled = Random(seed).sample(measurements, len(measurements))
    assert closed(states_of(table), *measurements) == closed(states_of(table), *shuffled)


@given(MEASUREMENTS, st.integers(0, 40))
def test_stopped_and_going_on_is_running_through(
    table: TrafficTable, measurements: list[Measurement], cut: int
) -> None:
    in_order = sorted(measurements, key=lambda one: one.end_us)
    through, first, second = states_of(table), states_of(table), states_of(table)
    whole = closed(through, *in_order)
    before = closed(first, *in_order[:cut], after_s=0)
    second.restore(first.snapshot())
    assert before + closed(second, *in_order[cut:]) == whole
