"""All benchmarks: `python -m benchmarks [--quick] [--json]`. Ends with 1 where a floor is missed.

One object: machine, versions, figures (absolute, true of this machine and this hour only), ratios (two contestants in
one run, which is what to quote), aims, and not_run: why a ratio is null. A full run has sweeps too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import bench_desk, bench_detector, bench_latency, bench_sweeps, bench_worker
from tests.kafka.broker import KafkaBroker, KafkaUnavailable

PACKAGES = ("faust-streaming", "aiokafka", "msgspec", "numba", "numpy", "orjson", "shapely")
WORKER_RATIOS = ("worker_vs_plain_faust", "worker_frames_vs_plain_faust", "worker_vs_raw_client")
AIMS = {
    "worker_vs_plain_faust": 20.0,
    "worker_frames_vs_plain_faust": 40.0,
    "worker_vs_raw_client": 0.5,
    "detector_vs_bytewax": 20.0,
    "detector_vs_quixstreams": 20.0,
    "detector_vs_pathway": 20.0,
    "detector_vs_flink_java": 6.0,
    "detector_vs_c": 0.75,
    "columnar_vs_single": 1.5,
    "order_p99_ms": 500.0,
}
"""What is wanted on a quiet machine: shown beside what was measured."""
FLOORS = {
    "worker_vs_plain_faust": 20.0,
    "worker_frames_vs_plain_faust": 45.0,
    "worker_vs_raw_client": 0.4,
    "detector_vs_naive_rtree": 13.0,
    "detector_vs_bytewax": 8.0,
    "detector_vs_quixstreams": 6.0,
    "detector_vs_pathway": 16.0,
    "detector_vs_c": 0.12,
    "columnar_vs_single": 1.1,
    "frames_vs_single": 1.05,
}
"""A ratio below its floor is a finding on a noisy machine too: the core became slower. Flink has none: briefly run, its
rate says too little."""
CEILINGS_MS = {"order_p99_ms": 1000.0}


def machine() -> dict[str, Any]:
    models = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


class Found:
    """What the benchmarks gave, part by part; a part that can't run here is null with its reason."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {"versions": {}, "figures": {}, "ratios": {}, "not_run": {}}

    def take(self, part: dict[str, Any]) -> None:
        for name, values in self.parts.items():
            rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in part.get(name, {}).items()}
            values.update(rounded)

    def lacks(self, ratios: tuple[str, ...], why: str) -> None:
        self.take({"ratios": dict.fromkeys(ratios), "not_run": dict.fromkeys(ratios, why)})


def measure(*, quick: bool) -> dict[str, Any]:
    """Everything; a benchmark that can't run here is null with its reason."""
    found = Found()
    found.take({"versions": {name: version(name) for name in PACKAGES}})
    found.take(bench_detector.measure(quick=quick))
    found.take(bench_desk.measure(quick=quick))
    try:
        worker = bench_worker.measure(quick=quick)
        found.take(worker)
        with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=512) as broker:
            rate = worker["figures"]["worker_single_per_s"]
            found.take({"figures": bench_latency.both(broker, Path(scratch), quick=quick, worker_per_s=rate)})
    except KafkaUnavailable as why:
        found.lacks(WORKER_RATIOS, str(why))
    sweeps = {} if quick else {"sweeps": bench_sweeps.measure(quick=False)}
    return {"machine": machine(), **found.parts, "aims": AIMS, **sweeps}


def missed(found: dict[str, Any]) -> list[str]:
    """What is below its floor or above its ceiling."""
    low = [
        f"{name} is {found['ratios'][name]}, at least {floor:g} is wanted"
        for name, floor in FLOORS.items()
        if found["ratios"].get(name) is not None and found["ratios"][name] < floor
    ]
    high = [
        f"{name} is {found['figures'][name]:.0f}, at most {limit:g} is wanted"
        for name, limit in CEILINGS_MS.items()
        if found["figures"].get(name) is not None and found["figures"][name] > limit
    ]
    return low + high


def show(found: dict[str, Any]) -> None:
    print(f"machine   {found['machine']}")
    for part in ("figures", "ratios", "not_run"):
        for name, value in found[part].items():
            aim = f"   (aim {AIMS[name]:g})" if name in AIMS else ""
            print(f"{name:36} {value:,.2f}{aim}" if isinstance(value, float) else f"{name:36} {value}{aim}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most five minutes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(quick=given.quick)
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    for finding in (findings := missed(found)):
        print(f"benchmarks: {finding}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
