"""How soon it is out: a detection after the record that decides it, an order after the crossing; at a steady load.

    python -m benchmarks.bench_latency [--rate 1000] [--seconds 40] [--detections] [--json]

The real worker on a real Kafka under the wall clock, its own core. Vehicles report once a second, each at its own
phase; some stand for a while, and the rule is a dwell of five seconds.

- Orders (`measure`): the consumer's clock when it reads the order, less the moment of the crossing (which a frame shows
  exactly), less the lateness that every decision must wait; nothing else.
- Detections (`measure_detections`): the consumer's clock when it reads the detection, less the moment the first record
  that lifts the watermark over the crossing was handed to the feeder's client. Its linger and the broker count as ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from confluent_kafka import Consumer, Producer

from benchmarks.workloads import AREAS, RULE, SIDE_LAT, SIDE_LON, Workload, write_inputs
from models.times import parse_rfc3339_us
from streams.topics import all_full_names, full_name, partition_for
from tests.kafka.broker import KafkaBroker

DWELL_S = 5
LATENESS_S = 2.0
PARTITIONS = 4
STANDS_S, EVERY_S = 12, 40
READY_LIMIT_S, AFTERWARDS_S = 60, 30
SLOT_MS = 5
"""The feeder of many sends this much of the second at once."""
SELDOM_S = 1000
"""At a high rate a vehicle stands `STANDS_S` in so many seconds: about one detection in a thousand observations."""
MOST_PER_S = 100_000
"""What the feeder keeps up with in Python on the core it shares with the broker and the listener."""


@dataclass(frozen=True, slots=True)
class Figures:
    orders: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    sent_per_s: float


@dataclass(frozen=True, slots=True)
class Delays:
    """Of detections."""

    detections: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    sent_per_s: float


def drive(bootstrap: str, topic: str, rate: int, seconds: float) -> tuple[int, float]:
    """Send `rate` single-object frames a second, paced; gives how many and how long it took."""
    workload = Workload(vehicles=rate, seconds=1)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "acks": "1"})
    began = time.time()
    start_ms, sent = int(began * 1000) + 100, 0
    # Every vehicle has its own millisecond of the second, so that frames are exactly a second apart.
    turns = sorted((number * 1000 // rate, number) for number in range(rate))
    for second in range(round(seconds)):
        for phase_ms, number in turns:
            at_ms = start_ms + second * 1000 + phase_ms
            ahead = at_ms / 1000 - time.time()
            if ahead > 0.001:
                producer.poll(0)
                time.sleep(ahead)
            standing = (second + number) % EVERY_S < STANDS_S
            key = AREAS[number % len(AREAS)].encode()
            producer.produce(topic, frame(workload, number, at_ms, standing), key, partition_for(key, PARTITIONS))
            sent += 1
    producer.flush()
    return sent, time.time() - began


def frame(workload: Workload, number: int, at_ms: int, standing: bool) -> bytes:
    head, moving, still = frame_parts(workload, number)
    return head + b"%d" % at_ms + (still if standing else moving)


def frame_parts(workload: Workload, number: int) -> tuple[bytes, bytes, bytes]:
    """A vehicle's frame before its time, and what follows when it moves and when it stands."""
    x, y = workload.zone_corner(number % workload.zones)
    place = (number // workload.zones % 9 + 1) / 10
    seen = {
        "track_id": str(number),
        "class": "car",
        "lon": round(x + SIDE_LON * place, 7),
        "lat": round(y + SIDE_LAT / 2, 7),
        "confidence": 0.93,
        "speed_mps": 0.0,
    }
    tails = [
        b',"objects":' + json.dumps([{**seen, "speed_mps": speed}], separators=(",", ":")).encode() + b"}"
        for speed in (8.5, 0.0)
    ]
    return b'{"sensor_id":"cam-%05d","frame_time":' % number, tails[0], tails[1]


def drive_many(bootstrap: str, topic: str, rate: int, seconds: int) -> dict[str, Any]:
    """Send about `rate` frames a second in slots; gives how many, how long, and when each slot was handed over."""
    workload = Workload(vehicles=rate, seconds=1)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "acks": "1", "compression.type": "lz4"})
    slots: list[list[tuple[int, bytes, int, bytes, bytes, bytes]]] = [[] for _ in range(1000 // SLOT_MS)]
    for number in range(rate):
        key = AREAS[number // len(slots) % len(AREAS)].encode()
        slots[number % len(slots)].append((number, key, partition_for(key, PARTITIONS), *frame_parts(workload, number)))
    producer.list_topics(topic)
    start_ms, handed = int(time.time() * 1000) + 100, []
    for second in range(seconds):
        for turn, vehicles in enumerate(slots):
            at_ms = start_ms + second * 1000 + turn * SLOT_MS
            while (ahead := at_ms / 1000 - time.time()) > 0:
                producer.poll(0)
                time.sleep(min(ahead, 0.001))
            handed.append((at_ms, time.time()))
            stamp = b"%d" % at_ms
            for number, key, partition, head, moving, still in vehicles:
                value = head + stamp + (still if (second + number) % SELDOM_S < STANDS_S else moving)
                while True:
                    try:
                        producer.produce(topic, value, key, partition)
                        break
                    except BufferError:
                        producer.poll(0.01)
    sent, took_s = rate * seconds, time.time() - start_ms / 1000
    producer.flush()
    return {"sent": sent, "took_s": took_s, "slots": handed}


class Listener(threading.Thread):
    """Reads topics and passes on what was read: which topic, what it says, and when it was read."""

    def __init__(self, bootstrap: str, topics: list[str], hear: Callable[[str, Any, float], None]) -> None:
        super().__init__(daemon=True)
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topics[0]}-listener",
            "auto.offset.reset": "earliest",
        }
        self.consumer, self.hear = Consumer({**settings, "fetch.wait.max.ms": 5}), hear
        self.consumer.subscribe(topics)
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            record = self.consumer.poll(0.1)
            if record is None or record.error():
                continue
            read_s = time.time()
            topic = record.topic()
            if topic is not None:
                self.hear(topic, json.loads(record.value() or b"{}"), read_s)
        self.consumer.close()


class Orders:
    """When each order was read and when its incident opened."""

    def __init__(self, prefix: str) -> None:
        self.orders, self.incidents = full_name("dispatch.orders", prefix), full_name("incidents", prefix)
        self.read_s: dict[str, float] = {}
        self.opened_s: dict[str, float] = {}

    def hear(self, topic: str, value: Any, read_s: float) -> None:
        if topic == self.orders:
            self.read_s.setdefault(value["incident_id"], read_s)
        else:
            self.opened_s.setdefault(value["incident_id"], parse_rfc3339_us(value["opened_at"]) / 1e6)

    def latencies_ms(self) -> list[float]:
        both = self.read_s.keys() & self.opened_s.keys()
        return sorted((self.read_s[k] - self.opened_s[k] - LATENESS_S) * 1000 for k in both)


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    """The worker as a user starts it, on the last core."""
    core = str(max(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, sys.executable, "-m", "app", "worker"]
    child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        if not child.stdout.readline().startswith("ready"):
            raise SystemExit("the worker did not start")
        yield
    finally:
        child.terminate()
        child.wait(30)
        if child.stdout is not None:
            child.stdout.close()


def measure(
    broker: KafkaBroker, folder: Path, *, rate: int = 1000, seconds: float = 40, prefix: str = "delay"
) -> Figures:
    """One run; the answer is checked too: as many orders as vehicles that began to stand in time."""
    environment = prepare(broker, folder, prefix)
    orders = Orders(prefix)
    listener = Listener(broker.bootstrap, [orders.orders, orders.incidents], orders.hear)
    listener.start()
    with worker(environment):
        sent, took_s = drive(broker.bootstrap, full_name("camera.tracks", prefix), rate, seconds)
        time.sleep(LATENESS_S + 3)
    listener.done.set()
    listener.join()
    found = orders.latencies_ms()
    if len(found) < rate / EVERY_S * (seconds - STANDS_S):
        raise SystemExit(f"only {len(found)} orders came")
    return Figures(len(found), found[len(found) // 2], found[int(len(found) * 0.99)], found[-1], sent / took_s)


def prepare(broker: KafkaBroker, folder: Path, prefix: str) -> dict[str, str]:
    """Topics, rule and zones; gives the worker's environment."""
    broker.create_topics(*all_full_names(prefix), partitions=PARTITIONS)
    rules, zones = write_inputs(folder, Workload(vehicles=1, seconds=1))
    rules.write_text(
        RULE.replace("for: 120s", f"for: {DWELL_S}s")
        .replace("min_points: 5", "min_points: 3")
        .replace("    message:", "    merge: {radius: 1m, same_zone: true, window: 1s}\n    message:")
    )
    return {
        "KAFKA_URL": f"kafka://{broker.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": prefix,
        "ZHINAO_GROUP": prefix,
        "ZHINAO_RULES": str(rules),
        "ZHINAO_ZONES": str(zones),
        "ZHINAO_UNREGISTERED": "accept",
    }


def decided(number: int, seconds: int) -> bool:
    """Whether a record decides that this vehicle of many stood long enough."""
    phase = number % SELDOM_S
    began, lasts = (0, STANDS_S - phase) if phase < STANDS_S else (SELDOM_S - phase, STANDS_S)
    return lasts > DWELL_S and began + DWELL_S + LATENESS_S < seconds


def delays_ms(read: dict[str, tuple[str, float, float]], slots: list[tuple[int, float]]) -> list[float]:
    """From the record that lifts the watermark over each crossing to its detection; what the silence after the last
    record decided has none."""
    slots_ms, delays = [at_ms for at_ms, _ in slots], []
    for _, crossed_s, read_s in list(read.values()):
        lifts = bisect_left(slots_ms, round((crossed_s + LATENESS_S) * 1000))
        if lifts < len(slots_ms):
            delays.append((read_s - slots[lifts][1]) * 1000)
    return delays


def wait_for(all_came: Callable[[], bool], at_most_s: float) -> None:
    """A worker that is behind has so long to catch up; how late it was is what is measured."""
    until_s = time.monotonic() + at_most_s
    while not all_came() and time.monotonic() < until_s:
        time.sleep(0.1)


def measure_detections(
    broker: KafkaBroker, folder: Path, *, rate: int, seconds: int = 20, prefix: str = "decide"
) -> Delays:
    """One run at `rate` or `MOST_PER_S`; every vehicle that stood long enough must have been seen to."""
    rate = min(rate, MOST_PER_S)
    environment = prepare(broker, folder, prefix)
    read: dict[str, tuple[str, float, float]] = {}

    def hear(_topic: str, value: Any, read_s: float) -> None:
        if value.get("kind") == "raised":
            crossed_s = parse_rfc3339_us(value["event_time"]) / 1e6
            read.setdefault(value["detection_id"], (value["key"]["track_id"], crossed_s, read_s))

    listener = Listener(broker.bootstrap, [full_name("detections", prefix)], hear)
    listener.start()
    with worker(environment):
        arguments = ["--feed", broker.bootstrap, full_name("camera.tracks", prefix)]
        command = [sys.executable, "-m", "benchmarks.bench_latency", *arguments]
        core = str(min(os.sched_getaffinity(0)))
        fed = subprocess.run(
            ["taskset", "-c", core, *command, "--rate", str(rate), "--seconds", str(seconds)],
            stdout=subprocess.PIPE,
            check=True,
        )
        told = json.loads(fed.stdout)
        expected = sum(decided(number, seconds) for number in range(rate))
        wait_for(lambda: len(delays_ms(read, told["slots"])) >= expected, AFTERWARDS_S)
    listener.done.set()
    listener.join()
    delays = delays_ms(read, told["slots"])
    if len(delays) < expected:
        raise SystemExit(f"only {len(delays)} of {expected} detections came")
    cuts = quantiles(delays, n=100, method="inclusive")
    return Delays(len(delays), cuts[49], cuts[98], max(delays), told["sent"] / told["took_s"])


def both(broker: KafkaBroker, folder: Path, *, quick: bool, worker_per_s: float) -> dict[str, float]:
    """Figures of orders at a thousand observations a second, and of detections at half of what the worker can take."""
    orders = measure(broker, folder, seconds=20 if quick else 60)
    delays = measure_detections(broker, folder, rate=round(worker_per_s / 2), seconds=15 if quick else 30)
    return {
        "order_p50_ms": orders.p50_ms,
        "order_p99_ms": orders.p99_ms,
        "orders": orders.orders,
        "detection_p50_ms": delays.p50_ms,
        "detection_p99_ms": delays.p99_ms,
        "detections": delays.detections,
        "detection_load_per_s": delays.sent_per_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--detections", action="store_true", help="detections, not orders")
    parser.add_argument("--feed", nargs=2, metavar=("SERVERS", "TOPIC"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.feed:
        servers, topic = given.feed
        print(json.dumps(drive_many(servers, topic, given.rate, given.seconds)))
        return
    figures: Figures | Delays
    with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=512) as broker:
        if given.detections:
            figures = measure_detections(broker, Path(scratch), rate=given.rate, seconds=given.seconds)
        else:
            figures = measure(broker, Path(scratch), rate=given.rate, seconds=given.seconds)
    print(json.dumps({name: getattr(figures, name) for name in type(figures).__slots__}))


if __name__ == "__main__":
    main()
