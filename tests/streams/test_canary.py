"""Canaries: they go the whole way and leave nothing behind, and one that stays away is missed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from kafka import KafkaConsumer, TopicPartition

from streams.canary import (
    DELAY_S,
    METRIC,
    RULE,
    Canary,
    CanarySender,
    CanaryWatch,
    area_of,
    canary,
    device_of,
    wanted,
    with_canaries,
)
from streams.city import City, build_city
from streams.clock import ManualClock
from streams.producer import SendError
from streams.publisher import Publisher
from streams.publishing import Message, detection_messages
from streams.settings import Settings
from streams.topics import create, full_name, partition_for
from streams.transport import Record
from tests.kafka.broker import KafkaBroker
from tests.streams.counting import counting

PARTITIONS = 4
NOW_US = 1_772_406_600_123_000


class Sent(Publisher):
    """Takes messages, or fails."""

    def __init__(self, *, failing: bool = False) -> None:
        self.messages: list[Message] = []
        self.failing = failing

    async def send(self, messages: Sequence[Message], *, epoch: int | None = None, seq: int | None = None) -> None:
        if self.failing:
            raise SendError("zhinao.sensor.readings.v1: no")
        self.messages += messages


@pytest.fixture(scope="module")
def city() -> City:
    return build_city(Settings.read(KAFKA_URL="kafka://none:1"))


def sent(clock: ManualClock, partition: int = 2) -> Record:
    """The record that is sent into a partition."""
    publisher = Sent()
    asyncio.run(CanarySender(publisher, clock, PARTITIONS).send([partition]))
    (message,) = publisher.messages
    assert (message.topic, message.partition) == ("sensor.readings", partition)
    return Record(7, clock.us // 1000, message.key.encode(), message.value, (("ce_id", message.id.encode()),))


def told(city: City, clock: ManualClock, partition: int = 2) -> list[Record]:
    """What the Detector of a partition makes of it, as the Desk reads it."""
    detector = with_canaries(city, PARTITIONS).detector(partition)
    outcome = detector.feed("sensor.readings", [sent(clock, partition)])
    assert (outcome.used, outcome.dead, outcome.late) == (1, [], [])
    messages = detection_messages(outcome.detections, city.centre, partition)
    return [Record(n, 0, m.key.encode(), m.value, ()) for n, m in enumerate(messages)]


def test_each_is_keyed_for_its_partition() -> None:
    for partition in range(PARTITIONS):
        assert partition_for(area_of(partition, PARTITIONS).encode(), PARTITIONS) == partition
        assert sent(ManualClock(NOW_US), partition).key == area_of(partition, PARTITIONS).encode()


def test_a_reading_has_a_running_number_and_the_time_it_was_sent() -> None:
    clock, publisher = ManualClock(NOW_US), Sent()
    sender = CanarySender(publisher, clock, PARTITIONS)
    asyncio.run(sender.send([1, 3]))
    clock.advance(60)
    asyncio.run(sender.send([3]))
    values = [orjson.loads(message.value) for message in publisher.messages]
    assert [(v["device_id"], v["value"]) for v in values] == [(device_of(1), 1), (device_of(3), 1), (device_of(3), 2)]
    assert [v["metric"] for v in values] == [METRIC] * 3
    assert [v["reading_time"] for v in values] == [NOW_US // 1000] * 2 + [NOW_US // 1000 + 60_000]


def test_a_broker_that_does_not_take_it_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(CanarySender(Sent(failing=True), ManualClock(NOW_US), PARTITIONS).send([0]))
    assert "no canary was sent" in caplog.text


def test_a_detector_raises_it_once_and_it_is_known_as_one(city: City) -> None:
    (record,) = told(city, ManualClock(NOW_US))
    assert orjson.loads(record.value or b"")["rule"] == RULE
    assert canary(record) == Canary(2, NOW_US)


def test_a_doubled_reading_raises_nothing_more(city: City) -> None:
    detector, reading = with_canaries(city, PARTITIONS).detector(2), sent(ManualClock(NOW_US))
    outcome = detector.feed("sensor.readings", [reading, reading._replace(offset=8)])
    assert (len(outcome.detections), outcome.duplicate) == (1, 1)


def test_a_desk_that_is_handed_one_makes_nothing_of_it(city: City) -> None:
    outcome = city.desk().feed("detections", told(city, ManualClock(NOW_US)))
    assert (outcome.outputs, outcome.counts["filtered"]) == ([], 1)


def test_only_the_workers_city_has_them(city: City) -> None:
    own = with_canaries(city, PARTITIONS)
    assert own.atlas.registry is not None
    assert city.atlas.registry is not None
    assert [r.id for r in own.bundle.rules if r not in city.bundle.rules] == [RULE]
    assert own.atlas.registry.devices.keys() - city.atlas.registry.devices.keys() == {
        device_of(p) for p in range(PARTITIONS)
    }
    believing = replace(city, atlas=replace(city.atlas, registry=None))
    assert with_canaries(believing, PARTITIONS).atlas.registry is None


@pytest.mark.parametrize(
    ("clock", "every_s", "expected"), [("wall", 60, True), ("wall", 0, False), ("stream", 60, False)]
)
def test_none_under_the_stream_clock_or_when_switched_off(clock: str, every_s: float, expected: bool) -> None:
    settings = Settings.read(KAFKA_URL="kafka://none:1", ZHINAO_CLOCK=clock, ZHINAO_CANARY_S=every_s)
    assert wanted(settings) is expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"{",
        b'{"rule": "illegal-parking", "note": "zhinao-canary"}',
        b'{"rule": "other", "key": {"device_id": "zhinao-canary"}, "event_time": "", "x": "zhinao-canary"}',
        b'{"rule": "zhinao-canary", "key": {}, "event_time": "2026-03-02T07:10:00+08:00"}',
        b'{"rule": "zhinao-canary", "key": {"device_id": "w-1"}, "event_time": "2026-03-02T07:10:00+08:00"}',
        b'{"rule": "zhinao-canary", "key": {"device_id": "zhinao-canary-1"}, "event_time": "noon"}',
        b'\xff{"rule": "zhinao-canary"}',
    ],
)
def test_what_is_none_goes_to_the_desk(value: bytes | None) -> None:
    assert canary(Record(0, 0, b"pinghu", value, ())) is None


# measuring


def test_the_delay_is_measured_and_put_in_its_bucket() -> None:
    clock, heard = ManualClock(NOW_US), list[tuple[int, float]]()
    watch = CanaryWatch(clock, PARTITIONS)
    watch.on_delay = lambda partition, delay_s: heard.append((partition, delay_s))
    watch.begin()
    for delay_s in (0.05, 0.3, 400.0):
        sent_us = clock.us
        clock.advance(delay_s)
        watch.back([Canary(1, sent_us)])
    assert heard == [(1, 0.05), (1, 0.3), (1, 400.0)]
    delays = watch.delays[1]
    assert (delays.count, delays.newest_s) == (3, 400.0)
    assert math.isclose(delays.total_s, 400.35)
    expected = [0] * (len(DELAY_S) + 1)
    for at in (0, DELAY_S.index(0.5), len(DELAY_S)):
        expected[at] += 1
    assert delays.buckets == expected


def test_one_that_comes_twice_or_after_a_later_one_counts_once() -> None:
    clock = ManualClock(NOW_US)
    watch = CanaryWatch(clock, PARTITIONS)
    for sent_us in (NOW_US - 10, NOW_US - 10, NOW_US - 5, NOW_US - 10):
        watch.back([Canary(0, sent_us)])
    assert watch.delays[0].count == 2


def test_what_stays_away_is_missing_from_when_the_desk_is_ours() -> None:
    clock = ManualClock(NOW_US)
    watch = CanaryWatch(clock, 2)
    assert watch.missing_s() == {}
    watch.begin()
    clock.advance(30)
    watch.back([Canary(1, clock.us)])
    clock.advance(5)
    assert watch.missing_s() == {0: 35, 1: 5}
    watch.end()
    assert watch.missing_s() == {}


def test_one_of_a_partition_that_is_not_there_is_passed_over() -> None:
    watch = CanaryWatch(ManualClock(NOW_US), 2)
    watch.back([Canary(2, NOW_US), Canary(-1, NOW_US)])
    assert watch.delays == {}


# with a broker


def values(kafka: KafkaBroker, topic: str) -> list[bytes]:
    """All that a topic holds."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        tps = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(tps)
        ends, found = consumer.end_offsets(tps), list[bytes]()
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            found += [r.value for batch in consumer.poll(timeout_ms=500).values() for r in batch]
        return found
    finally:
        consumer.close()


def test_on_a_real_broker_they_come_back_leave_nothing_and_are_missed_when_the_desk_hears_nothing(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    create(kafka.bootstrap, prefix=unique_prefix, partitions=PARTITIONS)
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": unique_prefix,
        "ZHINAO_GROUP": unique_prefix,
        "ZHINAO_CANARY_S": "1",
        "ZHINAO_STORE_EVERY_S": "300",  # a save would trim the journal, which is to be read
    }
    with counting(environment, tmp_path, minute_s=2, pause_after=4) as worker:
        said = worker.until("four of each came back", lambda s: s.get("paused", False))
        assert set(said["canaries"]) == set(map(str, range(PARTITIONS)))
        assert all(0 < delay_s < 10 for delay_s in said["delays_s"].values())
        assert all(missing_s < 10 for missing_s in said["missing_s"].values())
        said = worker.until("they are missed", lambda s: min(s["missing_s"].values()) > 5)
        assert said["mismatches"] == {}
        assert said["records"]["detections canary"] >= 4 * PARTITIONS
        journal = values(kafka, full_name("desk.journal", unique_prefix))
        assert worker.stop() == 0
    assert all(RULE.encode() in value for value in values(kafka, full_name("detections", unique_prefix)))
    for topic in ("incidents", "incidents.state", "dispatch.orders", "notices", "late", "dead-letters"):
        assert values(kafka, full_name(topic, unique_prefix)) == []
    assert journal
    assert not any(RULE.encode() in step for step in journal)
