"""Which witnesses agree: a pure question of a set of them, whatever order they came in.

A witness stands for a span of event time, from its first to its newest word. Some agree when one of them, the centre,
has all others within reach, and a moment of the join's length touches the spans of all. What is within reach grows by
what either does not know of its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from geo.distance import distance_m
from rules.incidents.entries import Witness
from rules.language.model import AllOf, Correlate, Join, NearBy

MOST_ERROR_M = 1000.0  # who knows no better where it is says nothing of a place
Near = Callable[[Witness, Witness], bool]
Enough = Callable[[Sequence[Witness]], bool]


def agreeing(join: Join, about: Witness, others: Sequence[Witness]) -> list[Witness]:
    """All that agree with `about`, itself among them, in order of time; empty where the join does not hold with it."""
    match join:
        case Correlate():
            return gathered(about, others, within(join.radius_m), join.within_us, partial(confirms, join))
        case AllOf():
            return gathered(about, others, within(join.radius_m), join.within_us, partial(complete, join.parts))
        case NearBy():
            return paired(join, about, others)
        case _:
            return []


def gathered(about: Witness, others: Sequence[Witness], near: Near, within_us: int, enough: Enough) -> list[Witness]:
    everyone = [about, *others]
    if not enough(everyone):
        return []
    found: dict[tuple[str, str], Witness] = {}
    for centre in [about, *(other for other in others if near(about, other))]:
        around = [one for one in everyone if one is centre or near(centre, one)]
        for some in at_once(around, within_us):
            if about in some and centre in some and enough(some):
                found.update(((one.source, one.identity), one) for one in some)
                if len(found) == len(everyone):
                    return sorted(everyone, key=in_time)
    return sorted(found.values(), key=in_time)


def at_once(some: Sequence[Witness], within_us: int) -> Iterator[list[Witness]]:
    """For each that may be the last to begin, all whose spans a moment of this length touches."""
    for latest_us in sorted({one.first_us for one in some}, reverse=True):
        yield [one for one in some if one.first_us <= latest_us and one.last_us >= latest_us - within_us]


def paired(join: NearBy, about: Witness, others: Sequence[Witness]) -> list[Witness]:
    """Who of the other kind has been near for long enough."""
    near = within(join.within_m)
    found = [
        one
        for one in others
        if one.source != about.source and near(about, one) and shared_us(about, one) >= join.for_us
    ]
    return sorted([about, *found], key=in_time) if found else []


def shared_us(a: Witness, b: Witness) -> int:
    """How long both are known to have been there; below 0 how far apart they were."""
    return min(a.last_us, b.last_us) - max(a.first_us, b.first_us)


def confirms(join: Correlate, some: Sequence[Witness]) -> bool:
    """Enough different witnesses, one of those that must be there, and sure enough if that is asked."""
    known = {source.name: source.reliability for source in join.sources}
    different = {(one.source, one.who) for one in some}
    if len(different) < join.need:
        return False
    if join.require_any and not any(source in join.require_any for source, _ in different):
        return False
    return join.confidence is None or sureness(known.get(source) for source, _ in different) >= join.confidence


def sureness(reliabilities: Iterable[float | None]) -> float:
    """Noisy or; who states no reliability adds nothing."""
    doubt = 1.0
    for reliability in sorted(each or 0.0 for each in reliabilities):
        doubt *= 1.0 - reliability
    return round(1.0 - doubt, 9)


def complete(parts: Sequence[str], some: Sequence[Witness]) -> bool:
    return set(parts) <= {one.source for one in some}


def same_key(a: Witness, b: Witness) -> bool:
    return a.key == b.key


def within(radius_m: float | None) -> Near:
    """None: by key."""
    if radius_m is None:
        return same_key

    def near(a: Witness, b: Witness) -> bool:
        if a.lon is None or a.lat is None or b.lon is None or b.lat is None:
            return False
        return distance_m(a.lon, a.lat, b.lon, b.lat) <= radius_m + a.error_m + b.error_m

    return near


def in_time(one: Witness) -> tuple[int, str, str]:
    return one.first_us, one.identity, one.source


def longest_reach_m(join: Join, about: Witness) -> float | None:
    """How far from it another may be that agrees with the same centre; None: it is found by its key."""
    match join:
        case Correlate(radius_m=radius_m):
            reach_m = 2 * radius_m
        case AllOf(radius_m=radius_m) if radius_m is not None:
            reach_m = 2 * radius_m
        case NearBy(within_m=within_m):
            reach_m = within_m
        case _:
            return None
    return reach_m + about.error_m + 3 * MOST_ERROR_M


def longest_us(join: Join) -> int:
    """How long after its last word a witness may still count."""
    match join:
        case Correlate(within_us=within_us) | AllOf(within_us=within_us):
            return within_us
        case _:
            return 0
