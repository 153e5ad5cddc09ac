"""Mended tracks as time tables: cameras that send no speed, ids that break, frames that are missing.

Every rule here has `neighbours`, so it sees mended tracks; the view it asks for is never known to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from rules.detection import lane as lanes
from rules.detection import tracks as tracked
from tests.rules.detection import stage as stages
from tests.rules.detection.stage import Sent, Stage, car, frame, plain, seconds, square, tick

RULE = """
version: 1
rules:
  - id: parked
    revision: 1
    name: {zh: 违停, en: Parked}
    owner: {department: traffic-police, contact: desk}
    status: active
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    where: class == "car" and speed_mps < 0.5
    zones: {in: ["no-parking/*"]}
    by: [sensor_id, track_id, zone]
    neighbours:
      - in_view: {ahead: 100m}
    detect:
      dwell: {for: 60s, max_move: 3m, max_gap: 20s}
    close: {absent_for: 20s, min_coverage: 80%}
    message: {zh: "{zone.name} 违停 {plate|mask} {role}", en: "{plate|mask} {role} parked in {zone.name}"}
"""
PLAINLY = RULE.replace("    neighbours:\n      - in_view: {ahead: 100m}\n", "").replace("id: parked", "id: as-sent")
ZONES = [square("a", side_m=400)]


def stage(rules: str = RULE) -> Stage:
    return Stage(rules, ZONES)


def shaken(rng: Random, track: str = "17", east_m: float = 0, north_m: float = 0, **more: Any) -> Any:
    """Seen without a speed, within 1.5 m or so of where it is."""
    return car(track, east_m + rng.gauss(0, 1.5), north_m + rng.gauss(0, 1.5), None, **more)


def raised(s: Stage) -> list[tuple[str, float]]:
    return [(d.key["track_id"], seconds(d)) for d in s.told if d.kind == "raised"]


def kinds(s: Stage) -> list[str]:
    return [d.kind for d in s.told if d.kind != "still"]


def every_second(upto: int, see: Callable[[int], Sequence[Any]], since: int = 0) -> Iterable[Sent]:
    return (frame(t, *see(t)) for t in range(since, upto))


# no speed


@pytest.mark.parametrize("seed", range(5))
def test_what_stands_is_told_within_some_seconds_though_its_places_shake(seed: int):
    s, rng = stage(RULE.replace("max_move: 3m", "max_move: 5m")), Random(seed)
    s.feed(*every_second(90, lambda t: [shaken(rng)]))
    assert [track for track, _ in raised(s)] == ["17"]
    assert 60 <= raised(s)[0][1] <= 75


@pytest.mark.parametrize("speed", [2.0, 8.0])
def test_what_moves_never(speed: float):
    s, rng = stage(), Random(1)
    s.feed(*every_second(300, lambda t: [shaken(rng, east_m=speed * (t % 90) - 190)]))
    assert raised(s) == []


def test_a_place_is_told_without_its_shaking():
    s, rng = stage(RULE.replace("max_move: 3m", "max_move: 5m")), Random(3)
    s.feed(*every_second(200, lambda t: [shaken(rng)]))
    lons = [d.lon for d in s.told if d.lon is not None]
    assert len(lons) > 3
    assert max(abs(lon - 121.02) * 95_802 for lon in lons) < 2


def test_it_stops_and_stands_from_when_it_stood():
    s = stage()
    s.feed(*every_second(120, lambda t: [car("17", min(0, 8.0 * (t - 20)), speed=None)]))
    assert [track for track, _ in raised(s)] == ["17"]
    assert 80 <= raised(s)[0][1] <= 90


def test_what_has_neither_place_nor_speed_is_nowhere():
    s = stage()
    s.feed(*every_second(100, lambda t: [car("1", speed=None, lon=None, lat=None), car("2", 10)]))
    assert raised(s) == [("2", 60.0)]


@pytest.mark.parametrize("hertz", [1, 5, 25])
def test_the_rate_of_frames_changes_little(hertz: int):
    s, rng = stage(RULE.replace("max_move: 3m", "max_move: 5m")), Random(2)
    s.feed(*(frame(n / hertz, shaken(rng)) for n in range(80 * hertz)))
    assert [track for track, _ in raised(s)] == ["17"]
    assert 60 <= raised(s)[0][1] <= 72


def test_a_speed_sent_now_and_then_counts_where_it_is_sent():
    s = stage()
    s.feed(*every_second(80, lambda t: [car(speed=0.0 if t % 3 == 0 else None)]))
    assert raised(s) == [("17", 60.0)]
    s = stage()
    s.feed(*every_second(80, lambda t: [car(speed=0.0 if t % 3 == 0 else 3.0)]))
    assert raised(s) == [("17", 60.0)]
    s = stage()
    s.feed(*every_second(80, lambda t: [car(speed=3.0)]))
    assert raised(s) == []


# ids


def test_ids_that_break_every_twenty_seconds_are_one_detection_with_the_first():
    s, rng = stage(RULE.replace("max_move: 3m", "max_move: 5m")), Random(4)
    s.feed(*every_second(200, lambda t: [shaken(rng, f"id-{t // 20}")]), *(frame(t) for t in range(200, 260)))
    assert kinds(s) == ["raised", "cleared"]
    assert {d.key["track_id"] for d in s.told} == {"id-0"}


def test_two_side_by_side_whose_ids_break_at_once_stay_apart():
    s = stage()
    s.feed(*every_second(130, lambda t: [car(f"a{t // 25}"), car(f"b{t // 25}", north_m=3)]))
    assert raised(s) == [("a0", 60.0), ("b0", 60.0)]
    norths = {d.key["track_id"]: round((d.lat - 30.70) * 110_864) for d in s.told if d.lat is not None}
    assert norths == {"a0": 0, "b0": 3}


def test_another_class_is_not_joined():
    rule = RULE.replace('class == "car" and ', "")
    s = stage(rule)
    s.feed(*every_second(90, lambda t: [car("1") if t < 40 else {**car("2"), "class": "van"}]))
    assert raised(s) == []
    s = stage(rule)
    s.feed(*every_second(90, lambda t: [car("1" if t < 40 else "2")]))
    assert raised(s) == [("1", 60.0)]


def test_who_parks_where_another_left_is_another():
    s = stage()
    s.feed(*every_second(70, lambda t: [car("1")]))
    s.feed(*every_second(75, lambda t: [car("1", 8.0 * (t - 69), speed=8.0)], since=70))
    s.feed(*every_second(80, lambda t: [], since=75))
    s.feed(*every_second(160, lambda t: [car("2")], since=80))
    assert raised(s) == [("1", 60.0), ("2", 140.0)]


def test_who_comes_long_after_one_was_lost_is_another():
    s = stage()
    s.feed(*every_second(40, lambda t: [car("1")]), *every_second(70, lambda t: [], since=40))
    s.feed(*every_second(200, lambda t: [car("2")], since=70))
    assert raised(s) == [("2", 130.0)]


@pytest.mark.parametrize("speed", [None, 10.0])
def test_who_drives_by_took_the_id_of_one_hidden_behind_a_bus(speed: float | None):
    s = stage()
    s.feed(*every_second(40, lambda t: [car("1")]))
    s.feed(*every_second(44, lambda t: [car("by", 10.0 * (t - 41), 2.5, speed)], since=40))
    s.feed(*every_second(100, lambda t: [car("2")], since=44))
    assert raised(s) == [("1", 60.0)]


def test_two_objects_had_one_id_when_the_camera_gave_a_lost_one_to_another():
    s = stage()
    s.feed(*every_second(20, lambda t: [car("1")]), *every_second(40, lambda t: [car("2")], since=20))
    s.feed(*every_second(110, lambda t: [car("2"), car("1", 50)], since=40))
    assert raised(s) == [("1", 60.0), ("2", 100.0)]


def test_a_silent_camera_whose_ids_changed_meanwhile_tells_nothing_twice():
    s = stage()
    s.feed(*every_second(70, lambda t: [car("1"), car("2", 20)]), *(tick(t) for t in range(70, 130)))
    s.feed(*every_second(160, lambda t: [car("8"), car("9", 20)], since=130))
    assert kinds(s) == ["raised", "raised", "unknown", "unknown"]
    assert {d.key["track_id"] for d in s.told} == {"1", "2"}


def test_of_many_ids_that_break_at_once_each_goes_on_where_it_stood():
    spots = [(6.0 * x, 6.0 * y) for x in range(6) for y in range(5)]
    s = stage()
    s.feed(*every_second(75, lambda t: [car(f"{n}-{t // 30}", *spot) for n, spot in enumerate(spots)]))
    assert sorted(track for track, _ in raised(s)) == sorted(f"{n}-0" for n in range(30))


def test_a_plate_goes_along_as_token_and_mask():
    s = stage()
    s.feed(*every_second(70, lambda t: [car("1", plate="浙F12345", role="taxi"), car("2", 10)]))
    plates = {d.key["track_id"]: d.attributes for d in s.told if d.kind == "raised"}
    assert plates["1"]["plate"]["mask"] == "浙F·**345"
    assert plates["1"]["plate"]["token"].startswith("pt-")
    assert plates["1"]["role"] == "taxi"
    assert plates["2"] == {"plate": None, "role": None}
    assert "12345" not in repr(s.told)


# frames


def test_dropped_frames_are_bridged_and_empty_ones_speak_for_its_being_gone():
    s, rng = stage(), Random(5)
    s.feed(*(one for one in every_second(90, lambda t: [car()]) if rng.random() < 0.5 or one.arrival_s < 1))
    assert raised(s) == [("17", 60.0)]
    s = stage()
    s.feed(*every_second(70, lambda t: [car()]), *(frame(t) for t in range(70, 100)))
    assert s.table() == [(60.0, "raised", None), (89.0, "cleared", None)]


def test_frames_out_of_order_within_the_lateness_are_put_in_order():
    rng = Random(6)
    sent = [frame(t / 2, shaken(rng, f"id-{t // 50}"), shaken(rng, "b", 30)) for t in range(200)]
    ordered, shuffled = stage(), stage()
    ordered.feed(*sent)
    shuffled.feed(*sorted(sent, key=lambda one: one.arrival_s + 1.7 * rng.random()))
    for s in (ordered, shuffled):
        s.advance(200)
    assert plain(ordered.told) == plain(shuffled.told)


# beside rules without neighbours


def test_a_rule_without_neighbours_sees_what_was_sent():
    rng = Random(7)
    sent = [
        frame(t, car(f"a{t // 20}"), shaken(rng, "b", 20), car("c", 40, speed=0.0 if t % 2 else None), car("d", 60))
        for t in range(150)
    ]
    both = PLAINLY + RULE[RULE.index("  - id: parked") :]
    alone, beside = stage(PLAINLY), stage(both)
    alone.feed(*sent)
    beside.feed(*sent)
    for s in (alone, beside):
        s.advance(200)
    assert [d for d in beside.told if d.rule == "as-sent"] == alone.told
    assert {d.key["track_id"] for d in alone.told if d.kind == "raised"} == {"c", "d"}
    assert {d.key["track_id"] for d in beside.told if d.rule == "parked" and d.kind == "raised"} >= {"a0", "c", "d"}


# what is forgotten


def test_texts_of_a_held_row_were_those_of_another_once_words_were_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lanes, "SPARE_WORDS", 4)
    monkeypatch.setattr(lanes, "FORGET_EVERY_US", 1)
    for leaves in range(62, 67) if stages.COMPILED else (64, 65):
        s = stage()
        for t in range(leaves + 25):
            others = [car(f"p{t}-{n}", 30, speed=5.0, role=f"r{t}-{n}") for n in range(9)]
            s.feed(frame(t, *others, *([car(role=f"taxi {t}")] if t < leaves else [])))
        assert (s.told[-1].kind, s.told[-1].attributes["role"]) == ("cleared", f"taxi {leaves - 1}")


def test_a_flood_of_made_up_ids_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracked, "MOST_TRACKS", 2000)
    monkeypatch.setattr(tracked, "MOST_CELLS", 2000)
    s, rng, most = stage(), Random(8), 0
    for t in range(100):
        objects = [car(f"{t}-{n}", rng.uniform(-5e3, 5e3), rng.uniform(-5e3, 5e3), speed=4.0) for n in range(200)]
        s.feed(*(frame(t + n / 10, *objects[20 * n : 20 * n + 20], sensor=f"cam-{t}-{n}") for n in range(10)))
        lane = s.detector.lanes["camera.tracks"]
        assert lane.tracks is not None
        most = max(most, lane.tracks.nbytes)
        assert sum(len(piece.rows["time_us"]) for piece in lane.tracks.pieces) <= 3 * 200
        assert max(lane.tracks.book[:2].tolist()) < 6000
    assert most < 8 << 20
    assert s.detector.memory().evicted > 20_000


def test_ids_that_all_settle_at_once_on_one_spot_are_looked_at_in_short_time():
    s, count = stage(), 400 if stages.COMPILED else 60
    for t in range(8):
        s.feed(frame(t, *(car(f"{t // 4}-{n}") for n in range(count))))
    s.advance(20)
    assert s.bins["used"] == 8


# -- turning cameras ---------------------------------------------------------------------------------------------------


def looking(one: Sent, preset: float | None, *, typed: bool = False) -> Sent:
    """The frame with a preset; with a field nobody knows it is decoded by its type instead of scanned."""
    assert one.value is not None
    said = orjson.loads(one.value)
    if preset is not None:
        said["ptz_preset"] = preset
    if typed:
        said["made_up"] = 'a "quoted" one'
    return one._replace(value=orjson.dumps(said))


def device(preset: int | None = None) -> Any:
    more = {} if preset is None else {"ptz_preset": preset}
    return {
        "type": "Feature",
        "id": "cam-1",
        "properties": {"kind": "camera", "area": "danghu", **more},
        "geometry": {"type": "Point", "coordinates": [121.02, 30.7]},
    }


def turning(see_away: Callable[[int], Sequence[Any]], typed: Callable[[int], bool]) -> list[Sent]:
    """At preset 1 a car stands; from 70 to 130 the camera looks elsewhere."""
    sent = []
    for t in range(200):
        away = 70 <= t < 130
        sent.append(looking(frame(t, *(see_away(t) if away else [car()])), 2 if away else 1, typed=typed(t)))
    return sent


TYPED: list[Callable[[int], bool]] = [lambda t: False, lambda t: True, lambda t: t % 3 == 0]
AWAY: list[Callable[[int], Sequence[Any]]] = [
    lambda t: [],
    lambda t: [car("17", 50)],
    lambda t: [car("17", 1, speed=0.0)],
]


@pytest.mark.parametrize("typed", TYPED, ids=["scanned", "typed", "mixed"])
@pytest.mark.parametrize("see", AWAY, ids=["empty", "shifted", "same place"])
@pytest.mark.parametrize("rules", [RULE, PLAINLY], ids=["mended", "as sent"])
def test_a_camera_that_looks_elsewhere_clears_nothing_and_doubles_nothing(
    typed: Callable[[int], bool], see: Callable[[int], Sequence[Any]], rules: str
):
    sent = turning(see, typed)
    for whole in (True, False):
        s = stage(rules)
        if whole:
            s.feed(*sent)
        else:
            for one in sent:
                s.feed(one)
        assert s.table() == [(60.0, "raised", None), (79.0, "unknown", None)]
        assert [seconds(d) for d in s.told if d.kind == "still"] == [130.0, 150.0, 180.0]


def test_the_same_over_snapshots():
    sent = turning(AWAY[1], TYPED[2])
    through = stage()
    through.feed(*sent)
    for cut in (65, 75, 100, 128, 131, 140):
        s = stage()
        s.feed(*sent[:cut])
        blob = s.detector.snapshot()
        s.detector = s.new()
        s.detector.restore(blob)
        s.feed(*sent[cut:])
        assert plain(s.told) == plain(through.told)


@pytest.mark.parametrize("typed", TYPED, ids=["scanned", "typed", "mixed"])
def test_away_from_its_registered_preset_a_camera_says_nothing(typed: Callable[[int], bool]):
    s = Stage(RULE, ZONES, [device(preset=1)])
    s.feed(*turning(AWAY[1], typed))
    assert s.table() == [(60.0, "raised", None), (79.0, "unknown", None)]
    assert (s.bins["used"], s.bins["filtered"]) == (140, 60)
    alone = Stage(PLAINLY, ZONES, [device(preset=1)])
    alone.feed(*turning(AWAY[1], typed))
    assert alone.bins == s.bins


def test_what_is_registered_without_a_preset_is_a_source_for_each():
    s = Stage(RULE, ZONES, [device()])
    s.feed(*turning(AWAY[1], TYPED[0]))
    assert s.table() == [(60.0, "raised", None), (79.0, "unknown", None)]


def test_presets_that_look_alike_as_text_are_two():
    s = stage()
    s.feed(*(looking(frame(t, car()), 1_000_000 + t % 2) for t in range(100)))
    assert len(s.detector.lanes["camera.tracks"].sources) == 3


def test_zero_has_no_sign():
    s = stage()
    for t in range(10):
        s.feed(looking(frame(t, car()), 0.0 if t % 2 else -0.0))
        s.detector.lanes["camera.tracks"].sources._turned.clear()
    assert len(s.detector.lanes["camera.tracks"].sources) == 2


def test_what_it_saw_elsewhere_after_it_was_cleared_was_dropped_within_a_batch():
    sent = [looking(frame(t, car()), 1) for t in range(70)]
    sent += [looking(frame(t), 1) for t in range(70, 75)]
    sent += [looking(frame(t, car()), 2) for t in range(75, 200)]
    rules = RULE.replace("absent_for: 20s, min_coverage: 80%", "absent_for: 6s, min_coverage: 50%")
    found = []
    for step in (1, 200):
        s = stage(rules)
        for at in range(0, len(sent), step):
            s.feed(*sent[at : at + step])
        found.append(s.table())
    assert found[0] == found[1]
    assert [kind for _, kind, _ in found[0]] == ["raised", "cleared", "raised"]
