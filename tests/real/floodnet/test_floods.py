"""Years of floods on real streets: each is raised at its first reading and open as long as the official table says.

A replay of all takes two minutes of one core; disorder, doubles and repetition are tried on its last floods.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
WITHIN_S = 590
LATENESS_MS = 5000
LAST_READINGS = 6_000
MOST_OUTSIDE = 0.005
MEDIAN_ERROR_MIN = {4: 0.85, 12: 1.05, 24: 1.6}
ONE_EACH = 0.02


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def replay(recording: Path, out: Path, rules: str, topics: str = "detections") -> Path:
    run("-m", "app", "replay", recording, "--rules", HERE / rules, "--topics", topics, "--out", out)
    return out


def lines_of(recording: Path) -> list[str]:
    with gzip.open(recording, "rt") as f:
        return f.read().splitlines()


def written(path: Path, lines: Iterable[str]) -> Path:
    with gzip.open(path, "wt", compresslevel=1) as f:
        f.writelines(line + "\n" for line in lines)
    return path


class Floods:
    """The recording, and what is true of it at each level."""

    def __init__(self, shared_dir: Path, folder: Path) -> None:
        self.tools, self.folder = shared_dir / "tools" / "floodnet", folder
        self.recording = folder / "floods.jsonl.gz"
        data = shared_dir / "data" / "floodnet"
        for level in MEDIAN_ERROR_MIN:
            events, places = data / "flood-events_before2025.csv.gz", data / "sensor-metadata.csv"
            made = (self.recording, self.truth(level), "--level-in", str(level))
            run(self.tools / "make_recording.py", events, places, *made)

    def truth(self, level: int) -> Path:
        return self.folder / f"truth-{level}.json"

    def score(self, out: Path, level: int) -> dict[str, float]:
        found: dict[str, float] = json.loads(
            run(self.tools / "score_floods.py", out, self.truth(level), "--rule", f"ponding-{level}in")
        )
        return found


@pytest.fixture(scope="module")
def floods(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Floods:
    return Floods(shared_dir, tmp_path_factory.mktemp("floods"))


@pytest.fixture(scope="module")
def raised(floods: Floods) -> Path:
    return replay(floods.recording, floods.folder / "raised.jsonl", "rules")


@pytest.mark.slow
@pytest.mark.parametrize("level", MEDIAN_ERROR_MIN)
def test_every_flood_is_raised_at_its_first_reading_and_open_as_long_as_it_was(
    floods: Floods, raised: Path, level: int
) -> None:
    score = floods.score(raised, level)
    assert score["raised_exactly"] == score["events"] > 0, score
    assert score["outside"] <= MOST_OUTSIDE * score["raises"], score
    assert score["median_error_min"] <= MEDIAN_ERROR_MIN[level], score


@pytest.mark.slow
def test_merged_one_flood_is_one_incident(floods: Floods, tmp_path: Path) -> None:
    out = replay(floods.recording, tmp_path / "merged.jsonl", "merged", topics="incidents")
    incidents = {json.loads(line)["value"]["incident_id"] for line in out.read_text().splitlines()}
    events = len(json.loads(floods.truth(4).read_text()))
    assert abs(len(incidents) - events) <= ONE_EACH * events, (len(incidents), events)


# --- the same readings, otherwise


def disturbed(lines: list[str], seed: int) -> list[str]:
    """Every reading twice, each of the two later than it was by less than the lateness."""
    rng = random.Random(seed)
    again = []
    for line in lines:
        for _ in range(2):
            record = json.loads(line)
            record["timestamp_ms"] += rng.randrange(LATENESS_MS - 500)  # it arrived half a second after its time
            again.append(record)
    again.sort(key=lambda record: record["timestamp_ms"])
    return [json.dumps(record) for record in again]


def test_the_disturbance_doubles_everything_and_puts_some_of_it_out_of_order() -> None:
    """Readings a second apart, of which none may become late."""
    plain = [json.dumps({"timestamp_ms": 1000 * n + 500, "value": n}) for n in range(200)]
    arrived = [json.loads(line)["value"] for line in disturbed(plain, 1)]
    assert sorted(arrived) == sorted([*range(200), *range(200)])
    assert arrived != sorted(arrived)
    newest = 0
    for n in arrived:
        assert newest - n < LATENESS_MS / 1000
        newest = max(newest, n)


def meaning(out: Path) -> list[str]:
    """Detections without what says where and when they were heard: arrival time, offsets."""
    found = []
    for line in out.read_text().splitlines():
        value = json.loads(line)["value"]
        del value["evidence"]
        found.append(json.dumps(value, sort_keys=True))
    return sorted(found)


@pytest.fixture(scope="module")
def last_floods(floods: Floods) -> Path:
    return written(floods.folder / "last.jsonl.gz", lines_of(floods.recording)[-LAST_READINGS:])


@pytest.mark.slow
def test_doubles_and_disorder_change_no_detection(last_floods: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl.gz", disturbed(lines_of(last_floods), 7))
    plain = meaning(replay(last_floods, tmp_path / "plain.jsonl", "rules"))
    assert plain
    assert meaning(replay(other, tmp_path / "other.jsonl", "rules")) == plain


@pytest.mark.slow
def test_twice_the_same_bytes_and_an_id_is_one_raise(last_floods: Path, tmp_path: Path) -> None:
    first, again = (replay(last_floods, tmp_path / f"{n}.jsonl", "rules") for n in range(2))
    assert first.read_bytes() == again.read_bytes()
    told = [json.loads(line)["value"] for line in first.read_text().splitlines()]
    raised = [v["detection_id"] for v in told if v["kind"] == "raised"]
    assert len(raised) == len(set(raised)) > 0
