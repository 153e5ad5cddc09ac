"""`near` as time tables: `5a0 5b12` are fixes at second 5, a at 0 m and b 12 m to the east."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest

from models.times import SECOND_US
from rules.detection import near
from rules.language.model import Close, Near
from tests.rules.detection.made import Row, expression, played, rule, staged
from tests.rules.detection.stage import Sent, Stage, car, frame

TOPIC = "camera.tracks"
CLASSES = {"a": "car", "b": "truck", "c": "car", "d": "truck"}


def meeting(
    for_s: float = 0, within_m: float = 15, max_gap_s: float = 5, of: str = 'class == "truck"', **more: Any
) -> Stage:
    detect = Near(expression(TOPIC, of), within_m, round(for_s * SECOND_US), round(max_gap_s * SECOND_US))
    return staged(rule(TOPIC, detect, 'class == "car"', by=["track_id"], **more))


def fixes(table: str) -> list[Sent]:
    at: dict[float, list[Any]] = defaultdict(list)
    for word in table.split():
        found = re.fullmatch(r"([\d.]+)([a-z])(-?[\d.]+)", word)
        assert found is not None
        at[float(found[1])].append({**car(found[2], float(found[3])), "class": CLASSES[found[2]]})
    return [frame(t, *seen) for t, seen in sorted(at.items())]


def told(stage: Stage, table: str, until_s: float = 0) -> list[Row]:
    sent = fixes(table)
    stage.feed(*sent)
    return played(stage, TOPIC, max(until_s, max(s.arrival_s for s in sent) + 2))


def test_a_pair_is_raised_after_its_time_and_cleared_by_the_fix_that_shows_it_apart() -> None:
    s = meeting(for_s=3)
    assert told(s, "1a0 1b40 2a0 2b14 3a0 3b14 4a0 4b14 5a0 5b14 6a0 6b16") == [
        (5.0, "raised", None),
        (6.0, "cleared", None),
    ]
    assert s.told[0].key == {"track_id": "a", "other_track_id": "b"}


def test_the_key_of_a_pair_is_the_same_whoever_comes_first() -> None:
    one, other = meeting(), meeting()
    one.feed(*fixes("1b0 2a0"))
    other.feed(*fixes("1a0 2b0"))
    played(one, TOPIC, 5)
    played(other, TOPIC, 5)
    assert [d.key for d in one.told] == [d.key for d in other.told] == [{"track_id": "a", "other_track_id": "b"}]


def test_two_of_the_same_side_are_no_pair() -> None:
    assert told(meeting(), "1a0 1c1 2a0 2c1") == []


def test_one_that_is_both_sides_is_no_pair_with_itself_and_one_pair_with_another() -> None:
    s = meeting(of='class == "car"')
    assert told(s, "1a0 2a0 2c1 3a0 3c1") == [(2.0, "raised", None)]


def test_two_that_drive_together_are_near_all_the_time() -> None:
    table = " ".join(f"{t}a{30 * t} {t}b{30 * t + 5}" for t in range(1, 8))
    assert told(meeting(for_s=5), table) == [(6.0, "raised", None)]


def test_both_parked_stay_one_pair() -> None:
    table = " ".join(f"{t}a0 {t}b5" for t in range(1, 100, 4))
    assert told(meeting(for_s=10), table) == [(11.0, "raised", None)]


def test_a_gap_begins_anew_before_it_is_raised() -> None:
    assert told(meeting(for_s=8), "1a0 1b5 5a0 5b5 10.5a0 10.5b5 15a0 15b5") == []
    assert told(meeting(for_s=8), "1a0 1b5 5a0 5b5 10a0 10b5") == [(9.0, "raised", None)]


def test_one_that_falls_silent_makes_it_unknown_then_missed() -> None:
    s = meeting(close=Close(absent_for_us=20 * SECOND_US))
    table = "1a0 1b5 2a0 2b5 " + " ".join(f"{t}a0" for t in range(3, 40))
    assert told(s, table) == [
        (1.0, "raised", None),
        (7.0, "unknown", None),
        (22.0, "cleared", None),
    ]


def test_three_together_are_each_pair_once() -> None:
    s = meeting(of="true")
    told(s, "1a0 1b5 1c8 2a0 2b5 2c8")
    assert [tuple(d.key.values()) for d in s.told] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_who_is_far_is_never_held_against_it_wherever_cells_end() -> None:
    for east_m in range(0, 60, 7):
        assert told(meeting(), f"1a{east_m} 1b{east_m + 14.9}") == [(1.0, "raised", None)]
        assert told(meeting(), f"1a{east_m} 1b{east_m + 15.1}") == []


def test_pairs_survive_a_restart() -> None:
    s = meeting(for_s=5)
    s.feed(*fixes("1a0 1b5 3a0 3b5"))
    blob = s.detector.snapshot()
    s.detector = s.new()
    s.detector.restore(blob)
    assert told(s, "5a0 5b5 7a0 7b5 8a0 8b30") == [(6.0, "raised", None), (8.0, "cleared", None)]


def test_a_crowd_is_looked_at_only_so_far_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST_MET", 2)
    s = meeting(of="true")
    told(s, "1a0 1b1 1c2 1d3")
    assert s.detector.memory().evicted == 4


def test_beyond_so_many_keys_those_not_seen_for_longest_are_forgotten_and_counted() -> None:
    s = meeting(for_s=60, max_gap_s=50)
    (watch,) = s.detector.lanes[TOPIC].watches
    watch.most_remembered = 4
    told(s, "1a0 1b5 2a0 2b5 3c100 3d105 4c100 4d105 5a0 5b5")
    assert len(watch.open) <= 5
    assert s.detector.memory().evicted > 0
    assert s.told == []
