"""F40: what operators get wrong. The worker ends with the cause and what to do, or says aloud what is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from models.faults import MAX_BYTES
from streams.settings import ROOT
from streams.topics import full_name
from tests.kafka.broker import KafkaBroker
from tests.ports import free_ports
from tests.processes import tail
from tests.reliability.asking import scraped, until
from tests.reliability.bed import READY_WITHIN_S, Bed
from tests.reliability.load import Load
from tests.reliability.replaying import PARTITIONS

SHORT = Load(81, seconds=10, tickets=0)


@pytest.fixture
def bed(kafka: KafkaBroker, unique_prefix: str, tmp_path: Path) -> Iterator[Bed]:
    with Bed(kafka.bootstrap, unique_prefix, tmp_path) as made:
        yield made


def ask(bed: Bed, what: str, *given: Any) -> None:
    """Have the broker's administrator do something, and wait until it is done."""
    admin: Any = AdminClient({"bootstrap.servers": bed.bootstrap})
    for result in getattr(admin, what)(*given).values():
        result.result(30)


def exists(bed: Bed, name: str) -> bool:
    admin: Any = AdminClient({"bootstrap.servers": bed.bootstrap})
    return name in admin.list_topics(timeout=10).topics


def last_words(bed: Bed, name: str = "late") -> str:
    """Start a worker that ends with 1 by itself; what it wrote."""
    worker = bed.start_worker(name, wait=False)
    assert worker.wait_death(READY_WITHIN_S) == 1, tail(worker.log, 20)
    return worker.words()


def topics_check(bed: Bed) -> tuple[int, str]:
    command = [sys.executable, "-m", "app", "topics", "check"]
    ended = subprocess.run(command, cwd=ROOT, env=bed.environment, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def gone(bed: Bed, topic: str) -> None:
    """Delete a topic, and wait until the broker knows."""
    name = full_name(topic, bed.prefix)
    ask(bed, "delete_topics", [name])
    until(lambda: not exists(bed, name), f"{name} is deleted")


@pytest.mark.slow
def test_a_missing_topic_is_named_with_the_command_that_makes_it(bed: Bed) -> None:
    gone(bed, "sensor.readings")
    name = full_name("sensor.readings", bed.prefix)
    words = last_words(bed)
    assert f"missing topics: {name}" in words
    assert "zhinao topics create" in words
    code, said = topics_check(bed)
    assert code == 1
    assert f"{name} does not exist" in said
    assert "run: zhinao topics create" in said


@pytest.mark.slow
def test_a_topic_with_another_count_of_partitions_ends_the_worker(bed: Bed) -> None:
    name = full_name("camera.events", bed.prefix)
    ask(bed, "create_partitions", [NewPartitions(name, PARTITIONS + 2)])
    words = last_words(bed)
    assert "equal partition counts" in words
    assert name in words
    code, said = topics_check(bed)
    assert code == 1
    assert f"{name} has {PARTITIONS + 2} partitions, {PARTITIONS} are expected" in said


@pytest.mark.slow
def test_state_of_another_cluster_is_refused_and_not_reset_in_silence(bed: Bed) -> None:
    """As after an input was made anew: the state goes on behind its end."""
    bed.start_worker("one")
    with bed.feeding(SHORT, speed=15):
        pass
    bed.settle()
    assert bed.stop() == {"one": 0}
    gone(bed, "sensor.readings")
    ended = subprocess.run(
        [sys.executable, "-m", "app", "topics", "create"],
        cwd=ROOT,
        env=bed.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    words = last_words(bed)
    assert "is beyond its end 0" in words
    assert "use a new group and an empty store" in words


@pytest.mark.slow
def test_records_that_were_deleted_before_they_were_read_are_counted_and_told(bed: Bed) -> None:
    (port,) = free_ports(1)
    bed.start_worker("one")
    with bed.feeding(SHORT, speed=15):
        pass
    bed.settle()
    assert bed.stop() == {"one": 0}
    with bed.feeding(SHORT, speed=0):
        pass
    committed, ends = bed.positions()
    at = max(((tp, ends[tp] - committed[tp]) for tp in ends if tp[0] == "camera.tracks"), key=lambda one: one[1])
    (topic, partition), unread = at
    keep = 5
    ask(bed, "delete_records", [TopicPartition(full_name(topic, bed.prefix), partition, ends[topic, partition] - keep)])
    worker = bed.start_worker("two", ZHINAO_HTTP=str(port))
    until(lambda: scraped(port, "zhinao_lost_records_total") == unread - keep, "the lost records are counted")
    assert "are gone from the broker" in worker.words()
    bed.settle()
    assert bed.stop() == {"two": 0}


@pytest.mark.slow
def test_a_message_above_the_limit_is_refused_at_the_edge(bed: Bed) -> None:
    """F18. The topic's limit is on what is sent, headers and all; what is compressed below it meets the worker's."""
    refused = dict[float, str]()
    producer = Producer({"bootstrap.servers": bed.bootstrap, "message.max.bytes": 4 * MAX_BYTES})
    for share in (0.9, 1.0, 1.1):

        def delivered(error: Any, _: Any, share: float = share) -> None:
            refused[share] = "" if error is None else error.name()

        producer.produce(full_name("camera.tracks", bed.prefix), b" " * int(share * MAX_BYTES), on_delivery=delivered)
    assert producer.flush(30) == 0
    assert refused == {0.9: "", 1.0: "MSG_SIZE_TOO_LARGE", 1.1: "MSG_SIZE_TOO_LARGE"}
