"""Coverage against a plain count of covered microseconds, and its two promises: any order, and no look ahead."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rules.detection.coverage import Coverage
from tests.rules.detection import stage

REACH = 5
CAM = 0
times = st.lists(st.integers(0, 60), min_size=1, max_size=25)


def covered(sightings: list[int]) -> Coverage:
    coverage = Coverage(compiled=bool(stage.COMPILED))
    coverage.add_sources([REACH])
    coverage.see(np.zeros(len(sightings), dtype=np.int32), np.array(sightings, dtype=np.int64))
    return coverage


def cells(sightings: list[int]) -> set[int]:
    return {t + i for t in sightings for i in range(REACH)}


@given(times, st.integers(0, 70), st.integers(0, 70))
def test_it_is_the_union_of_what_each_sighting_vouches_for(sightings: list[int], a: int, b: int) -> None:
    expected = len(cells(sightings) & set(range(a, b)))
    assert covered(sightings).covered_us(CAM, a, b) == expected


@given(times, st.randoms(use_true_random=False))
def test_the_order_of_sightings_does_not_matter(sightings: list[int], rng: object) -> None:
    shuffled = list(sightings)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert covered(sightings).snapshot() == covered(shuffled).snapshot()


@given(times, st.integers(0, 60))
def test_later_sightings_change_nothing_before_them(sightings: list[int], now: int) -> None:
    so_far = [t for t in sightings if t <= now]
    known, all_of_it = (covered(so_far)), covered(sightings)
    assert known.covered_us(CAM, 0, now) == all_of_it.covered_us(CAM, 0, now)


@given(times, st.integers(0, 60), st.integers(1, 20))
def test_reached_is_the_first_moment_with_enough(sightings: list[int], since: int, need: int) -> None:
    found = covered(sightings).reached(CAM, since, need)
    inside = sorted(c for c in cells(sightings) if c >= since)
    assert found == (inside[need - 1] + 1 if len(inside) >= need else None)


@given(times, st.integers(0, 70))
def test_the_end_of_a_span_is_where_the_cover_stops(sightings: list[int], at: int) -> None:
    end, on = covered(sightings).end_of_span(CAM, at), at
    while on in cells(sightings):
        on += 1
    assert end == (on if at in cells(sightings) else None)
