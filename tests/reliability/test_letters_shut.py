"""F16, F19: the topic of dead letters takes nothing for a while. One partition waits, others go on, none is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from kafka.admin import ConfigResource, KafkaAdminClient

from models.streams import DETECTOR_TOPICS
from streams.topics import TOPICS, full_name, partition_for
from tests.kafka.broker import KafkaBroker
from tests.ports import free_ports
from tests.reliability.asking import WITHIN_S, health, until
from tests.reliability.bed import Bed
from tests.reliability.equations import busiest, findings, outcome
from tests.reliability.load import Load, Stamped
from tests.reliability.outputs import TP
from tests.reliability.replaying import PARTITIONS, as_run, replayed

HELD_TOPIC, HELD_AREA = "camera.tracks", "danghu"
HELD: TP = (HELD_TOPIC, partition_for(HELD_AREA.encode(), PARTITIONS))
FILLED, FILLED_BYTES = 30_000, 4_000
GROWS_AT_MOST_MB = 80.0
"""What is fetched ahead of a partition on hold: the broker is asked for some megabytes at once, and a few of these."""
IN_FLIGHT_MS = 5000
Note = Callable[[str, object], None]


def takes_letters(kafka: KafkaBroker, prefix: str, takes: bool) -> None:
    """Whether anything fits the topic. (Kafka asks one copy for no second one in sync, whatever it is told.)"""
    limit = str(TOPICS["dead-letters"].max_message_bytes if takes else 1)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        name = full_name("dead-letters", prefix)
        admin.alter_configs([ConfigResource("topic", name, configs={"max.message.bytes": limit})])
    finally:
        admin.close()


def with_one_letter(load: Load) -> tuple[Load, Stamped]:
    """The load, with a broken record early on the partition to be held."""
    first = next(r for r in load.records if r.topic == HELD_TOPIC and r.key == HELD_AREA.encode())
    broken = first._replace(at_ms=first.at_ms + 2000, value=b"{broken", seq=10**6, fate="dead:not_json")
    load.records.append(broken)
    load.records.sort()
    return load, broken


def fill(kafka: KafkaBroker, prefix: str, again: Stamped) -> None:
    """Many megabytes more on the held partition: one frame that is there already, with something long beside it."""
    value = json.dumps({**json.loads(again.value or b""), "beside": "x" * FILLED_BYTES}).encode()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": "lz4", "linger.ms": 20})
    for _ in range(FILLED):
        producer.produce(full_name(HELD_TOPIC, prefix), value, again.key, HELD[1])
        producer.poll(0)
    assert producer.flush(WITHIN_S) == 0


@pytest.mark.slow
def test_while_letters_cannot_be_sent_their_partition_waits_and_afterwards_nothing_is_lost(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, record_property: Note
) -> None:
    load, _ = with_one_letter(Load(71, seconds=40, poison=0.0, late=0.0))
    (port,) = free_ports(1)
    again = next(r for r in load.records if r.topic == HELD_TOPIC and r.key == HELD_AREA.encode() and r.fate == "used")
    with Bed(kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_HTTP=str(port)) as bed:
        takes_letters(kafka, unique_prefix, False)
        worker = bed.start_worker("one")
        with bed.feeding(load, speed=15):
            pass
        others = [(t, p) for t in DETECTOR_TOPICS for p in range(PARTITIONS) if (t, p) != HELD]

        def others_are_done() -> bool:
            committed, ends = bed.positions()
            return all(committed[tp] == ends[tp] for tp in others)

        until(others_are_done, "the other partitions go on")
        until(lambda: health(port)["facts"]["on_hold"] == 1, "one partition is on hold")
        before, end = (of[HELD] for of in bed.positions())
        assert before < end
        rss_mb = worker.rss_mb()
        fill(kafka, unique_prefix, again)
        time.sleep(5)
        committed, ends = bed.positions()
        record_property("grew by (MB)", round(worker.rss_mb() - rss_mb, 1))
        record_property("held back (MB)", round(FILLED * FILLED_BYTES / 1e6))
        assert (committed[HELD], ends[HELD]) == (before, end + FILLED)
        assert worker.rss_mb() - rss_mb < GROWS_AT_MOST_MB
        worker.kill()
        bed.forget_dead()
        bed.start_worker("two")
        until(lambda: health(port)["facts"]["on_hold"] == 1, "the next worker waits as well")
        assert bed.positions()[0][HELD] == before
        assert bed.read().of("dead-letters") == []
        takes_letters(kafka, unique_prefix, True)
        bed.settle()
        until(lambda: health(port)["facts"]["on_hold"] == 0, "nothing waits any more")
        assert bed.stop() == {"two": 0}
        run = bed.read()
    assert [letter.body["reason"] for letter in run.of("dead-letters")] == ["not_json"]
    assert findings(run, load, raw_at_most=busiest(run, IN_FLIGHT_MS)) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))
