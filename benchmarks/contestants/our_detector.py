"""Our Detector through its door, fed records in batches; the clock runs while it is fed, and until all is told.

python -m benchmarks.contestants.our_detector FOLDER [--events N] [--shape single|frames|columnar] [--batch 1000]
                                              [--latency]

`--batch` counts observations. `--latency` gives the time of one call by size of batch in the place of a rate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

from benchmarks.contestants import scoring
from benchmarks.contestants.scoring import Raised
from models.detections import Detection
from models.times import parse_rfc3339_us
from rules.detection.detector import Detector
from streams.city import City, build_city
from streams.commands.worker import spare_the_collector
from streams.settings import Settings
from streams.transport import Record

TOPIC = "camera.tracks"
EACH = {"single": 1, "frames": 50, "columnar": 50}
AFTER_US = 10_000_000
"""The clock goes on so far after the last record, so that all that was seen is decided."""
WARM_RECORDS = 2_000
LATENCY_BATCHES = (1, 10, 100, 1_000)
LATENCY_CALLS = {1: 20_000, 10: 10_000, 100: 2_000, 1_000: 1_000}


def city_of(folder: Path, rules: Path | None = None) -> City:
    """The workload's rule (or others) and zones; no registry, so any camera is believed."""
    return build_city(Settings.read(), rules=[rules or folder / "rules.yaml"], zones=[folder / "zones.geojson"])


def records(lines: Sequence[bytes]) -> list[Record]:
    """As the transport hands them on; arrival is the newest time in a frame so far, and a little."""
    found, newest, name = [], 0, b'"frame_time":'
    for offset, line in enumerate(lines):
        at = line.index(name) + len(name)
        newest = max(newest, int(line[at : at + 13]))
        found.append(Record(offset, newest + 200, b"bench", line, ()))
    return found


def read_records(folder: Path, shape: str, count: int | None) -> list[Record]:
    limit = 1 << 62 if count is None else count // EACH[shape]
    with (folder / f"{shape}.jsonl").open("rb") as file:
        return records([line.rstrip() for _, line in zip(range(limit), file, strict=False)])


def batches(fed: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (fed[at : at + size] for at in range(0, len(fed), size))


class Run:
    """One Detector, what it told and the bins it counted."""

    def __init__(self, city: City) -> None:
        self.detector: Detector = city.detector(0)
        self.told: list[Detection] = []
        self.bins = dict.fromkeys(("used", "filtered", "duplicate", "late", "dead"), 0)

    def feed(self, fed: Sequence[Record], size: int, clock: Callable[[], int] = process_time_ns) -> list[int]:
        """Nanoseconds each call took, that of the clock's last word behind them."""
        took = []
        for some in batches(fed, size):
            began = clock()
            outcome = self.detector.feed(TOPIC, some)
            took.append(clock() - began)
            self.told += outcome.detections
            for name in self.bins:
                found = getattr(outcome, name)
                self.bins[name] += found if isinstance(found, int) else len(found)
        began = clock()
        self.told += self.detector.advance(fed[-1].timestamp * 1000 + AFTER_US)
        took.append(clock() - began)
        return took

    def raised(self) -> list[Raised]:
        return [raised(one) for one in self.told if one.kind == "raised"]


def raised(one: Detection) -> Raised:
    fire_ms = parse_rfc3339_us(one.opened_event_time) // 1000
    return Raised(one.key["track_id"], one.zone or "", fire_ms - round(one.held_s * 1000), fire_ms)


def warm(city: City, fed: Sequence[Record], size: int) -> None:
    """Machine code is made and read in before the clock runs, by a Detector that is thrown away."""
    Run(city).feed(fed[:WARM_RECORDS], size)


def latency(city: City, fed: Sequence[Record], each: int) -> dict[str, dict[str, float]]:
    """Microseconds a call by observations in it; the far tail only where enough calls were made."""
    found = {}
    for size in LATENCY_BATCHES:
        if size < each:
            continue
        took: list[int] = []
        while len(took) < LATENCY_CALLS[size]:
            some = fed[: (LATENCY_CALLS[size] - len(took)) * size // each]
            took += Run(city).feed(some, size // each, perf_counter_ns)[:-1]
        took.sort()
        marks = {"p50": 0.5, "p99": 0.99} | ({"p99.9": 0.999} if len(took) >= 1000 else {})
        found[str(size)] = {name: round(took[int(len(took) * part)] / 1000, 1) for name, part in marks.items()}
    return found


def main() -> None:
    parser = scoring.arguments(__doc__)
    parser.add_argument("--shape", choices=EACH, default="single")
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--latency", action="store_true")
    given = parser.parse_args()
    each = EACH[given.shape]
    fed, city = read_records(given.folder, given.shape, given.events), city_of(given.folder)
    size = max(1, given.batch // each)
    warm(city, fed, size)
    spare_the_collector()
    if given.latency:
        print(json.dumps({"name": "our_detector", "shape": given.shape, "latency_us": latency(city, fed, each)}))
        return
    run = Run(city)
    took = run.feed(fed, size)
    more: dict[str, Any] = {"shape": given.shape, "batch": size * each, "bins": run.bins}
    scoring.report(
        "our_detector",
        given.folder,
        count=len(fed) * each,
        seconds=sum(took) / 1e9,
        raised=run.raised(),
        packages=("msgspec", "numpy", "numba", "shapely"),
        more=more,
    )


if __name__ == "__main__":
    main()
