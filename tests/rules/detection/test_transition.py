"""`transition` as time tables: a word `5o` is a fix outside at second 5, `i` inside, `n` in the buffer, `f` beyond."""

from __future__ import annotations

from typing import Any

import pytest

from models.times import SECOND_US
from rules.language.model import Close, Transition, ZoneSelector
from tests.rules.detection.made import Row, played, rule, staged
from tests.rules.detection.stage import Sent, Stage, car, frame, reading, square

TOPIC = "camera.tracks"
ZONES = [square("a")]
EAST_M = {"o": -60.0, "i": 0.0, "n": 21.0, "f": 60.0}
KEYS = ["sensor_id", "track_id", "zone"]


def moving(change: str, settle_s: float = 0, buffer_m: float = 0, **more: Any) -> Stage:
    detect = Transition(change, round(settle_s * SECOND_US))  # type: ignore[arg-type]
    selector = ZoneSelector(("no-parking/*",), more.pop("exclude", ()), buffer_m)
    by, all_zones = more.pop("by", KEYS), more.pop("all_zones", ZONES)
    return staged(rule(TOPIC, detect, by=by, zones=selector, **more), zones=all_zones)


def fixes(table: str) -> list[Sent]:
    return [frame(float(word[:-1]), car(east_m=EAST_M[word[-1]])) for word in table.split()]


def told(stage: Stage, table: str, until_s: float = 0) -> list[Row]:
    sent = fixes(table)
    last_s = max(float(word[:-1]) for word in table.split())
    stage.feed(*sent)
    return played(stage, TOPIC, max(until_s, last_s + 2))


@pytest.mark.parametrize(
    ("change", "settle_s", "table", "expected"),
    [
        ("enter", 0, "1o 2i", [(2, "raised")]),
        ("enter", 0, "1i 2i", []),
        ("enter", 0, "1i 2o 3i", [(3, "raised")]),
        ("enter", 0, "1o 2i 3i 4o 5i", [(2, "raised"), (4, "cleared"), (5, "raised")]),
        ("enter", 3, "1o 2i 3i 4i 5i", [(5, "raised")]),
        ("enter", 3, "1o 2i 3i 4i 6i", [(5, "raised")]),
        ("enter", 3, "1o 2i 3i 4o 5i 6i 7i", []),
        ("enter", 3, "1o 2i 5i 6o 8i 9o 10o 11o 12o", [(5, "raised"), (12, "cleared")]),
        ("exit", 0, "1o 2i 3o", [(3, "raised")]),
        ("exit", 0, "1i 2o", [(2, "raised")]),
        ("exit", 0, "1o 2o", []),
        ("exit", 2, "1i 2o 3i 4o 5o 7o 8o", [(6, "raised")]),
        ("cross", 0, "1o 2i 3f", [(3, "raised")]),
        ("cross", 0, "1o 2f", [(2, "raised")]),
        ("cross", 0, "1i 2f", []),
        ("cross", 0, "1o 2i", []),
        ("cross", 0, "1o 300f", [(300, "raised")]),
        ("cross", 0, "1o 302f", []),
        ("cross", 2, "1o 2i 3f 4f 5f", [(5, "raised")]),
    ],
    ids=lambda v: v.replace(" ", "_") if isinstance(v, str) else None,
)  # fmt: skip
def test_sides_change(change: str, settle_s: float, table: str, expected: list[tuple[float, str]]) -> None:
    assert told(moving(change, settle_s), table) == [(float(at), kind, None) for at, kind in expected]


def test_in_the_buffer_one_has_not_left_and_has_not_entered() -> None:
    assert told(moving("exit", buffer_m=5), "1i 2n 3i 4n 5o") == [(5.0, "raised", None)]
    assert told(moving("enter", buffer_m=5), "1o 2n 3n 4i") == [(4.0, "raised", None)]
    assert told(moving("exit"), "1i 2n") == [(2.0, "raised", None)]


def test_each_zone_has_its_own_sides_where_the_key_has_the_zone() -> None:
    zones = [square("a"), square("b", east_m=40, side_m=40.5)]
    s = moving("enter", all_zones=zones)
    s.feed(frame(1, car(east_m=-60)), frame(2, car()), frame(3, car(east_m=40)))
    played(s, TOPIC, 10)
    assert [(row[0], d.zone) for row, d in zip(s.table(), s.told, strict=True)] == [
        (2.0, "no-parking/a"),
        (3.0, "no-parking/a"),
        (3.0, "no-parking/b"),
    ]


def test_the_zones_are_one_place_where_the_key_has_none() -> None:
    zones = [square("a"), square("b", east_m=40, side_m=40.5)]
    s = moving("enter", by=["sensor_id", "track_id"], all_zones=zones)
    s.feed(frame(1, car(east_m=-60)), frame(2, car()), frame(3, car(east_m=40)), frame(4, car(east_m=90)))
    assert played(s, TOPIC, 10) == [(2.0, "raised", None), (4.0, "cleared", None)]
    assert s.told[0].zone == "no-parking/a"


def test_a_line_between_two_fixes_crosses_any_of_the_zones_once() -> None:
    zones = [square("a"), square("b", east_m=40, side_m=30)]
    s = moving("cross", by=["sensor_id", "track_id"], all_zones=zones)
    s.feed(frame(1, car(east_m=-60)), frame(2, car(east_m=90)))
    assert played(s, TOPIC, 10) == [(2.0, "raised", None)]


def test_a_line_that_passes_by_crosses_nothing() -> None:
    s = moving("cross")
    s.feed(frame(1, car(east_m=-60, north_m=21)), frame(2, car(east_m=60, north_m=21)))
    assert played(s, TOPIC, 10) == []


def test_an_excluded_zone_within_is_outside() -> None:
    zones = [square("a"), square("bay", "permit", side_m=8)]
    s = moving("exit", exclude=("permit/*",), all_zones=zones)
    s.feed(frame(1, car(east_m=15)), frame(2, car()))
    assert played(s, TOPIC, 10) == [(2.0, "raised", None)]


def test_what_entered_is_cleared_when_it_is_missed_while_its_camera_watches() -> None:
    s = moving("enter", close=Close(absent_for_us=5 * SECOND_US))
    s.feed(*fixes("1o 2i 3i"), *(frame(t) for t in range(4, 12)))
    assert played(s, TOPIC, 12) == [(2.0, "raised", None), (8.0, "cleared", None)]


def test_a_silent_camera_says_nothing_of_it() -> None:
    assert told(moving("enter"), "1o 2i 3i", 100) == [(2.0, "raised", None), (13.0, "unknown", None)]


def test_without_zones_it_comes_to_fulfil_where() -> None:
    detect = Transition("enter", 10 * SECOND_US)
    s = staged(rule("sensor.readings", detect, 'metric == "water_level" and value >= 15'))
    s.feed(*(reading(10 * n, v) for n, v in enumerate([20, 20, 5, 5, 20, 5, 20, 20, 20, 5, 5])))
    assert played(s, "sensor.readings", 200) == [(70.0, "raised", None), (100.0, "cleared", None)]


def test_a_day_later_nobody_knows_where_it_came_from() -> None:
    assert told(moving("enter"), "1o 86402i") == []
    assert told(moving("enter"), "1o 86401i") == [(86401.0, "raised", None)]
