"""How soon an order is out: from the observation that decides to the order on its topic, at a steady load.

    python -m benchmarks.bench_latency [--rate 1000] [--seconds 40] [--json]

The real worker on a real Kafka under the wall clock. Vehicles report once a second, each at its own phase; some stand
for a while, and the rule is a dwell of five seconds. Latency is the consumer's clock when it reads the order, less the
moment of the crossing (which a frame shows exactly), less the lateness that every decision must wait; nothing else.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer

from benchmarks.workloads import AREAS, RULE, SIDE_LAT, SIDE_LON, Workload, write_inputs
from models.times import parse_rfc3339_us
from streams.topics import all_full_names, full_name, partition_for
from tests.kafka.broker import KafkaBroker

DWELL_S = 5
LATENESS_S = 2.0
PARTITIONS = 4
STANDS_S, EVERY_S = 12, 40
READY_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Figures:
    orders: int
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
    x, y = workload.zone_corner(number % workload.zones)
    place = (number // workload.zones % 9 + 1) / 10
    seen = {
        "track_id": str(number),
        "class": "car",
        "lon": round(x + SIDE_LON * place, 7),
        "lat": round(y + SIDE_LAT / 2, 7),
        "confidence": 0.93,
        "speed_mps": 0.0 if standing else 8.5,
    }
    value = {"sensor_id": f"cam-{number:05d}", "frame_time": at_ms, "objects": [seen]}
    return json.dumps(value, separators=(",", ":")).encode()


class Listener(threading.Thread):
    """Reads orders and incidents; when each order was read and when its incident opened."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self.orders, self.incidents = full_name("dispatch.orders", prefix), full_name("incidents", prefix)
        settings = {"bootstrap.servers": bootstrap, "group.id": f"{prefix}-listener", "auto.offset.reset": "earliest"}
        self.consumer = Consumer({**settings, "fetch.wait.max.ms": 5})
        self.consumer.subscribe([self.orders, self.incidents])
        self.read_s: dict[str, float] = {}
        self.opened_s: dict[str, float] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            record = self.consumer.poll(0.1)
            if record is None or record.error():
                continue
            value = json.loads(record.value() or b"{}")
            if record.topic() == self.orders:
                self.read_s.setdefault(value["incident_id"], time.time())
            else:
                self.opened_s.setdefault(value["incident_id"], parse_rfc3339_us(value["opened_at"]) / 1e6)
        self.consumer.close()

    def latencies_ms(self) -> list[float]:
        both = self.read_s.keys() & self.opened_s.keys()
        return sorted((self.read_s[k] - self.opened_s[k] - LATENESS_S) * 1000 for k in both)


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    """The worker as a user starts it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "app", "worker"], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
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
    broker.create_topics(*all_full_names(prefix), partitions=PARTITIONS)
    rules, zones = write_inputs(folder, Workload(vehicles=rate, seconds=1))
    rules.write_text(
        RULE.replace("for: 120s", f"for: {DWELL_S}s")
        .replace("min_points: 5", "min_points: 3")
        .replace("    message:", "    merge: {radius: 1m, same_zone: true, window: 1s}\n    message:")
    )
    environment = {
        "KAFKA_URL": f"kafka://{broker.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": prefix,
        "ZHINAO_GROUP": prefix,
        "ZHINAO_RULES": str(rules),
        "ZHINAO_ZONES": str(zones),
        "ZHINAO_UNREGISTERED": "accept",
    }
    listener = Listener(broker.bootstrap, prefix)
    listener.start()
    with worker(environment):
        sent, took_s = drive(broker.bootstrap, full_name("camera.tracks", prefix), rate, seconds)
        time.sleep(LATENESS_S + 3)
    listener.done.set()
    listener.join()
    found = listener.latencies_ms()
    if len(found) < rate / EVERY_S * (seconds - STANDS_S):
        raise SystemExit(f"only {len(found)} orders came")
    return Figures(len(found), found[len(found) // 2], found[int(len(found) * 0.99)], found[-1], sent / took_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, KafkaBroker(Path(scratch) / "kafka", heap_mb=512) as broker:
        figures = measure(broker, Path(scratch), rate=given.rate, seconds=given.seconds)
    print(json.dumps({name: getattr(figures, name) for name in Figures.__slots__}))


if __name__ == "__main__":
    main()
