"""F19, F20: ten thousand ordinary detections stand before the Desk, and somebody calls for help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from models.ids import content_id
from models.streams import URGENT_DETECTIONS
from models.times import format_time, zone_info
from streams.publishing import CENTRE_PARTITION
from streams.topics import full_name, partition_for
from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed
from tests.reliability.load import CENTRE, METRE_LAT, METRE_LON, devices, dump
from tests.reliability.replaying import PARTITIONS

BURST = 10_000
WITHIN_S = 120.0
URGENT_WITHIN_S = 10.0
"""On a machine that does other things too; what is ours is a chunk of the others and a step of the Desk."""
LON, LAT = 120.99, 30.66
Note = Callable[[str, object], None]


def raised(rule: str, kind: str, device: str, number: int, at_us: int) -> dict[str, Any]:
    """A detection as a Detector publishes it, at a place of its own."""
    at = format_time(at_us, zone_info("Asia/Shanghai"))
    return {
        "detection_id": content_id("d", rule, device, at_us),
        "kind": "raised", "stage": None, "rule": rule, "rule_revision": 1, "type": kind, "severity": "major",
        "key": {"device_id": device}, "zone": None, "area": "danghu",
        "lon": LON + number % 100 * 10 * METRE_LON, "lat": LAT + number // 100 * 10 * METRE_LAT, "error_m": 1.0,
        "suspected": False, "event_time": at, "opened_event_time": at, "value": 22.0, "unit": "cm", "held_s": 0.0,
        "coverage": 1.0, "sources": ["sensor.readings"],
        "evidence": [{"topic": "sensor.readings", "partition": 0, "offset": number}], "attributes": {},
    }  # fmt: skip


class Sender:
    def __init__(self, bed: Bed) -> None:
        self.prefix, self.producer = bed.prefix, Producer({"bootstrap.servers": bed.bootstrap, "linger.ms": 5})

    def send(self, topic: str, partition: int, key: str, body: dict[str, Any]) -> None:
        self.producer.produce(full_name(topic, self.prefix), dump(body), key.encode(), partition)

    def burst(self) -> None:
        now_us = time.time_ns() // 1000
        for number in range(BURST):
            detection = raised("flooded", "0406", f"many-{number}", number, now_us - BURST + number)
            self.send("detections", CENTRE_PARTITION, CENTRE, detection)
        assert self.producer.flush(30) == 0

    def call(self, device: str, area: str) -> float:
        """A call for help, through the sensor's own topic; when it was made, in seconds of the wall clock."""
        made_s = time.time()
        body = {"device_id": device, "metric": "sos", "value": True, "reading_time": int(made_s * 1000)}
        self.send("sensor.readings", partition_for(area.encode(), PARTITIONS), area, body)
        assert self.producer.flush(30) == 0
        return made_s

    def told(self, topic: str) -> float:
        """The same as a detection put on a topic, behind whatever stands there."""
        made_s = time.time()
        self.send(topic, CENTRE_PARTITION, CENTRE, raised("sos", "X2103", f"sos-{topic}", 0, int(made_s * 1e6)))
        assert self.producer.flush(30) == 0
        return made_s


def opened(bed: Bed) -> Iterator[tuple[str, float]]:
    """(rule, seconds of the wall clock) of each incident as it is opened, as they come."""
    reader = Consumer({"bootstrap.servers": bed.bootstrap, "group.id": "reader", "enable.auto.commit": False})
    name = full_name("incidents", bed.prefix)
    reader.assign([TopicPartition(name, partition, 0) for partition in range(PARTITIONS)])
    try:
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for message in reader.consume(1000, timeout=0.2):
                body = orjson.loads(message.value() or b"{}")
                if body["revision"] == 1:
                    yield body["rule"], message.timestamp()[1] / 1000
    finally:
        reader.close()


def until_help(bed: Bed) -> tuple[float, int]:
    """When the incident of the call came, and how many of the burst's were opened before it."""
    before = 0
    for rule, at_s in opened(bed):
        if rule == "sos":
            return at_s, before
        before += 1
    raise AssertionError(f"no incident of the call after {WITHIN_S:g} s and {before} others")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["its own sensor", URGENT_DETECTIONS, "detections"])
@pytest.mark.alone
def test_a_call_for_help_does_not_wait_behind_ten_thousand_others(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, record_property: Note, way: str
) -> None:
    device, area = next(iter(devices("sos").items()))
    with Bed(kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_CLOCK="wall") as bed:
        bed.start_worker("one")
        sender = Sender(bed)
        sender.burst()
        made_s = sender.call(device, area) if way == "its own sensor" else sender.told(way)
        at_s, before = until_help(bed)
        record_property("seconds", round(at_s - made_s, 2))
        record_property("of the burst before it", before)
        assert bed.workers["one"].alive()
    if way == "detections":  # what it would be without a lane of its own
        assert before > 0.9 * BURST, "the topic is read partition by partition, so not quite all"
    else:
        assert at_s - made_s < URGENT_WITHIN_S
        assert before < BURST / 2
