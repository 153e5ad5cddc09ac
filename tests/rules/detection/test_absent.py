"""`absent` as time tables."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from models.times import SECOND_US
from rules.language.model import Absent, Close
from rules.language.model import Stage as AtStage
from tests.rules.detection.made import Row, device, played, rule, staged, stills
from tests.rules.detection.stage import Stage, reading, seconds, tick

TOPIC = "sensor.readings"


def missed(for_s: float = 60, devices: list[Any] | None = None, **more: Any) -> Stage:
    clauses = {name: more.pop(name) for name in ("close", "stages") if name in more}
    if "expect_every_s" in more:
        more["expect_every_us"] = round(more.pop("expect_every_s") * SECOND_US)
    detect = Absent(round(for_s * SECOND_US), **more)
    return staged(rule(TOPIC, detect, 'metric == "tilt"', **clauses), devices=devices or [])


def tilt(second: float, name: str = "t-1") -> Any:
    return reading(second, 1, "tilt", name)


def keyed(stage: Stage) -> list[tuple[float, str, str]]:
    return [(seconds(d), d.kind, next(iter(d.key.values()))) for d in stage.told if d.kind != "still"]


def test_it_is_raised_exactly_after_its_time_and_cleared_by_the_next_match() -> None:
    s = missed()
    s.feed(tilt(1), tilt(31))
    assert played(s, TOPIC, 95) == []
    assert played(s, TOPIC, 96) == [(91.0, "raised", None)]
    s.feed(tilt(200))
    assert played(s, TOPIC, 220) == [(91.0, "raised", None), (200.0, "cleared", None)]
    assert s.told[0].held_s == 60.0


def test_a_match_at_the_very_moment_is_in_time() -> None:
    s = missed()
    s.feed(tilt(1), tilt(61), tilt(121.001))
    assert played(s, TOPIC, 130) == [(121.0, "raised", None), (121.001, "cleared", None)]


def test_what_was_never_seen_is_not_missed() -> None:
    s = missed()
    s.feed(reading(1, 1, "rain", "t-1"))
    assert played(s, TOPIC, 500) == []


def test_other_readings_of_the_device_are_no_match() -> None:
    s = missed()
    s.feed(tilt(1), reading(30, 1, "rain", "t-1"), reading(60, 1, "rain", "t-1"))
    assert played(s, TOPIC, 100) == [(61.0, "raised", None)]


def test_a_restart_changes_nothing() -> None:
    s = missed()
    s.feed(tilt(1), tick(50, TOPIC))
    blob = s.detector.snapshot()
    s.detector = s.new()
    s.detector.restore(blob)
    assert played(s, TOPIC, 100) == [(61.0, "raised", None)]


def test_the_clock_alone_tells_it_on_an_idle_partition() -> None:
    s = missed()
    s.feed(tilt(1))
    s.advance(65.9)
    assert s.table() == []
    s.advance(66)
    assert s.table() == [(61.0, "raised", None)]


def test_it_may_be_told_as_suspected_and_its_stages_follow() -> None:
    stages = [AtStage(0, "remind_owner"), AtStage(200 * SECOND_US, "open_case")]
    s = missed(suspect=True, stages=stages)
    s.feed(tilt(1))
    assert played(s, TOPIC, 300) == [(61.0, "raised", "remind_owner"), (201.0, "stage", "open_case")]
    assert {d.suspected for d in s.told} == {True}
    assert stills(s)[:2] == [91.0, 121.0]


def test_after_its_time_out_only_another_match_makes_it_missable_again() -> None:
    s = missed(close=Close(timeout_us=100 * SECOND_US))
    s.feed(tilt(1))
    assert played(s, TOPIC, 500) == [(61.0, "raised", None), (161.0, "cleared", None)]
    s.feed(tilt(600))
    assert played(s, TOPIC, 700)[2:] == [(660.0, "raised", None)]


def test_a_listed_device_that_never_came_is_missed_from_the_first_match_of_its_area_on() -> None:
    devices = [device("t-1"), device("t-2"), device("r-1", kind="rain"), device("t-3", area="other")]
    s = missed(listed=True, devices=devices)
    s.feed(tilt(10), tilt(40), tilt(70))
    played(s, TOPIC, 100)
    assert keyed(s) == [(70.0, "raised", "t-2")]


def test_without_listing_only_what_was_seen_is_missed() -> None:
    s = missed(devices=[device("t-1"), device("t-2")])
    s.feed(tilt(10), tilt(40), tilt(70))
    assert played(s, TOPIC, 100) == []


def test_beyond_so_many_keys_a_new_one_is_not_watched_and_counted() -> None:
    s = missed()
    s.detector.lanes[TOPIC].watches[0].most_remembered = 2
    s.feed(*(tilt(1, f"t-{n}") for n in range(3)))
    played(s, TOPIC, 70)
    assert keyed(s) == [(61.0, "raised", "t-0"), (61.0, "raised", "t-1")]
    assert s.detector.memory().evicted == 1


# -- the parent --------------------------------------------------------------------------------------------------------


def site(count: int, gateway: str = "gw-1", name: str = "t") -> list[Any]:
    return [device(f"{name}-{n}", gateway) for n in range(count)]


def test_a_site_that_falls_silent_is_one_condition() -> None:
    s = missed(parent="gateway", devices=site(500))
    for second in range(0, 100, 10):
        s.feed(*(tilt(second + n / 50, f"t-{n}") for n in range(500)))
    played(s, TOPIC, 1000)
    assert keyed(s) == [(150.0, "raised", "gw-1")]
    assert s.told[0].key == {"gateway": "gw-1"}


def test_one_of_many_is_its_own_affair() -> None:
    s = missed(parent="gateway", devices=site(10))
    for second in range(0, 200, 10):
        s.feed(*(tilt(second, f"t-{n}") for n in range(10) if n or second < 50))
    played(s, TOPIC, 200)
    assert keyed(s) == [(100.0, "raised", "t-0")]


def test_four_in_five_are_enough_and_fewer_are_not() -> None:
    for silent, expected in ((8, [(100.0, "raised", "gw-1")]), (7, [(100.0, "raised", f"t-{n}") for n in range(7)])):
        s = missed(parent="gateway", devices=site(10))
        for second in range(0, 120, 10):
            s.feed(*(tilt(second, f"t-{n}") for n in range(10) if n >= silent or second < 50))
        played(s, TOPIC, 120)
        assert sorted(keyed(s)) == expected


def test_the_return_of_most_clears_the_parent_and_gives_the_others_their_whole_time() -> None:
    s = missed(parent="gateway", devices=site(5))
    s.feed(*(tilt(0, f"t-{n}") for n in range(5)), tilt(100, "t-0"), tilt(101, "t-1"))
    s.feed(*(tilt(t, name) for t in range(110, 190, 20) for name in ("t-0", "t-1", "t-2")))
    played(s, TOPIC, 190)
    assert keyed(s) == [
        (60.0, "raised", "gw-1"),
        (101.0, "cleared", "gw-1"),
        (161.0, "raised", "t-3"),
        (161.0, "raised", "t-4"),
    ]


def test_those_that_were_told_before_stay_told() -> None:
    s = missed(parent="gateway", devices=site(5))
    s.feed(*(tilt(t, f"t-{n}") for t in range(0, 100, 10) for n in range(5) if n or t < 10))
    played(s, TOPIC, 200)
    assert keyed(s) == [(60.0, "raised", "t-0"), (150.0, "raised", "gw-1")]


def test_what_is_overdue_is_what_is_expected_more_often() -> None:
    s = missed(300, parent="gateway", expect_every_s=100, devices=site(2))
    s.feed(tilt(0, "t-0"), tilt(140, "t-1"))
    played(s, TOPIC, 310)
    assert keyed(s) == [(300.0, "raised", "gw-1")]
    s = missed(300, parent="gateway", expect_every_s=120, devices=site(2))
    s.feed(tilt(0, "t-0"), tilt(140, "t-1"))
    played(s, TOPIC, 310)
    assert keyed(s) == [(300.0, "raised", "t-0")]


def test_a_parent_survives_a_restart() -> None:
    s = missed(parent="gateway", devices=site(5))
    s.feed(*(tilt(0, f"t-{n}") for n in range(5)))
    played(s, TOPIC, 80)
    blob = s.detector.snapshot()
    s.detector = s.new()
    s.detector.restore(blob)
    s.feed(*(tilt(100, f"t-{n}") for n in range(2)))
    played(s, TOPIC, 120)
    assert keyed(s) == [(60.0, "raised", "gw-1"), (100.0, "cleared", "gw-1")]


def slowly(seen: list[tuple[int, str]], for_s: int, end_s: int) -> list[Row]:
    """By looking for gaps."""
    table: list[Row] = []
    for name in {name for _, name in seen}:
        times = sorted({t for t, one in seen if one == name})
        for t, then in zip(times, [*times[1:], end_s + for_s], strict=True):
            if then - t > for_s and t + for_s <= end_s:
                table.append((float(t + for_s), "raised", None))
                if then <= end_s:
                    table.append((float(then), "cleared", None))
    return sorted(table)


@pytest.mark.parametrize("seed", range(8))
def test_it_tells_what_looking_for_gaps_tells(seed: int) -> None:
    rng = Random(seed)
    seen = sorted({(rng.randint(0, 500), rng.choice("ab")) for _ in range(40)})
    s = missed(for_s := rng.randint(5, 40))
    s.feed(*(tilt(t, name) for t, name in seen))
    s.feed(tick(505, TOPIC))
    assert sorted(s.table()) == slowly(seen, for_s, 500)
