"""The example consumers against a real Kafka: told everything twice and by a Desk that is no more, each prints the same
changes once.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterable
from time import monotonic
from typing import Any, NamedTuple

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.contracts.conftest import Replayed
from tests.contracts.consumers import CONSUMERS, printed
from tests.kafka.broker import KafkaBroker

pytestmark = pytest.mark.kafka  # by hand: a tool that is missing is to be named before a broker is started

PARTITIONS = 3
SILENCE_S = 3.0
ENOUGH = 7
Change = dict[str, Any]


class Told(NamedTuple):
    """A topic of incidents, and the lines that a reader should print."""

    servers: str
    topic: str
    lines: list[str]


def line(change: Change) -> str:
    shown = [change[name] for name in ("changed_at", "incident_id", "revision", "state", "reason")]
    return "\t".join(map(str, [*shown, change["message"]["zh"]]))


def undead(change: Change) -> Change:
    """What a Desk that has been replaced goes on to say: revisions that never were."""
    said = copy.deepcopy(change)
    said["revision"] += 1000
    said["reason"] = "acknowledged"
    return said


def send(kafka: KafkaBroker, topic: str, told: Iterable[tuple[Change, int]]) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    try:
        for seq, (change, epoch) in enumerate(told):
            headers = [("ce_id", b"i"), ("ce_epoch", b"%d" % epoch), ("ce_seq", b"%d" % seq)]
            value = json.dumps(change, ensure_ascii=False).encode()
            producer.send(topic, value=value, key=change["incident_id"].encode(), headers=headers)
        producer.flush()
    finally:
        producer.close()


@pytest.fixture(scope="module")
def told(kafka: KafkaBroker, replayed: Replayed) -> Told:
    """Half of the changes, twice; all of them by the next Desk; the old one's words among them; some once more."""
    topic = "consumers.incidents.v1"
    kafka.create_topics(topic, partitions=PARTITIONS)
    changes = replayed.told["incidents"]
    half = changes[: len(changes) // 2]
    first = [(change, 4) for change in half]
    again = [(change, 5) for change in changes]
    old = [(undead(change), 4) for change in changes]
    send(kafka, topic, [*first, *first, *again, *old, *again[-20:], *first])
    return Told(kafka.bootstrap, topic, [line(change) for change in changes])


def test_a_reader_without_the_two_rules_would_print_more(told: Told) -> None:
    """Every partition holds repeats and words of the old Desk: whoever forgets a rule cannot pass the tests below."""
    consumer = KafkaConsumer(bootstrap_servers=told.servers, consumer_timeout_ms=int(SILENCE_S * 1000))
    try:
        consumer.assign([TopicPartition(told.topic, number) for number in range(PARTITIONS)])
        consumer.seek_to_beginning()
        records = [(record.partition, json.loads(record.value)) for record in consumer]
    finally:
        consumer.close()
    for partition in range(PARTITIONS):
        lines = [line(change) for at, change in records if at == partition]
        assert len(lines) > len(set(lines))
        assert set(lines) - set(told.lines)
    assert set(told.lines) < {line(change) for _, change in records}


@pytest.mark.parametrize("name", CONSUMERS)
def test_each_change_is_printed_once(name: str, request: pytest.FixtureRequest) -> None:
    command = CONSUMERS[name]()
    told: Told = request.getfixturevalue("told")
    said = printed(command(told.servers, told.topic, SILENCE_S, 0))
    assert sorted(said) == sorted(told.lines)
    assert by_incident(said) == by_incident(told.lines)


def by_incident(lines: Iterable[str]) -> dict[str, list[str]]:
    """In the order of their printing."""
    found = defaultdict[str, list[str]](list)
    for each in lines:
        found[each.split("\t")[1]].append(each)
    return found


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_count_ends_it(name: str, request: pytest.FixtureRequest) -> None:
    command = CONSUMERS[name]()
    told: Told = request.getfixturevalue("told")
    begun = monotonic()
    said = printed(command(told.servers, told.topic, 50.0, ENOUGH))
    assert monotonic() - begun < 45
    assert len(said) == ENOUGH
    assert set(said) < set(told.lines)
