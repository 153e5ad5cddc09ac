"""What every contestant on the parking workload shares: its input, its answer against the truth, its one JSON line.

Standard library only, as peers run in an interpreter of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

SLOW_MPS = 1.0
STEP = 1_000


class Raised(NamedTuple):
    """An episode as it was told: times in epoch milliseconds, the zone as `kind/id`."""

    track: str
    zone: str
    start_ms: int
    fire_ms: int


def arguments(about: str | None) -> argparse.ArgumentParser:
    """FOLDER [--events N] [--filter-first]; contestants may add to it."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a folder that benchmarks.parking has written")
    parser.add_argument("--events", type=int, default=None, help="only the first so many, a multiple of 1,000")
    parser.add_argument("--filter-first", action="store_true", help="look up the zones of slow vehicles only")
    return parser


def meta(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "meta.json").read_text()))


def events(folder: Path, count: int | None) -> list[bytes]:
    """The flat events, one JSON text each."""
    with (folder / "events.jsonl").open("rb") as file:
        return [line.rstrip() for _, line in zip(range(count if count is not None else 1 << 62), file, strict=False)]


def peak_mb() -> int:
    """The most this program ever held; `ru_maxrss` would count the one that started it too."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024)


def report(
    name: str,
    folder: Path,
    *,
    count: int,
    seconds: float,
    raised: Iterable[Raised],
    memberships: int | None = None,
    packages: Iterable[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Prints the contestant's line.

    `seconds`: the core's, all threads together (`time.process_time`): alone on a machine the clock says the same, with
    others on it the clock says anything. `memberships`: (event, zone) pairs found, where all events were looked up.
    """
    told = list(raised)
    true = {
        Raised(row["track"], row["zone"], row["start_ms"], row["fire_ms"])
        for row in json.loads((folder / "truth.json").read_text())
        if row["event"] < count
    }
    counted = meta(folder)["memberships"]
    line = {
        "name": name,
        "events": count,
        "seconds": round(seconds, 4),
        "events_per_s": round(count / seconds),
        "episodes": len(true),
        "missed": len(true - set(told)),
        "extra": len(set(told) - true),
        "repeated": len(told) - len(set(told)),
        "memberships": memberships,
        "memberships_true": counted[count // STEP - 1] if count >= STEP and count % STEP == 0 else None,
        "peak_mb": peak_mb(),
        "versions": {package: version(package) for package in packages},
    }
    print(json.dumps({**line, **(more or {})}), flush=True)
