"""`zhinao feeds check` and the last line of a replay: precisely the feeds that are not where they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from geo.check import load_registry
from geo.codes import FEED_PROBLEMS
from geo.crs import from_wgs84, to_wgs84
from streams.commands.group import zhinao
from streams.recording import RecordedLine, RecordingWriter, read_recording
from tests.conftest import REPOSITORY

RECORDING = REPOSITORY / "streams/recordings/pinghu.jsonl.gz"
Value = dict[str, Any]
Change = Callable[[Value], None]

CAMERA = "33048200001320000001"
COLUMNS = "33048200001320000012"  # sends its objects as columns
DECLARES = "33048200001320000006"  # declares gcj02, rightly
TURNED = "33048200001320000005"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(zhinao, [str(one) for one in arguments], prog_name="zhinao")


def places_of(value: Value) -> Iterator[tuple[Any, Any]]:
    """Each holder of a lon and a lat, and the key of them there: an object's own, or a column's row."""
    if "columns" in value:
        for row in range(len(value["columns"]["lon"])):
            yield value["columns"], row
    else:
        for holder in value.get("objects", [value]):
            yield holder, None


def moved(convert: Callable[[float, float], tuple[float, float]]) -> Change:
    def change(value: Value) -> None:
        for holder, row in places_of(value):
            if row is None:
                holder["lon"], holder["lat"] = convert(holder["lon"], holder["lat"])
            else:
                holder["lon"][row], holder["lat"][row] = convert(holder["lon"][row], holder["lat"][row])

    return change


def converted(come: str, go: str) -> Change:
    def convert(lon: float, lat: float) -> tuple[float, float]:
        x, y = from_wgs84(go, *to_wgs84(come, np.array([lon]), np.array([lat])))
        return round(float(x[0]), 6), round(float(y[0]), 6)

    return moved(convert)


def with_places(spoilt: dict[str, Change]) -> Iterator[RecordedLine]:
    """The shipped recording, its sensors telling where they are, some sources spoilt."""
    devices = load_registry([REPOSITORY / "geo/registry"])[0].devices
    for line in read_recording(RECORDING):
        value = None if line.value is None or line.value[-1:] != b"}" else orjson.loads(line.value)
        if value is None:
            yield line
            continue
        source = value.get("device_id") or value.get("sensor_id") or value.get("vehicle_id")
        if line.topic == "sensor.readings":
            value |= {"lon": devices[source].lon, "lat": devices[source].lat}
        if source in spoilt and line.topic != "camera.events":
            spoilt[source](value)
        yield line._replace(value=orjson.dumps(value))


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("feeds") / "pinghu.jsonl"
    changes: dict[str, Change] = {
        CAMERA: converted("wgs84", "gcj02"),
        COLUMNS: converted("wgs84", "bd09"),
        DECLARES: converted("gcj02", "wgs84"),
        TURNED: moved(lambda lon, lat: (lat, lon)),
        "bus-k2-1": converted("wgs84", "gcj02"),
        "bus-k2-2": converted("wgs84", "bd09"),
        "bus-k2-3": moved(lambda lon, lat: (lat, lon)),
        "w-12": converted("wgs84", "gcj02"),
        "sm-21": converted("wgs84", "bd09"),
        "w-07": moved(lambda lon, lat: (lon + 0.003, lat - 0.001)),
    }
    with RecordingWriter(file) as writer:
        for line in with_places(changes):
            writer.write(line)
    return file


def test_the_shipped_recordings_give_no_finding() -> None:
    dawn = RECORDING.with_name("pinghu-dawn.jsonl.gz")
    ended = run("feeds", "check", RECORDING, dawn)
    assert (ended.exit_code, ended.output.count("\n")) == (0, 1)
    assert ended.output.endswith("with too little to tell): no problems\n")


def test_precisely_the_spoilt_feeds_are_named_with_what_they_are(spoilt: Path) -> None:
    ended = run("feeds", "check", "--json", spoilt)
    assert ended.exit_code == 1
    found = {tuple(p["path"]): p for p in json.loads(ended.stdout)}
    told = {source: (p["code"], p["message"].partition(": ")[0].partition(" ")[2]) for (_, source), p in found.items()}
    assert told == {
        CAMERA: ("F001", "declares wgs84, its positions are gcj02"),
        COLUMNS: ("F001", "declares wgs84, its positions are bd09"),
        DECLARES: ("F001", "declares gcj02, its positions are wgs84"),
        TURNED: ("F002", "sends lat as lon and lon as lat"),
        "bus-k2-1": ("F001", "declares wgs84, its positions are gcj02"),
        "bus-k2-2": ("F001", "declares wgs84, its positions are bd09"),
        "bus-k2-3": ("F002", "sends lat as lon and lon as lat"),
        "w-12": ("F001", "declares wgs84, its positions are gcj02"),
        "sm-21": ("F001", "declares wgs84, its positions are bd09"),
        "w-07": told["w-07"],
    }
    assert told["w-07"][0] == "F003"
    assert set(FEED_PROBLEMS) == {code for code, _ in told.values()}
    assert {topic for topic, _ in found} == {"camera.tracks", "vehicle.positions", "sensor.readings"}


def test_every_word_of_the_findings(spoilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHINAO_ZONES", str(REPOSITORY / "geo/zones"))
    monkeypatch.setenv("ZHINAO_REGISTRY", str(REPOSITORY / "geo/registry"))
    monkeypatch.chdir(spoilt.parent)
    ended = run("feeds", "check", spoilt.name)
    docs = (REPOSITORY / "docs/problems.md").read_text(encoding="utf-8")
    for code in FEED_PROBLEMS:
        shown = docs.split(f"\n## {code}\n")[1].split("```text\n")[1].split("\n```")[0]
        assert shown in ended.stdout


def test_a_replay_says_at_its_end_which_feeds_do_not_fit(spoilt: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.jsonl"
    lines = spoilt.read_bytes().splitlines(keepends=True)[:6000]
    short.write_bytes(b"".join(lines))
    ended = run("replay", short, "--drain", "0s", "--out", tmp_path / "out.jsonl")
    assert ended.exit_code == 0, ended.output
    summary = json.loads(ended.stderr.splitlines()[-1])
    told = {(one["source"], one["code"]) for one in summary["misplaced_feeds"]}
    assert {(CAMERA, "F001"), (DECLARES, "F001"), (TURNED, "F002")} <= told
    assert {source for source, _ in told} <= {CAMERA, COLUMNS, DECLARES, TURNED, "w-12", "sm-21", "w-07"} | {
        f"bus-k2-{n}" for n in (1, 2, 3)
    }


def test_what_cannot_be_checked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "bad.geojson"
    bad.write_text("{}")
    ended = run("feeds", "check", RECORDING, "--zones", bad)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "zhinao zones check" in ended.stderr
    assert run("feeds", "check", tmp_path / "gone.jsonl").exit_code == 2
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    ended = run("feeds", "check", empty)
    assert (ended.exit_code, ended.stdout) == (0, "0 feeds (0 with too little to tell): no problems\n")
