"""The Detector while one thing grows: zones, rules, live keys, depth of overlap, disorder. The answer is asserted.

    python -m benchmarks.bench_sweeps [--quick] [--json] [--only zones,rules,keys,depth,disorder]

Rates are of the core's seconds in single-object frames (keys: columnar ones of fifty), each point in a process of its
own. All that was measured is also left in .benchmarks/sweeps.json, for drawing.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import shapely

from benchmarks.bench_detector import ROOT, last_line, pinned
from benchmarks.contestants.our_detector import TOPIC, Run, batches, city_of, raised, read_records, records, warm
from benchmarks.contestants.scoring import Raised
from benchmarks.parking import CACHE, PARKED, PER_CAMERA, RULE, T0_MS, Parking
from rules.detection.detector import Detector
from streams.commands.worker import spare_the_collector

BATCH = 1_000
LIMIT_S = 900
FIRST_S = 3
"""A live key has been seen for so many seconds before the process is measured; the rule waits a second longer."""
ANSWERED = 1_000
"""Keys that are seen once more after the restore, so that the answer is known."""
LATENESS_US = 2_000_000

Point = dict[str, Any]


def base(quick: bool, **other: Any) -> Parking:
    return Parking(**{"events": 100_000 if quick else 200_000, "tracks": 500 if quick else 1_000, **other})


def zones(quick: bool) -> list[Point]:
    """Zones in a city that grows with them: a point is in 0.7 of them whatever their number."""
    sizes = (10, 1_000, 10_000) if quick else (10, 100, 1_000, 10_000, 100_000)
    return [of_workload(base(quick, zones=count), "zones") for count in sizes]


def depth(quick: bool) -> list[Point]:
    """How many zones a point is in, of a thousand."""
    return [of_workload(base(quick, depth=value), "depth") for value in ((1.0, 5.0) if quick else (1.0, 5.0, 50.0))]


def disorder(quick: bool) -> list[Point]:
    """Which share of the records comes up to 2 s late."""
    return [of_workload(base(quick, disorder=value), "disorder") for value in (0.0, 0.1, 0.5)]


def rules(quick: bool) -> list[Point]:
    """Rules on one stream with thresholds of their own: all match the same rows, or only the last matches any."""
    folder, points = base(quick).folder(), []
    for count in (1, 100) if quick else (1, 10, 100, 200):
        for which in ("last", "all"):
            if count == 1 and which == "all":
                continue
            found = child("rules", {"folder": str(folder), "count": count, "which": which})
            points.append({"rules": count, "matching": which, **found})
    return points


def keys(quick: bool) -> list[Point]:
    """Keys that stand in a zone, not long enough yet: what each takes, and what stopping and going on take."""
    folder = base(quick).folder()
    sizes = (1_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    return [{"keys": count, **child("keys", {"folder": str(folder), "count": count})} for count in sizes]


def of_workload(workload: Parking, swept: str) -> Point:
    folder = workload.folder()
    meta = json.loads((folder / "meta.json").read_text())
    found = child("workload", {"folder": str(folder)})
    return {swept: getattr(workload, swept), "memberships_per_event": meta["memberships_per_event"], **found}


SWEEPS: dict[str, Callable[[bool], list[Point]]] = {
    "zones": zones,
    "rules": rules,
    "keys": keys,
    "depth": depth,
    "disorder": disorder,
}


def child(task: str, what: dict[str, Any]) -> Point:
    """One point in a process of its own on the last core."""
    command = [sys.executable, "-m", "benchmarks.bench_sweeps", "--child", task, json.dumps(what)]
    try:
        done = subprocess.run(pinned(command), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as why:
        raise SystemExit(f"{task} {what}: not done in {LIMIT_S} s") from why
    if done.returncode:
        raise SystemExit(f"{task} {what}: {last_line(done.stderr)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# what a child does


def truth(folder: Path, events: int) -> list[Raised]:
    """The episodes that are decided within the first so many events."""
    rows = [row for row in json.loads((folder / "truth.json").read_text()) if row["event"] < events]
    return sorted(Raised(row["track"], row["zone"], row["start_ms"], row["fire_ms"]) for row in rows)


def run_workload(folder: str) -> Point:
    began = process_time()
    city = city_of(Path(folder))
    start_s = process_time() - began
    fed = read_records(Path(folder), "single", None)
    warm(city, fed, BATCH)
    spare_the_collector()
    run = Run(city)
    seconds = sum(run.feed(fed, BATCH)) / 1e9
    if sorted(run.raised()) != truth(Path(folder), len(fed)):
        raise SystemExit("not the true episodes")
    return {"events_per_s": round(len(fed) / seconds), "city_s": round(start_s, 2), "resident_mb": resident_mb()}


def run_rules(folder: str, count: int, which: str) -> Point:
    """Thresholds differ by rule and lie where no speed is: all rules match the same rows, or only the last any."""
    park_s = json.loads((Path(folder) / "meta.json").read_text())["park_s"]
    texts = []
    for number in range(count):
        matches = which == "all" or number == count - 1
        where = f"speed_mps < {0.8 + number / 1000:g}" if matches else f"speed_mps > {100 + number}"
        texts.append(RULE.format(name=f"rule-{number:03d}", where=where, park_s=park_s))
    head, _, _ = texts[0].partition("  - id:")
    text = head + "".join(text[text.index("  - id:") :] for text in texts)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        city = city_of(Path(folder), Path(file.name))
    fed = read_records(Path(folder), "single", None if count < 100 else 50_000)
    warm(city, fed, BATCH)
    spare_the_collector()
    run = Run(city)
    seconds = sum(run.feed(fed, BATCH)) / 1e9
    told = Counter((one.rule, raised(one)) for one in run.told if one.kind == "raised")
    names = [f"rule-{n:03d}" for n in range(count) if which == "all" or n == count - 1]
    if told != Counter((name, one) for name in names for one in truth(Path(folder), len(fed))):
        raise SystemExit("not the true episodes")
    return {"events_per_s": round(len(fed) / seconds), "resident_mb": resident_mb()}


def standing(folder: Path, count: int) -> Callable[[int, int], list[bytes]]:
    """Makes the frames of one second in which `count` vehicles stand in no-parking zones, each at its place."""
    features = json.loads((folder / "zones.geojson").read_text())["features"]
    parked = [json.dumps(f["geometry"]) for f in features if f["properties"]["kind"] == PARKED]
    places = [(round(p.x, 6), round(p.y, 6)) for p in shapely.point_on_surface(shapely.from_geojson(parked))]

    def frames(second: int, upto: int = count) -> list[bytes]:
        found = []
        for first in range(0, upto, PER_CAMERA):
            some = range(first, min(first + PER_CAMERA, upto))
            lon, lat = zip(*(places[n % len(places)] for n in some), strict=True)
            columns = {
                "track_id": [f"t-{n:07d}" for n in some],
                "class": ["car"] * len(some),
                "lon": lon,
                "lat": lat,
                "speed_mps": [0.1] * len(some),
            }
            frame = {"sensor_id": f"net-{first // PER_CAMERA:05d}", "frame_time": T0_MS + second * 1000}
            found.append(json.dumps({**frame, "columns": columns}, separators=(",", ":")).encode())
        return found

    return frames


def run_keys(folder: str, count: int) -> Point:
    """Each key is seen for FIRST_S seconds, then saved, restored elsewhere, and some are seen until they are raised."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(RULE.format(name="illegal-parking", where="speed_mps < 1", park_s=FIRST_S))
        file.flush()
        city = city_of(Path(folder), Path(file.name))
    frames = standing(Path(folder), count)
    seconds = [records(frames(second)) for second in range(FIRST_S)]
    size = BATCH // PER_CAMERA
    warm(city, seconds[0], size)
    gc.collect()
    before = resident_bytes()
    spare_the_collector()
    run = Run(city)
    for second, fed in enumerate(seconds):
        began, last_us = process_time(), (T0_MS + second * 1000) * 1000
        for some in batches(fed, size):
            run.told += run.detector.feed(TOPIC, some).detections
        run.told += run.detector.advance(last_us + LATENESS_US)  # all of this second is decided, nothing is given up
        took = process_time() - began
    gc.collect()
    grown = resident_bytes() - before
    began = process_time()
    blob = run.detector.snapshot()
    saved_s, began = process_time() - began, process_time()
    again = Run(city)
    again.detector.restore(blob)
    restored_s = process_time() - began
    some = min(count, ANSWERED)
    again.feed(records(frames(FIRST_S, some)), size)
    if run.told or len({one.track for one in again.raised()}) != some:
        raise SystemExit("not the true episodes")
    return {
        "events_per_s": round(count / took),
        "bytes_per_key": round(grown / count) if count >= 10_000 else None,
        "nbytes_per_key": round(run.detector.nbytes / count),
        **{f"{name}_bytes_per_key": round(size / count) for name, size in parts_of(run.detector).items()},
        "runs": run.detector.memory().runs,
        "snapshot_s": round(saved_s, 4),
        "snapshot_bytes": len(blob),
        "restore_s": round(restored_s, 4),
    }


def parts_of(detector: Detector) -> dict[str, int]:
    """What `nbytes` is made of: runs, prints of the last two minutes, room for hits that wait, names and sources."""
    lane = detector.lanes[TOPIC]
    runs = 0 if lane.quiet is None else lane.quiet.nbytes
    parts = {"runs": runs, "prints": lane.seen.nbytes, "waiting": lane.waiting.nbytes}
    return {**parts, "names": lane.nbytes - sum(parts.values())}


def resident_bytes() -> int:
    kib = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(kib.split()[1]) * 1024


def resident_mb() -> int:
    return round(resident_bytes() / 2**20)


TASKS: dict[str, Callable[..., Point]] = {"workload": run_workload, "rules": run_rules, "keys": run_keys}


def measure(*, quick: bool, only: Sequence[str] = tuple(SWEEPS)) -> dict[str, list[Point]]:
    """These sweeps; those that the file has of an earlier run stay in the file."""
    found: dict[str, list[Point]] = {}
    file = CACHE / "sweeps.json"
    CACHE.mkdir(exist_ok=True)
    for name in only:
        found[name] = SWEEPS[name](quick)
        kept = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(kept | found, indent=1) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(SWEEPS))
    parser.add_argument("--child", nargs=2, metavar=("TASK", "WHAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        task, what = given.child
        print(json.dumps(TASKS[task](**json.loads(what))))
        return
    found = measure(quick=given.quick, only=given.only.split(","))
    if given.json:
        print(json.dumps(found))
        return
    for name, points in found.items():
        print(name)
        for point in points:
            print("  " + "   ".join(f"{part} {value}" for part, value in point.items()))


if __name__ == "__main__":
    main()
