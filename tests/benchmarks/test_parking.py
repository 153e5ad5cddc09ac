"""The workload's truth is what contestants find that share no code with it, and our Detector in every form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import parking
from benchmarks.bench_detector import CONTESTANTS, assert_answer
from benchmarks.contestants import c_kernel, naive_rtree, our_detector, scoring
from benchmarks.parking import Parking

SMALL = Parking(events=3_000, zones=60, tracks=50, park_s=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("parking") / "small"
    parking.write(SMALL, made)
    return made


def printed(program, monkeypatch, capsys, *arguments: str) -> dict:
    monkeypatch.setattr("sys.argv", [program.__name__, *arguments])
    program.main()
    return json.loads(capsys.readouterr().out)


def wrong(found: dict) -> tuple[int, int, int]:
    return found["missed"], found["extra"], found["repeated"]


def test_the_truth_is_not_empty_and_has_its_decoys(folder):
    meta = scoring.meta(folder)
    assert meta["episodes"] >= 10
    assert 0.5 <= meta["memberships_per_event"] <= 0.9
    assert meta["holes"] >= 1


def test_a_loop_with_rtree_finds_the_truth(folder, monkeypatch, capsys):
    found = printed(naive_rtree, monkeypatch, capsys, str(folder))
    assert wrong(found) == (0, 0, 0)
    assert found["episodes"] == scoring.meta(folder)["episodes"]
    assert found["memberships"] == found["memberships_true"] == scoring.meta(folder)["memberships"][-1]


def test_of_fewer_events_it_is_the_truth_of_those(folder, monkeypatch, capsys):
    found = printed(naive_rtree, monkeypatch, capsys, str(folder), "--events", "1000", "--filter-first")
    assert wrong(found) == (0, 0, 0)
    assert 0 < found["episodes"] < scoring.meta(folder)["episodes"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_kernel_in_c_finds_the_truth(folder, monkeypatch, capsys):
    found = printed(c_kernel, monkeypatch, capsys, str(folder), "--batch", "100")
    assert wrong(found) == (0, 0, 0)
    assert found["memberships"] == found["memberships_true"]


def ours(folder: Path, shape: str, batch: int = 7) -> our_detector.Run:
    run = our_detector.Run(our_detector.city_of(folder))
    run.feed(our_detector.read_records(folder, shape, None), batch)
    return run


def truth(folder: Path) -> list[scoring.Raised]:
    rows = json.loads((folder / "truth.json").read_text())
    return sorted(scoring.Raised(row["track"], row["zone"], row["start_ms"], row["fire_ms"]) for row in rows)


@pytest.mark.parametrize("shape", our_detector.EACH)
def test_our_detector_finds_the_truth_in_every_form(folder, shape):
    run = ours(folder, shape)
    assert sorted(run.raised()) == truth(folder)
    assert run.bins["duplicate"] == run.bins["late"] == run.bins["dead"] == 0
    assert sum(run.bins.values()) == SMALL.events // our_detector.EACH[shape]


@pytest.mark.parametrize("shape", our_detector.EACH)
def test_disorder_within_the_lateness_changes_nothing(tmp_path, shape):
    disordered = Parking(events=3_000, zones=60, tracks=50, park_s=6, disorder=0.5)
    parking.write(disordered, tmp_path / "made")
    assert sorted(ours(tmp_path / "made", shape).raised()) == truth(tmp_path / "made")


def test_a_wrong_answer_ends_the_benchmark():
    right = {"missed": 0, "extra": 0, "repeated": 0, "memberships": 5, "memberships_true": 5}
    assert_answer("someone", right)
    for part in ("missed", "extra", "repeated", "memberships"):
        with pytest.raises(SystemExit):
            assert_answer("someone", {**right, part: 1})


def test_equal_parameters_give_equal_bytes(folder, tmp_path):
    parking.write(SMALL, tmp_path / "again")
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_every_contestant_of_the_table_is_there():
    folder = Path(naive_rtree.__file__).parent
    missing = {one.module for one in CONTESTANTS.values() if not (folder / f"{one.module}.py").exists()}
    assert not missing - {"esper", "tile38"}
