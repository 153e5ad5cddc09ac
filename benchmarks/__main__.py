"""All benchmarks: `python -m benchmarks [--quick] [--json]`. Ends with 1 where a floor is missed.

One object: machine, versions, figures (absolute, true of this machine and this hour only) and ratios (two contestants
in one run, which is what to quote).
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

from benchmarks import bench_latency, bench_worker
from tests.kafka.broker import KafkaBroker, KafkaUnavailable

PACKAGES = ("faust-streaming", "aiokafka", "msgspec", "numpy", "orjson", "shapely")
AIMS = {"worker_vs_plain_faust": 12.0, "order_p99_ms": 500.0}
"""What is wanted on a quiet machine: shown beside what was measured."""
FLOORS = {"worker_vs_plain_faust": 8.0}
"""A ratio below its floor is a finding on a noisy machine too: the core became slower."""
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


def measure(*, quick: bool) -> dict[str, Any]:
    """Everything; a benchmark that can't run here is null with its reason."""
    figures: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    try:
        worker = bench_worker.measure(quick=quick)
        ratios["worker_vs_plain_faust"] = round(worker.pop("worker_vs_plain_faust"), 2)
        figures |= worker
        with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=512) as broker:
            delay = bench_latency.measure(broker, Path(scratch), seconds=20 if quick else 60)
        figures |= {"order_p50_ms": delay.p50_ms, "order_p99_ms": delay.p99_ms, "orders": delay.orders}
    except KafkaUnavailable as why:
        ratios["worker_vs_plain_faust"], reasons["worker_vs_plain_faust"] = None, str(why)
    return {
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "figures": figures,
        "ratios": ratios,
        "aims": AIMS,
        "not_run": reasons,
    }


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
            print(f"{name:28} {value:,.2f}{aim}" if isinstance(value, float) else f"{name:28} {value}{aim}")


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
