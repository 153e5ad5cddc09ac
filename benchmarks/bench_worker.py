"""Worker against plain Faust on a real Kafka: same broker, same rule, one core each, single-object messages.

    python -m benchmarks.bench_worker [--quick] [--json]

Each contestant finds its messages waiting in the topic and reads them as fast as it can; the clock runs from its first
message to its last, so starting up doesn't count. Both must find every episode. The broker has the other core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Producer

from benchmarks.workloads import Message, Workload, write_inputs
from streams.topics import all_full_names, full_name
from tests.kafka.broker import KafkaBroker

PARTITIONS = 4
LIMIT_S = 45
TRIES = 3
"""A contestant that hangs is started anew, in a group of its own."""


@lru_cache(maxsize=2)
def messages(workload: Workload) -> tuple[Message, ...]:
    """Made once for all pairs."""
    return tuple(workload.messages())


def preload(bootstrap: str, topic: str, workload: Workload) -> int:
    """Put the workload into a topic; gives how many messages it was."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    sent = 0
    for m in messages(workload):
        while True:
            try:
                producer.produce(topic, m.value, m.key, partition=m.partition)  # stamped now: older is deleted
                break
            except BufferError:
                producer.poll(0.05)
        sent += 1
    producer.flush()
    return sent


def run(module: str, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """One contestant in its own process on the last core; its JSON line."""
    core = str(max(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, sys.executable, "-m", module, *arguments]
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
            break
        except subprocess.TimeoutExpired:
            print(f"{module} hung for {LIMIT_S} s, once more", file=sys.stderr)
    else:
        raise SystemExit(f"{module} hung {TRIES} times")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{module} failed ({done.returncode}):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[-1]))


def contest(broker: KafkaBroker, folder: Path, number: int, ours: Workload, plain: Workload) -> dict[str, float]:
    """One pair of runs on fresh topics; rates in messages a second, answers asserted."""
    prefix = f"bench{number}"
    broker.create_topics(*all_full_names(prefix), partitions=PARTITIONS)
    broker.create_topics(f"{prefix}.plain", f"{prefix}.plain.out", partitions=PARTITIONS)
    rules, zones = write_inputs(folder, ours)
    sent = preload(broker.bootstrap, full_name("camera.tracks", prefix), ours)
    found = run(
        "benchmarks.contestants.our_worker",
        [str(sent)],
        {
            "KAFKA_URL": f"kafka://{broker.bootstrap}",
            "ZHINAO_TOPIC_PREFIX": prefix,
            "ZHINAO_GROUP": prefix,
            "ZHINAO_RULES": str(rules),
            "ZHINAO_ZONES": str(zones),
            "ZHINAO_UNREGISTERED": "accept",
            "ZHINAO_CLOCK": "stream",
        },
    )
    expect_episodes("our worker", found["counts"], ours)
    sent = preload(broker.bootstrap, f"{prefix}.plain", plain)
    theirs = run(
        "benchmarks.contestants.plain_faust",
        [broker.bootstrap, f"{prefix}.plain", f"{prefix}.plain.out", str(zones), str(sent)],
        {},
    )
    if theirs["raised"] != plain.episodes():
        raise SystemExit(f"plain Faust raised {theirs['raised']} of {plain.episodes()} episodes")
    return {
        "ours": found["messages"] / found["seconds"],
        "plain": theirs["messages"] / theirs["seconds"],
    }


def expect_episodes(who: str, counts: dict[str, int], workload: Workload) -> None:
    """Every message in a bin, none of them bad, and as many raised as the workload has episodes."""
    bad = {name: counts.get(name, 0) for name in ("duplicate", "late", "dead") if counts.get(name, 0)}
    if bad or counts["raised"] != workload.episodes():
        raise SystemExit(f"{who}: raised {counts['raised']} of {workload.episodes()} episodes, bad {bad}")


def measure(*, quick: bool) -> dict[str, Any]:
    """Medians over the pairs and the ratio pair by pair."""
    ours = Workload(vehicles=1000, seconds=200)
    plain = Workload(vehicles=200, seconds=200)
    with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=1024) as broker:
        first_core = min(os.sched_getaffinity(0))
        pid = broker.pid()
        if pid is not None:
            os.sched_setaffinity(pid, {first_core})
        pairs = [contest(broker, Path(scratch), n, ours, plain) for n in range(3 if quick else 5)]
    return {
        "worker_single_per_s": median(p["ours"] for p in pairs),
        "plain_faust_per_s": median(p["plain"] for p in pairs),
        "worker_vs_plain_faust": median(p["ours"] / p["plain"] for p in pairs),
        "pairs": len(pairs),
        "message_bytes": len(next(iter(ours.messages())).value),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(quick=given.quick)
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value:,.1f}" if isinstance(value, float) else f"{name:28} {value}")


if __name__ == "__main__":
    main()
