"""Names, keys and broker settings of all topics; creating and checking them."""

import random
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner as AiokafkaPartitioner
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from models.streams import DESK_TOPICS, DETECTOR_TOPICS, URGENT_DETECTIONS
from streams.broker import EmbeddedBroker
from streams.topics import (
    TOPICS,
    Fault,
    Role,
    all_full_names,
    by_role,
    check,
    create,
    full_name,
    judge,
    partition_for,
    short_name,
)  # fmt: skip


@given(st.binary(min_size=1, max_size=300), st.integers(1, 200))
def test_the_partition_is_the_one_both_python_clients_choose(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    assert partition_for(key, partitions) == AiokafkaPartitioner()(key, every, every)
    assert partition_for(key, partitions) == (kafka_python_murmur2(key) & 0x7FFFFFFF) % partitions


def test_the_partition_is_the_one_java_chooses() -> None:
    # From Kafka's UtilsTest.testMurmur2, made positive as its partitioner does.
    java = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, value in java.items():
        assert partition_for(key, 1 << 20) == (value & 0x7FFFFFFF) % (1 << 20)


def test_names_go_there_and_back() -> None:
    assert full_name("camera.tracks", "zhinao") == "zhinao.camera.tracks.v1"
    for name in TOPICS:
        assert short_name(full_name(name, "x"), "x") == name
    for foreign in ("zhinao.nothing.v1", "other.camera.tracks.v1", "zhinao.camera.tracks.v2"):
        with pytest.raises(ValueError, match="not one of our topics"):
            short_name(foreign, "zhinao")


def test_every_stream_has_its_topic_and_the_special_ones_are_special() -> None:
    assert tuple(spec.name for spec in by_role(Role.DETECTOR_INPUT)) == DETECTOR_TOPICS
    assert tuple(spec.name for spec in by_role(Role.DESK_INPUT)) == (*DESK_TOPICS, URGENT_DETECTIONS)
    compacted = {name for name, spec in TOPICS.items() if spec.compacted}
    assert compacted == {"incidents.state", "traffic.states", "traffic.forecasts", "state", "rules.bundle"}
    assert TOPICS["dead-letters"].max_message_bytes == 4 * 1024 * 1024
    assert TOPICS["desk.journal"].configs()["retention.ms"] == "-1"
    assert int(TOPICS["incidents"].configs()["retention.ms"]) >= 180 * 24 * 3600 * 1000


def fine() -> tuple[dict[str, int], dict[str, dict[str, str]]]:
    counts = {spec.full_name("p"): 4 for spec in TOPICS.values()}
    return counts, {spec.full_name("p"): spec.configs() for spec in TOPICS.values()}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert judge("p", 4, *fine()) == []


@pytest.mark.parametrize(
    ("name", "change", "fault", "severity"),
    [
        ("desk.journal", {"cleanup.policy": "compact"}, Fault.CLEANUP_POLICY, "error"),
        ("state", {"cleanup.policy": "delete"}, Fault.CLEANUP_POLICY, "error"),
        ("dead-letters", {"max.message.bytes": "1048588"}, Fault.MAX_MESSAGE_BYTES, "error"),
        ("desk.journal", {"retention.ms": "604800000"}, Fault.RETENTION, "error"),
        ("incidents", {"retention.ms": "604800000"}, Fault.RETENTION, "advice"),
    ],
)
def test_a_wrong_setting_is_one_finding(name: str, change: dict[str, str], fault: Fault, severity: str) -> None:
    counts, configs = fine()
    configs[full_name(name, "p")] |= change
    (finding,) = judge("p", 4, counts, configs)
    assert (finding.topic, finding.fault, finding.severity) == (full_name(name, "p"), fault, severity)
    assert next(iter(change)) in finding.hint


def test_missing_topics_and_wrong_counts_are_found() -> None:
    counts, configs = fine()
    del counts[full_name("commands", "p")]
    counts[full_name("camera.tracks", "p")] = 8
    found = {finding.topic: finding for finding in judge("p", 4, counts, configs)}
    assert found[full_name("commands", "p")].hint == "run: zhinao topics create"
    assert "has 8 partitions, 4 are expected" in found[full_name("camera.tracks", "p")].message
    assert len(found) == 2


def test_on_the_embedded_broker_creating_is_touching() -> None:
    with EmbeddedBroker() as broker:
        assert len(check(broker.address, "zhinao", 4, embedded=True)) == len(TOPICS)
        assert create(broker.address, "zhinao", 4, embedded=True) == all_full_names("zhinao")
        assert check(broker.address, "zhinao", 4, embedded=True) == []


@pytest.mark.kafka
def test_on_a_real_broker_they_are_made_as_they_must_be(kafka: Any, unique_prefix: str) -> None:
    prefix = f"{unique_prefix}topics"
    assert {finding.fault for finding in check(kafka.bootstrap, prefix, 3)} == {Fault.MISSING}
    kafka.create_topics(full_name("state", prefix), partitions=3, config={"cleanup.policy": "delete"})
    assert create(kafka.bootstrap, prefix, 3) == [n for n in all_full_names(prefix) if n != full_name("state", prefix)]
    assert create(kafka.bootstrap, prefix, 3) == []  # again is fine
    (finding,) = check(kafka.bootstrap, prefix, 3)
    assert (finding.topic, finding.fault) == (full_name("state", prefix), Fault.CLEANUP_POLICY)
    faults = [finding.fault for finding in check(kafka.bootstrap, prefix, 4)]
    assert faults.count(Fault.PARTITIONS) == len(TOPICS)


def test_keys_spread() -> None:
    chance = random.Random(1)
    hit = {partition_for(chance.randbytes(8), 16) for _ in range(1000)}
    assert hit == set(range(16))
