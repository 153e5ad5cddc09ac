"""The synthetic city: every true incident comes, is sent to somebody and closed; nothing else opens. The shipped
recordings, and ones of seeds that nobody has looked at."""

from __future__ import annotations

import json
from dataclasses import replace as changed
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.sumo.environment import SumoUnavailable, make_recording, python_with_sumo
from tests.sumo.outcomes import Json, Told, faults, replay

RECORDINGS = Path(__file__).resolve().parents[2] / "streams" / "recordings"
NAMES = ("pinghu", "pinghu-dawn")
UNSEEN = ((4711, False), (3, False), (4711, True))
"""Seed, and whether it is the dawn. With seed 3 a stall stands five metres, the rule's `max_move`, from where it
was first seen: it counts from where it stands."""


def truth_of(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


class Replays:
    """The shipped recordings, each replayed once for all tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, dict[str, Told]()

    def of(self, name: str) -> Told:
        if name not in self.told:
            self.told[name] = replay(RECORDINGS / f"{name}.jsonl.gz", self.out(name))
        return self.told[name]

    def out(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Replays:
    return Replays(tmp_path_factory.mktemp("city"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_city_comes_out_as_its_truth_says(name: str, shipped: Replays) -> None:
    assert faults(truth_of(RECORDINGS / f"{name}.truth.json"), shipped.of(name)) == []


@pytest.mark.slow
def test_at_dawn_nothing_opens(shipped: Replays) -> None:
    assert shipped.of("pinghu-dawn").lives == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_replay_with_crews_twice_gives_the_same_bytes(name: str, shipped: Replays, tmp_path: Path) -> None:
    shipped.of(name)
    replay(RECORDINGS / f"{name}.jsonl.gz", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == shipped.out(name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "dawn"), UNSEEN)
def test_a_city_nobody_has_seen_comes_out_as_its_truth_says(seed: int, dawn: bool, tmp_path: Path) -> None:
    try:
        python_with_sumo()
    except SumoUnavailable as missing:
        not_run("SUMO", str(missing))
    recording, truth = tmp_path / "city.jsonl.gz", tmp_path / "truth.json"
    make_recording(seed, recording, truth, dawn=dawn)
    assert truth_of(truth)["seed"] == seed
    assert faults(truth_of(truth), replay(recording, tmp_path / "out.jsonl")) == []


# --- what `faults` must not overlook


@pytest.mark.slow
def test_what_goes_wrong_is_named(shipped: Replays) -> None:
    truth, told = truth_of(RECORDINGS / "pinghu.truth.json"), shipped.of("pinghu")
    parked = next(name for name, life in told.lives.items() if life[0]["zone"] == "no-parking/xinhua-road-n")
    life = told.lives[parked]

    def with_life(revisions: list[Json]) -> list[str]:
        return faults(truth, changed(told, lives={**told.lives, parked: revisions}))

    missing = {name: of for name, of in told.lives.items() if name != parked}
    assert faults(truth, changed(told, lives=missing)) == ["illegal-a came 0 times"]
    assert faults(truth, changed(told, lives={**told.lives, "i-2": life}, passed={*told.passed, "i-2"})) == [
        "illegal-a came 2 times"
    ]
    assert with_life([r for r in life if r["state"] != "dispatched"]) == ["illegal-a: nobody was sent"]
    assert "not verified" in faults(truth, changed(told, passed=told.passed - {parked}))[0]
    assert "after its time" in with_life([{**r, "opened_at": "2026-03-02T07:15:00.000+08:00"} for r in life])[0]
    assert "nothing is so" in with_life([{**r, "zone": "no-parking/another"} for r in life])[1]
    assert "dead letters" in faults(truth, changed(told, dead=told.dead - told.dead))[0]
    assert "doubles" in faults(truth, changed(told, bins={**told.bins, "duplicate": 0}))[0]
