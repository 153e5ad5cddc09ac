"""Worker against plain Faust and against a bare client on a real Kafka: same broker, one core each.

    python -m benchmarks.bench_worker [--quick] [--json]

Each contestant finds its messages waiting in the topic and reads them as fast as it can; the clock runs from its first
messages to its last, so starting up doesn't count. The broker has the other core. Rates are observations a second.

- our worker, messages of one object, and frames of 50;
- plain Faust with the same rule written by hand, messages of one object: both must find every episode;
- the bare client only fetches and decodes each message: nobody who decodes in Python could be faster.
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
from typing import Any, NamedTuple

from confluent_kafka import Producer

from benchmarks.workloads import Message, Workload, write_inputs
from streams.topics import all_full_names, full_name
from tests.kafka.broker import KafkaBroker

PARTITIONS = 4
ROUNDS, ROUNDS_QUICK = 5, 3
LIMIT_S = 45
TRIES = 3
"""A contestant that hangs is started anew, in a group of its own."""


class Jobs(NamedTuple):
    """What is to be read; plain Faust has a twentieth of the vehicles: no harder for it, and done in time."""

    single: Workload
    frames: Workload
    plain: Workload


JOBS = Jobs(
    Workload(vehicles=2000, seconds=200),
    Workload(vehicles=4000, seconds=200, objects=50),
    Workload(vehicles=100, seconds=200),
)


@lru_cache(maxsize=3)
def messages(workload: Workload) -> tuple[Message, ...]:
    """Made once for all pairs."""
    return tuple(workload.messages())


def preload(bootstrap: str, topic: str, workload: Workload) -> int:
    """Put the workload into a topic; gives how many messages it was.

    Idempotent for the order: without, the retry of a batch comes after the next one, even with one request in flight.
    """
    settings = {"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4", "enable.idempotence": True}
    producer = Producer({**settings, "log_level": 3})
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


def run(contestant: str, arguments: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """One contestant in its own process on the last core; its JSON line."""
    core = str(max(os.sched_getaffinity(0)))
    module = f"benchmarks.contestants.{contestant}"
    command = ["taskset", "-c", core, sys.executable, "-m", module, *arguments]
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
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


def contest(broker: KafkaBroker, folder: Path, number: int, jobs: Jobs) -> dict[str, float]:
    """Every contestant once, on fresh topics; observations a second, answers asserted."""
    first, second = ("single", "frames") if number % 2 else ("frames", "single")
    rates = {first: our_worker(broker, folder, f"{first}{number}", getattr(jobs, first))}
    topic = f"bench{number}"
    broker.create_topics(topic, f"{topic}.out", partitions=PARTITIONS)
    _, zones = write_inputs(folder, jobs.plain)
    sent = preload(broker.bootstrap, topic, jobs.plain)
    found = run("plain_faust", [broker.bootstrap, topic, f"{topic}.out", str(zones), str(sent)])
    if found["raised"] != jobs.plain.episodes():
        raise SystemExit(f"plain Faust raised {found['raised']} of {jobs.plain.episodes()} episodes")
    rates["plain"] = found["messages"] / found["seconds"]
    rates[second] = our_worker(broker, folder, f"{second}{number}", getattr(jobs, second))
    # The same log as the worker read.
    found = run("raw_client", [broker.bootstrap, full_name("camera.tracks", f"single{number}"), str(jobs.single.count)])
    if found["observations"] != jobs.single.observations:
        raise SystemExit(f"the bare client saw {found['observations']} of {jobs.single.observations} observations")
    rates["raw"] = found["measured"] / found["seconds"]
    return rates


def our_worker(broker: KafkaBroker, folder: Path, prefix: str, workload: Workload) -> float:
    """The worker on topics of its own."""
    broker.create_topics(*all_full_names(prefix), partitions=PARTITIONS)
    rules, zones = write_inputs(folder, workload)
    sent = preload(broker.bootstrap, full_name("camera.tracks", prefix), workload)
    environment = {
        "KAFKA_URL": f"kafka://{broker.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": prefix,
        "ZHINAO_GROUP": prefix,
        "ZHINAO_RULES": str(rules),
        "ZHINAO_ZONES": str(zones),
        "ZHINAO_UNREGISTERED": "accept",
        "ZHINAO_CLOCK": "stream",
    }
    found = run("our_worker", [str(sent)], environment)
    expect_episodes("our worker", found["counts"], workload)
    return float(found["messages"] / found["seconds"] * workload.objects)


def expect_episodes(who: str, counts: dict[str, int], workload: Workload) -> None:
    """Every message in a bin, none of them bad, and as many raised as the workload has episodes."""
    bad = {name: counts.get(name, 0) for name in ("duplicate", "late", "dead") if counts.get(name, 0)}
    through = counts.get("used", 0) + counts.get("filtered", 0)
    if bad or through != workload.count or counts["raised"] != workload.episodes():
        raise SystemExit(
            f"{who}: {through} of {workload.count} messages, "
            f"raised {counts['raised']} of {workload.episodes()} episodes, bad {bad}"
        )


def measure(*, quick: bool) -> dict[str, Any]:
    """Figures: medians over the rounds. Ratios: medians of each round's own."""
    with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=1024) as broker:
        pin(broker)
        rounds = [contest(broker, Path(scratch), n, JOBS) for n in range(ROUNDS_QUICK if quick else ROUNDS)]
    return {
        "figures": {
            "worker_single_per_s": median(r["single"] for r in rounds),
            "worker_frames_per_s": median(r["frames"] for r in rounds),
            "plain_faust_per_s": median(r["plain"] for r in rounds),
            "raw_client_per_s": median(r["raw"] for r in rounds),
            "rounds": len(rounds),
            "message_bytes": len(messages(JOBS.single)[0].value),
        },
        "ratios": {
            "worker_vs_plain_faust": median(r["single"] / r["plain"] for r in rounds),
            "worker_frames_vs_plain_faust": median(r["frames"] / r["plain"] for r in rounds),
            "worker_vs_raw_client": median(r["single"] / r["raw"] for r in rounds),
        },
    }


def pin(broker: KafkaBroker) -> None:
    """The broker to the first core; the contestants have the last."""
    pid = broker.pid()
    if pid is not None:
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(quick=given.quick)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in (found["figures"] | found["ratios"]).items():
        print(f"{name:28} {value:,.1f}" if isinstance(value, float) else f"{name:28} {value}")


if __name__ == "__main__":
    main()
