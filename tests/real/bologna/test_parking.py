"""Real traffic of a city with five cars known to block a lane: every one is told once, at its moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RULES = Path(__file__).parent / "rules"
WITHIN_S = 300


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def recorded(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same drive as it was, and with every message twice and out of order."""
    folder, city = tmp_path_factory.mktemp("bologna"), shared_dir / "data" / "sumo-bologna-acosta" / "run"
    made: dict[str, Path] = {}
    variants: dict[str, list[str]] = {"plain": [], "disturbed": ["--disturb", "7", "--double", "1.0"]}
    for name, options in variants.items():
        made[name] = folder / f"{name}.jsonl.gz"
        tool = shared_dir / "tools" / "sumo" / "make_recording.py"
        run(tool, city / "fcd_cam.xml.gz", made[name], "--edges", city / "fcd_edges.txt", *options)
    return made


def replay(recording: Path, zones: Path, out: Path) -> Path:
    options: list[str | Path] = ["--rules", RULES, "--zones", zones, "--topics", "incidents", "--out", out]
    run("-m", "app", "replay", recording, *options)
    return out


@pytest.mark.slow
def test_the_five_blockers_are_found_once_and_in_time(
    shared_dir: Path, recorded: dict[str, Path], tmp_path: Path
) -> None:
    data = shared_dir / "data" / "sumo-bologna-acosta"
    out = replay(recorded["plain"], data / "zones.geojson", tmp_path / "plain.jsonl")
    for rule, dwell_s in (("illegal-parking", 120), ("illegal-parking-60s", 60)):
        scorer = shared_dir / "tools" / "sumo" / "score_parking.py"
        score = json.loads(run(scorer, out, data / "truth.json", "--rule", rule, "--dwell", str(dwell_s)))
        assert (score["found"], score["repeated"], score["late"]) == (5, 0, 0), score
    again = replay(recorded["plain"], data / "zones.geojson", tmp_path / "again.jsonl")
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_disorder_and_doubles_change_no_incident(shared_dir: Path, recorded: dict[str, Path], tmp_path: Path) -> None:
    zones = shared_dir / "data" / "sumo-bologna-acosta" / "zones.geojson"
    found = []
    for name in ("plain", "disturbed"):
        lines = replay(recorded[name], zones, tmp_path / f"{name}.jsonl").read_text().splitlines()
        told = [json.loads(line)["value"] for line in lines]
        found.append({(i["incident_id"], i["rule"], i["zone"], i["opened_at"]) for i in told})
    assert found[0] == found[1]
    assert len(found[0]) > 5
