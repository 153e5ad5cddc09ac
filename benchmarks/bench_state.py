"""The Detector's state at a city's size: what taking it costs the work, and how soon a worker that died is back.

    python -m benchmarks.bench_state [--json]

One partition holds 100,000 vehicles that stand in no-parking zones and 10,000 road segments in a slow spell of twenty
measurements. `stall_ms`: what the event loop waits while the state is taken; `encode_s` and `store_s` are spent beside
it, on another thread and another's disk. The answer: one that was restored raises what the other would have raised.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.bench_sweeps import FIRST_S, base, standing
from benchmarks.contestants.our_detector import TOPIC, batches, records
from benchmarks.parking import PER_CAMERA, RULE, T0_MS
from rules.detection.detector import Detector
from streams.agents.detectors import Where, by_lane, changes_of
from streams.city import build_city
from streams.settings import Settings
from streams.store import FileStore
from streams.transport import Record

TRACKS, SEGMENTS, POINTS = 100_000, 10_000, 20
MEASURED = "traffic.measurements"
JAM = """
  - id: jam
    revision: 1
    name: {zh: 拥堵, en: Congestion}
    owner: {department: traffic-police, contact: bench}
    status: active
    type: {code: "0505", severity: minor}
    from: [traffic.measurements]
    by: [segment_id]
    detect:
      hold: {value: speed_kmh, open_when: value < 10kmh, close_when: value > 30kmh, for: 21m}
    message: {zh: "堵", en: "jam"}
"""
ROUNDS = 5


def minute(number: int) -> list[Record]:
    """One slow measurement of every segment."""
    at_ms = T0_MS + number * 60_000
    said = ({"segment_id": f"s-{n:05d}", "source": "loop", "end_time": at_ms, "speed_kmh": 5} for n in range(SEGMENTS))
    values = [json.dumps(one, separators=(",", ":")).encode() for one in said]
    return [Record(number * SEGMENTS + n, at_ms, b"area", value, ()) for n, value in enumerate(values)]


def raised(detector: Detector, frames: list[bytes]) -> int:
    """How many more are raised by the next second of the one and the next two minutes of the other."""
    found = [detector.feed(TOPIC, some) for some in batches(records(frames), 1_000 // PER_CAMERA)]
    told = [d for outcome in found for d in outcome.detections]
    told += detector.advance((T0_MS + (FIRST_S + 10) * 1000) * 1000, [TOPIC])
    for number in (POINTS, POINTS + 1, POINTS + 2):
        told += detector.feed(MEASURED, minute(number)).detections
    return sum(d.kind == "raised" for d in told)


def measure() -> dict[str, Any]:
    folder = base(True).folder()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(RULE.format(name="illegal-parking", where="speed_mps < 1", park_s=FIRST_S) + JAM)
        file.flush()
        city = build_city(Settings.read(), rules=[Path(file.name)], zones=[folder / "zones.geojson"])
    city.prepare()
    detector, frames = city.detector(0), standing(folder, TRACKS)
    for second in range(FIRST_S):
        for some in batches(records(frames(second)), 1_000 // PER_CAMERA):
            detector.feed(TOPIC, some)
    for number in range(POINTS):
        detector.feed(MEASURED, minute(number))
    with tempfile.TemporaryDirectory() as scratch:
        figures = asyncio.run(stored_and_back(city.detector, detector, Path(scratch), frames(FIRST_S)))
    return {"tracks": TRACKS, "segments": SEGMENTS, **figures}


async def stored_and_back(new: Any, detector: Detector, folder: Path, more: list[bytes]) -> dict[str, Any]:
    store = FileStore(folder)
    table, _ = await store.open("detector/0")
    stalls: dict[str, list[float]] = {TOPIC: [], MEASURED: []}
    for _ in range(ROUNDS):
        lanes = {}
        for topic, found in stalls.items():
            began = perf_counter()
            lanes[topic] = detector.changes(topic)
            found.append(perf_counter() - began)
        if not any(len(found) > 1 for found in stalls.values()):
            first = lanes
    began = perf_counter()
    changes = changes_of(first, {topic: Where(0) for topic in first})
    encode_s, began = perf_counter() - began, perf_counter()
    await table.save(changes)
    store_s = perf_counter() - began
    await table.close()
    began = perf_counter()
    _, entries = await store.open("detector/0")
    restored = new(0)
    for topic, lane in by_lane(entries).items():
        restored.restore_lane(topic, lane)
    restore_s = perf_counter() - began
    await store.close()
    if not raised(detector, more) == raised(restored, more) >= TRACKS + SEGMENTS:  # a vehicle may stand in two zones
        raise SystemExit("not the true raises")
    return {
        "stall_ms": {topic: round(1e3 * sorted(found)[ROUNDS // 2], 1) for topic, found in stalls.items()},
        "encode_s": round(encode_s, 3),
        "store_s": round(store_s, 3),
        "bytes": sum(len(entry or b"") for entry in changes.values()),
        "restore_s": round(restore_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    found = measure()
    print(json.dumps(found) if parser.parse_args().json else "\n".join(f"{k:10} {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
