"""All poison through a real worker, on the embedded broker and on a real Kafka: it lives, each is a dead letter once,
and detections come in the order in which they would come without."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from models.observations import DeadReason
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from models.ticks import TICK_HEADER
from streams.broker import EmbeddedBroker
from streams.feeding import TICKED_TOPICS
from streams.replay import Replay
from streams.topics import all_full_names, full_name
from tests.e2e.city import Running, running
from tests.kafka.broker import KafkaBroker
from tests.poison.cases import Case
from tests.poison.recorded import Place, dead_cases, harmless_cases, in_order, partition_of
from tests.poison.world import HOME, PARTITIONS, RULES, SECONDS, START_MS, city

DRAIN_S = 60
WITHIN_S = 90.0
BOMB = b" " * (9 << 20)
"""Far above the limit of a message, and compressed far below it."""


class Letter(NamedTuple):
    place: Place
    reason: str
    path: str


def planted() -> list[Case]:
    """All dead letters to be. By the broker's clock, at which a Desk's record arrives, the recording is long past:
    there nothing is in the future."""
    return [c for c in dead_cases() if not (c.reason is DeadReason.TIME_IN_FUTURE and c.topic in DESK_TOPICS)]


class Sender:
    """librdkafka's producer: it sends headers without a value and what other clients refuse to."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.prefix = prefix
        self.sent: list[tuple[Case, Place]] = []
        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "message.max.bytes": 16 << 20, "compression.type": "gzip", "linger.ms": 5,
             "enable.idempotence": False, "log_level": 0}
        )  # fmt: skip

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any, at_ms: int,
        then: Callable[[int], None] = lambda offset: None,
    ) -> None:  # fmt: skip
        def delivered(error: Any, message: Any) -> None:
            assert error is None, (topic, error)
            then(message.offset())

        full = full_name(topic, self.prefix)
        self.producer.produce(
            full, value, key, partition, headers=list(headers), timestamp=at_ms, on_delivery=delivered
        )

    def tick(self, at_ms: int) -> None:
        for topic in TICKED_TOPICS:
            for partition in range(PARTITIONS):
                self.send(topic, partition, b"tick", None, [(TICK_HEADER, b"%d" % at_ms)], at_ms)

    def city(self) -> None:
        """The recording with its clock, and a bomb."""
        ticked_ms = START_MS - 1000
        for line, case in in_order([*harmless_cases(), *planted()]):
            while ticked_ms + 1000 <= line.timestamp_ms:
                ticked_ms += 1000
                self.tick(ticked_ms)
            assert line.topic is not None
            partition = line.partition
            if partition is None:
                partition = HOME if line.topic in DETECTOR_TOPICS else 0
            headers = line.headers or [("traceparent", None)]
            self.send(line.topic, partition, line.key, line.value, headers, line.timestamp_ms, self.noted(case))
        bomb = Case("a bomb", "camera.tracks", BOMB, DeadReason.TOO_LARGE)
        self.send(bomb.topic, HOME, b"danghu", BOMB, (), ticked_ms, self.noted(bomb))
        for second in range(SECONDS, SECONDS + DRAIN_S):
            self.tick(START_MS + 1000 * second)
        assert self.producer.flush(60) == 0

    def noted(self, case: Case | None) -> Callable[[int], None]:
        def note(offset: int) -> None:
            if case is not None and case.reason is not None:
                self.sent.append((case, (case.topic, partition_of(case), offset)))

        return note


def read(bootstrap: str, prefix: str, topic: str, enough: Callable[[list[Any]], bool], run: Running) -> list[Any]:
    """The records of a topic from its start until there are enough of them, or time is up."""
    full = full_name(topic, prefix)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "poison", "log_level": 0})
    found: list[Any] = []
    try:
        consumer.assign([TopicPartition(full, partition, 0) for partition in range(PARTITIONS)])
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and not enough(found):
            assert run.worker is not None
            assert run.worker.poll() is None, run.log("worker")
            message = consumer.poll(0.5)
            if message is not None and message.error() is None and message.value() is not None:
                found.append(message)
    finally:
        consumer.close()
    return found


def replayed() -> tuple[dict[str, list[str]], set[str]]:
    """What a replay of the good records tells: detections, and the incidents."""
    run = Replay(city(), partitions=PARTITIONS)
    lines = (line for line, _ in in_order(harmless_cases()))
    published = run.run(lines, drain_ms=DRAIN_S * 1000)
    return in_turn([line.value or b"" for line in published if line.topic == "detections"]), set(run.summary.newest)


def in_turn(detections: list[bytes]) -> dict[str, list[str]]:
    """In the order of each lane; between lanes there is none."""
    found: dict[str, list[str]] = {}
    for said in map(json.loads, detections):
        found.setdefault(said["sources"][0], []).append(f"{said['detection_id']} {said['kind']} {said['event_time']}")
    return found


def check(bootstrap: str, prefix: str, environment: dict[str, str], folder: Path) -> None:
    detections, incidents = replayed()
    count = sum(map(len, detections.values()))
    with running({**environment, "ZHINAO_RULES": str(RULES), "ZHINAO_CLOCK": "stream"}, folder) as run:
        run.start_worker()
        sender = Sender(bootstrap, prefix)
        sender.city()
        expected = {Letter(place, str(case.reason), case.path) for case, place in sender.sent}
        assert len(expected) == len(planted()) + 1
        letters = read(bootstrap, prefix, "dead-letters", lambda found: len(found) >= len(expected), run)
        said = [json.loads(letter.value()) for letter in letters]
        found = [Letter((x["topic"], x["partition"], x["offset"]), x["reason"], x["path"]) for x in said]
        assert Counter(found) == Counter(expected)
        assert max(len(b64decode(x["body_b64"] or "")) for x in said) == 2 << 20
        told = read(bootstrap, prefix, "detections", lambda found: len(ours(found)) >= count, run)
        assert in_turn(ours(told)) == detections
        opened = read(bootstrap, prefix, "incidents", lambda found: incidents <= named(found), run)
        assert named(opened) == incidents
        assert run.worker is not None
        assert run.worker.poll() is None, run.log("worker")
        assert run.stop() == [0]


def ours(messages: list[Any]) -> list[bytes]:
    """What the Detectors wrote among what was sent there."""
    return [m.value() for m in messages if b"detector/" in dict(m.headers() or []).get("ce_source", b"")]


def named(messages: list[Any]) -> set[str]:
    return {json.loads(m.value())["incident_id"] for m in messages}


@pytest.mark.slow
def test_on_a_real_kafka(kafka: KafkaBroker, unique_prefix: str, tmp_path: Path) -> None:
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": unique_prefix,
        "ZHINAO_GROUP": unique_prefix,
    }
    with running(environment, tmp_path) as run:
        assert run.start("topics", "create", name="topics").wait(60) == 0, run.log("topics")
    check(kafka.bootstrap, unique_prefix, environment, tmp_path)


@pytest.mark.slow
def test_on_the_embedded_broker(tmp_path: Path) -> None:
    with EmbeddedBroker(all_full_names("zhinao")) as broker:
        environment = {
            "ZHINAO_EMBEDDED_BROKER": broker.address,
            "ZHINAO_TOPIC_PREFIX": "zhinao",
            "ZHINAO_STATE_DIR": str(tmp_path / "state"),
        }
        check(broker.address, "zhinao", environment, tmp_path)
