"""Make the shipped recordings of the synthetic Pinghu and its geography.

    python -m streams.recordings.make_pinghu --seed 7 --out streams/recordings/pinghu.jsonl.gz \
        --truth streams/recordings/pinghu.truth.json [--dawn]
    python -m streams.recordings.make_pinghu --geography geo

Needs eclipse-sumo for the recordings (not for --geography). Same seed and SUMO version, same bytes.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from streams.recordings import pinghu_day, pinghu_map, pinghu_traffic
from streams.recordings.pinghu_day import WARM_UP_S, Scene
from streams.recordings.pinghu_feeds import (
    Eye,
    Record,
    Sight,
    Tape,
    add_events,
    add_measurements,
    add_positions,
    add_readings,
    add_tickets,
    degrees,
    event_ms,
    text_time,
)
from streams.recordings.pinghu_map import CAMERAS
from streams.recordings.pinghu_traffic import Seen
from streams.recordings.pinghu_truth import truth_of


def spoil(tape: Tape, seed: int) -> tuple[list[Record], list[Record]]:
    """Put in three bad records and some doubles; gives what the truth says of both."""
    rng = random.Random(f"spoil {seed}")
    frames = [r for _, _, r in tape.lines if r["topic"] == "camera.tracks"]
    of = {c.sensor_id: c for c in CAMERAS}

    def frame_of(number: int, t: int) -> Record:
        since = tape.ms(t)
        return next(
            r for r in frames if of[r["value"]["sensor_id"]].number == number and r["value"]["frame_time"] >= since
        )

    cut, odd = frame_of(13, 333), frame_of(5, 721)
    text = json.dumps(cut.pop("value"), ensure_ascii=False, separators=(",", ":")).encode()
    cut["value_b64"] = base64.b64encode(text[: len(text) * 2 // 3]).decode()
    odd["value"]["crs"] = "beijing54"
    lon, lat = degrees((540, -66))
    swapped = {
        "event_id": "e-0091",
        "sensor_id": CAMERAS[10].sensor_id,
        "event_time": text_time(tape.ms(690.4)),
        "label": "shop_goods",
        "confidence": 0.71,
        "lon": lat,
        "lat": lon,
        "snapshot_ref": "snapshots/e-0091.jpg",
    }
    turned = tape.add("camera.events", CAMERAS[10].area, tape.ms(690.4), swapped, 320)
    bad = [
        {"topic": r["topic"], "key": r["key"], "timestamp_ms": r["timestamp_ms"], "reason": reason, "note": note}
        for r, reason, note in (
            (cut, "not_json", "a frame cut off on its way"),
            (odd, "unknown_crs", "one frame declares beijing54"),
            (turned, "swapped_axes", "event e-0091 has longitude and latitude the wrong way round"),
        )
    ]
    doubles = []
    wanted = {
        "camera.tracks": 4,
        "camera.events": 1,
        "sensor.readings": 1,
        "traffic.measurements": 1,
        "vehicle.positions": 1,
    }
    spoilt = [id(r) for r in (cut, odd, turned)]
    for topic, count in wanted.items():
        fit = [r for _, _, r in tape.lines if r["topic"] == topic and id(r) not in spoilt]
        fit = [r for r in fit if _is_full(r) and r["timestamp_ms"] - event_ms(r) < 900]
        for r in rng.sample(fit, count):
            again = tape.place(r | {"timestamp_ms": r["timestamp_ms"] + rng.randint(120, 500)})
            doubles.append(
                {"topic": topic, "key": r["key"], "timestamp_ms": again["timestamp_ms"], "first_ms": r["timestamp_ms"]}
            )
    return bad, doubles


def _is_full(record: Record) -> bool:
    value = record["value"]
    return (
        bool(value.get("objects") or value.get("columns", {}).get("lon"))
        if record["topic"] == "camera.tracks"
        else True
    )


def make(scene: Scene, seed: int, folder: Path) -> tuple[list[Record], Record]:
    """The lines of the recording in arrival order, and its truth."""
    steps, counts = pinghu_traffic.run(
        folder,
        seed,
        WARM_UP_S + scene.length_s,
        hourly={end: pinghu_day.hourly_flow(end) for end in pinghu_traffic.ENDS},
        share=scene.share,
        halts=scene.halts,
        buses=scene.buses,
        limits=scene.limits,
    )
    tape = Tape(scene, seed)
    eyes = [Eye(c, seed) for c in CAMERAS]
    claimed = {name for c in scene.claims for name in c.by_tracks}
    sights: dict[str, list[Sight]] = defaultdict(list)
    drivers: dict[str, list[tuple[int, Seen]]] = defaultdict(list)
    for second, vehicles in steps:
        t = second - WARM_UP_S
        if not 0 <= t < scene.length_s:
            continue
        everyone = vehicles + [s for a in scene.actors if (s := a.at(t))]
        for eye in eyes:
            frame_ms, value, seen = eye.frame(t, scene.start_ms, everyone)
            tape.add("camera.tracks", eye.camera.area, frame_ms, value, 150 + 11 * eye.camera.number)
            for name, sight in seen:
                if name in claimed:
                    sights[name].append(sight)
        for s in vehicles:
            if s.vtype == "bus" or s.vehicle.startswith("ambulance-"):
                drivers[s.vehicle].append((t, s))
    add_measurements(tape, counts)
    add_readings(tape)
    add_events(tape)
    add_tickets(tape)
    add_positions(tape, drivers)
    told = [(c, truth_of(c, [r for _, _, r in tape.lines], sights)) for c in scene.claims]
    bad, doubles = spoil(tape, seed) if scene.spoilt else ([], [])
    lines = tape.sorted()
    truth: Record = {
        "recording": f"{scene.name}.jsonl.gz",
        "position_quality": "synthetic",
        "seed": seed,
        "made_with": {"eclipse-sumo": pinghu_traffic.sumo_version()},
        "from": text_time(scene.start_ms),
        "to": text_time(scene.start_ms + scene.length_s * 1000),
        "records": dict(sorted(Counter(r["topic"] for r in lines).items())),
        "incidents": [t for c, t in told if not c.decoy],
        "decoys": [t for c, t in told if c.decoy],
        "unrelated_tickets": sorted(
            {t.ticket_id for t in scene.tickets} - {x for c in scene.claims for x in c.tickets}
        ),
        "bad_records": bad,
        "duplicates": doubles,
    }
    return lines, truth


def write_recording(path: Path, lines: list[Record]) -> None:
    """Gzipped JSON Lines without a time stamp or a name inside, so that equal content is equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as packed:
        for line in lines:
            packed.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def write_geography(folder: Path) -> None:
    files = {
        "zones/pinghu.geojson": pinghu_map.zone_features(),
        "registry/devices.geojson": pinghu_map.device_features(),
        "registry/segments.geojson": pinghu_map.segment_features(),
        "registry/units.geojson": pinghu_map.unit_features(),
    }
    for name, features in files.items():
        rows = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"type": "FeatureCollection", "features": [\n{rows}\n]}}\n', encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the recordings and the geography of the synthetic Pinghu.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--dawn", action="store_true", help="the quiet dawn instead of the morning peak")
    parser.add_argument(
        "--geography", type=Path, metavar="FOLDER", help="write FOLDER/zones and FOLDER/registry, no recording"
    )
    chosen = parser.parse_args(arguments)
    if chosen.geography:
        write_geography(chosen.geography)
        return 0
    if not chosen.out or not chosen.truth:
        parser.error("--out and --truth are needed (or --geography)")
    scene = pinghu_day.dawn(chosen.seed) if chosen.dawn else pinghu_day.morning(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        lines, truth = make(scene, chosen.seed, Path(folder))
    write_recording(chosen.out, lines)
    chosen.truth.write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
