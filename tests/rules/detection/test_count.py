"""`count` as time tables, and held against counting every row anew at every look."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from models.times import SECOND_US
from rules.detection import count as counting
from rules.language.model import Close, Count, ZoneSelector
from tests.rules.detection.made import Row, played, rule, staged
from tests.rules.detection.stage import Sent, Stage, car, frame, reading, square, tick

TOPIC = "camera.tracks"
ZONES = [square("a")]
IN_A = ZoneSelector(("no-parking/*",))


def counted(window_s: float = 60, slide_s: float = 10, at_least: int = 2, present_s: float = 0, **more: Any) -> Stage:
    distinct = more.pop("distinct", ("sensor_id", "track_id"))
    window_us, slide_us, present_us = (round(s * SECOND_US) for s in (window_s, slide_s, present_s))
    detect = Count(distinct, window_us, slide_us, at_least, present_us)
    return staged(rule(TOPIC, detect, by=["zone"], zones=IN_A, **more), zones=ZONES)


def frames(table: str, sensor: str = "cam-1", until_s: int = 0) -> list[Sent]:
    """`5ab`: at second 5 the tracks a and b; then empty frames each 5 s."""
    found = {int(word.rstrip("abcdef")): word.lstrip("0123456789") for word in table.split()}
    seconds = sorted({*found, *range(0, until_s, 5)})
    return [frame(t, *(car(track) for track in found.get(t, "")), sensor=sensor) for t in seconds]


def test_each_counts_once_however_often_it_is_seen() -> None:
    s = counted()
    s.feed(*frames("1a 2a 3a 4a", until_s=60))
    assert played(s, TOPIC, 90) == []


def test_it_is_raised_at_the_look_that_finds_enough_and_ends_when_they_left_the_window() -> None:
    s = counted()
    s.feed(*frames("1a 11b", until_s=100))
    assert played(s, TOPIC, 90) == [(20.0, "raised", None), (70.0, "cleared", None)]
    assert [d.value for d in s.told if d.kind == "raised"] == [2.0]


def test_the_same_track_of_two_cameras_is_two_where_both_name_it() -> None:
    s = counted()
    s.feed(frame(1, car("a"), sensor="cam-1"), frame(8, car("a"), sensor="cam-2"))
    assert played(s, TOPIC, 15) == [(10.0, "raised", None)]
    s = counted(distinct=("track_id",))
    s.feed(frame(1, car("a"), sensor="cam-1"), frame(8, car("a"), sensor="cam-2"))
    assert played(s, TOPIC, 15) == []


def test_rows_count_where_no_field_is_named() -> None:
    s = counted(distinct=(), at_least=3)
    s.feed(*frames("1a 2a 8a"))
    assert played(s, TOPIC, 15) == [(10.0, "raised", None)]


def test_a_tokenised_field_tells_apart_by_its_token() -> None:
    s = counted(distinct=("plate",))
    s.feed(frame(1, car("1", plate="浙F12345"), car("2", plate="浙F12345"), car("3")))
    assert played(s, TOPIC, 15) == []
    s.feed(frame(16, car("4", plate="浙F54321")))
    assert played(s, TOPIC, 25) == [(20.0, "raised", None)]


def test_each_must_be_there_for_some_time() -> None:
    s = counted(present_s=20, at_least=2)
    s.feed(*frames("1ab 11a 21ab 31a"))
    assert played(s, TOPIC, 35) == [(30.0, "raised", None)]
    s = counted(present_s=20, at_least=2)
    s.feed(*frames("1ab 11a 20b 31a"))
    assert played(s, TOPIC, 35) == []


def test_what_was_seen_before_the_window_does_not_make_it_longer() -> None:
    s = counted(window_s=30, present_s=25, at_least=1)
    s.feed(*frames("1a 35a"))
    assert played(s, TOPIC, 50) == []


def test_a_row_outside_the_zone_counts_for_nothing() -> None:
    s = counted()
    s.feed(frame(1, car("a"), car("b", east_m=200)))
    assert played(s, TOPIC, 15) == []


def test_it_ends_only_below_its_own_level_held_for_its_own_time() -> None:
    s = counted(window_s=10, close=Close(below=1, for_us=20 * SECOND_US))
    s.feed(*frames("5ab 15a 25a", until_s=100))
    assert played(s, TOPIC, 90) == [(10.0, "raised", None), (60.0, "cleared", None)]


def test_an_unwatched_street_is_not_an_empty_one() -> None:
    s = counted(window_s=10)
    s.feed(*frames("5ab"), *(tick(t) for t in range(10, 200, 10)))
    assert s.table() == [(10.0, "raised", None), (15.0, "unknown", None)]
    s.feed(*(frame(t) for t in range(300, 330, 5)), tick(340))
    assert s.table()[2:] == [(310.0, "cleared", None)]


def test_only_so_many_values_are_told_apart_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_VALUES", 3)
    s = counted(at_least=3)
    s.feed(frame(8, *(car(str(n)) for n in range(5))))
    assert played(s, TOPIC, 15) == [(10.0, "raised", None)]
    assert s.detector.memory().evicted == 2


def test_readings_without_the_field_are_not_counted() -> None:
    detect = Count(("status",), 60 * SECOND_US, 10 * SECOND_US, 1)
    s = staged(rule("sensor.readings", detect))
    s.feed(reading(1, 5))
    assert played(s, "sensor.readings", 15) == []


def slowly(seen: list[tuple[int, str]], window: int, slide: int, at_least: int, present: int) -> list[Row]:
    """Count every row anew at every look."""
    table: list[Row] = []
    is_open = False
    for at in range(0, 400, slide):
        spans: dict[str, list[int]] = {}
        for t, name in seen:
            if at - window < t <= at:
                spans.setdefault(name, []).append(t)
        count = sum(1 for times in spans.values() if max(times) - min(times) >= present)
        if (count >= at_least) != is_open:
            is_open = not is_open
            table.append((float(at), "raised" if is_open else "cleared", None))
    return table


@pytest.mark.parametrize("seed", range(12))
def test_looks_find_what_counting_every_row_anew_finds(seed: int) -> None:
    rng = Random(seed)
    window, slide = rng.choice([(30, 10), (25, 10), (60, 15), (10, 20)])
    at_least, present = rng.randint(1, 3), rng.choice([0, 0, 8])
    seen = sorted((rng.randint(0, 300), rng.choice("abcd")) for _ in range(60))
    at: dict[int, set[str]] = {}
    for t, name in seen:
        at.setdefault(t, set()).add(name)
    s = counted(window, slide, at_least, present)
    s.feed(*(frame(t, *(car(name) for name in sorted(at.get(t, ())))) for t in range(-60, 400)))
    assert played(s, TOPIC, 400) == slowly(seen, window, slide, at_least, present)
