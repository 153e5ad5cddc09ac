"""Correlation against another way to say it: every subset of what was heard, by brute force."""

from __future__ import annotations

from itertools import combinations
from math import cos, hypot, prod, radians
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from models.times import MINUTE_US
from rules.incidents.agreement import agreeing
from rules.incidents.entries import Witness
from rules.language.model import Correlate, Source
from tests.rules.incidents.city import LAT, LON
from tests.rules.incidents.joined import ANY

RELIABLE = {"a": 0.5, "b": 0.7, "c": None}


class Heard(NamedTuple):
    source: str
    who: str
    east_m: float
    north_m: float
    first_min: int
    lasts_min: int
    error_m: float


def witness(number: int, heard: Heard) -> Witness:
    return Witness(
        rule="r",
        join="j",
        source=heard.source,
        who=heard.who,
        identity=f"d-{number}",
        first_us=heard.first_min * MINUTE_US,
        last_us=(heard.first_min + heard.lasts_min) * MINUTE_US,
        due_us=0,
        key="",
        lon=LON + heard.east_m / (111_320 * cos(radians(LAT))),
        lat=LAT + heard.north_m / 110_900,
        error_m=heard.error_m,
    )


def is_enough(join: Correlate, some: tuple[Heard, ...]) -> bool:
    names = {(one.source, one.who) for one in some}
    doubt = prod(1 - (RELIABLE[source] or 0) for source, _ in names)
    return (
        len(names) >= join.need
        and (not join.require_any or bool({source for source, _ in names} & set(join.require_any)))
        and (join.confidence is None or 1 - doubt >= join.confidence - 1e-12)
    )


def is_together(join: Correlate, some: tuple[Heard, ...]) -> bool:
    """Some minute of which the join's length on touches them all; one of them with all the others in reach."""
    length = join.within_us // MINUTE_US
    last = max(one.first_min for one in some)
    in_time = any(
        all(one.first_min <= start + length and one.first_min + one.lasts_min >= start for one in some)
        for start in range(-length, last + 1)
    )
    return in_time and any(
        all(
            one is centre
            or hypot(one.east_m - centre.east_m, one.north_m - centre.north_m)
            <= join.radius_m + one.error_m + centre.error_m
            for one in some
        )
        for centre in some
    )


def expected(join: Correlate, heard: list[Heard]) -> set[int]:
    """Everybody of any subset with the first that holds."""
    found: set[int] = set()
    others = range(1, len(heard))
    for size in range(len(heard)):
        for chosen in combinations(others, size):
            some = tuple(heard[n] for n in (0, *chosen))
            if is_enough(join, some) and is_together(join, some):
                found |= {0, *chosen}
    return found


sightings = st.builds(
    Heard,
    source=st.sampled_from("abc"),
    who=st.sampled_from(["1", "2"]),
    east_m=st.sampled_from([0.0, 60.0, 130.0, 195.0]),
    north_m=st.sampled_from([0.0, 60.0, 130.0]),
    first_min=st.integers(0, 12),
    lasts_min=st.sampled_from([0, 0, 3, 8]),
    error_m=st.sampled_from([0.0, 0.0, 40.0]),
)
correlations = st.builds(
    Correlate,
    name=st.just("j"),
    radius_m=st.sampled_from([80.0, 150.0]),
    within_us=st.sampled_from([0, 2 * MINUTE_US, 5 * MINUTE_US]),
    need=st.integers(1, 3),
    sources=st.just(tuple(Source(name, name, "sensor.readings", ANY, RELIABLE[name]) for name in "abc")),
    require_any=st.sampled_from([(), ("a",), ("b", "c")]),
    confidence=st.sampled_from([None, 0.5, 0.8]),
)


@settings(max_examples=300)
@given(correlations, st.lists(sightings, min_size=1, max_size=6))
def test_those_agree_that_are_in_any_subset_that_holds(join, heard):
    said = [witness(n, one) for n, one in enumerate(heard)]
    found = agreeing(join, said[0], said[1:])
    assert {said.index(one) for one in found} == expected(join, heard)


@settings(max_examples=100)
@given(correlations, st.lists(sightings, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_others_says_nothing(join, heard, random):
    said = [witness(n, one) for n, one in enumerate(heard)]
    shuffled = said[1:]
    random.shuffle(shuffled)
    assert agreeing(join, said[0], said[1:]) == agreeing(join, said[0], shuffled)
