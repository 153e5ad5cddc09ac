"""From a refused record to its incident: a real worker, encrypted letters, and the commands as people type them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from models.ticks import TICK_HEADER
from streams.feeding import TICKED_TOPICS
from streams.letters import REPLAY_HEADER
from streams.topics import full_name, partition_for
from tests.conftest import REPOSITORY
from tests.e2e.city import Running, running
from tests.kafka.broker import KafkaBroker
from tests.poison.world import AREA, PARTITIONS, RULES, at_ms, body

KEY = "the operators' key of letters"
WITHIN_S = 60.0
SENSOR = "33048200001329999999"
"""In no registry."""
CUT = '{"event_id":"e-cut","sensor_id":"33048200001320000001","plate":"浙F12345","caller":"138000'.encode()


class Topics:
    """Sends and reads as others do."""

    def __init__(self, kafka: KafkaBroker, prefix: str) -> None:
        self.kafka, self.prefix = kafka, prefix
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0})

    def tick(self, second: int) -> None:
        for topic in TICKED_TOPICS:
            for partition in range(PARTITIONS):
                headers: Any = [(TICK_HEADER, b"%d" % at_ms(second))]
                self.producer.produce(full_name(topic, self.prefix), None, b"tick", partition, headers=headers)
        assert self.producer.flush(30) == 0

    def event(self, value: bytes, *, ce_id: str) -> None:
        topic, home = full_name("camera.events", self.prefix), partition_for(AREA, PARTITIONS)
        headers = [("ce_id", ce_id.encode()), ("ce_source", b"/gate/1")]
        self.producer.produce(topic, value, AREA, home, headers=headers)  # type: ignore[arg-type]
        assert self.producer.flush(30) == 0

    def read(self, topic: str, count: int) -> list[Any]:
        """All that a topic holds, clock records left out, as soon as that is so much or time is up."""
        deadline = time.monotonic() + WITHIN_S
        while len(found := self._held(topic)) < count and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def _held(self, topic: str) -> list[Any]:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "reader", "log_level": 0})
        partitions = [TopicPartition(full_name(topic, self.prefix), p, 0) for p in range(PARTITIONS)]
        found: list[Any] = []
        try:
            left = sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
            consumer.assign(partitions)
            while left:
                message = consumer.poll(10)
                assert message is not None
                left -= message.error() is None
                found += [message] if message.value() is not None else []
        finally:
            consumer.close()
        return found


def zhinao(run: Running, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[bytes]:
    environment = dict(run.environment)
    environment.pop("ZHINAO_DEAD_LETTER_KEY")
    if key is not None:
        environment["ZHINAO_DEAD_LETTER_KEY"] = key
    command = [sys.executable, "-m", "app", "dead-letters", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=False)


def seen(second: int) -> bytes:
    """What an unregistered camera saw."""
    return json.dumps({**body("camera.events", second), "sensor_id": SENSOR}).encode()


@pytest.mark.slow
def test_a_refused_record_is_listed_shown_and_after_the_cause_is_mended_becomes_its_incident(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": unique_prefix,
        "ZHINAO_GROUP": unique_prefix,
        "ZHINAO_CLOCK": "stream",
        "ZHINAO_RULES": str(RULES),
        "ZHINAO_TOKEN_KEY": "a token key that nobody knows",
        "ZHINAO_DEAD_LETTER_KEY": KEY,
    }
    topics = Topics(kafka, unique_prefix)
    with running(environment, tmp_path) as run:
        assert run.start("topics", "create", name="topics").wait(60) == 0, run.log("topics")
        run.start_worker()
        topics.tick(0)
        for second in range(1, 4):
            topics.event(seen(second), ce_id=f"e-{second}")
        topics.event(CUT, ce_id="e-cut")
        letters = [json.loads(m.value()) for m in topics.read("dead-letters", 4)]
        assert [x["reason"] for x in letters] == ["unregistered_sensor"] * 3 + ["not_json"], run.log("worker")
        check_listed(run)
        check_shown(run, letters)
        check_nothing_is_sent_unasked(run, topics)
        check_replayed(run, topics)


def check_listed(run: Running) -> None:
    listed = zhinao(run, "list")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.decode().splitlines()
    assert sum("unregistered_sensor" in line and "camera.events/" in line for line in lines) == 3
    assert "共 4 封 / 4 dead letters" in lines[-1]
    said = json.loads(zhinao(run, "list", "--json", "--reason", "not_json", "--since", "1h").stdout)
    assert [x["reason"] for x in said["letters"]] == ["not_json"]
    assert said["sums"] == [{"topic": "camera.events", "reason": "not_json", "count": 1}]
    assert json.loads(zhinao(run, "list", "--json", "--until", "1h").stdout)["letters"] == []
    newest = json.loads(zhinao(run, "list", "--json", "--limit", "1").stdout)
    assert [x["reason"] for x in newest["letters"]] == ["not_json"]
    assert sum(x["count"] for x in newest["sums"]) == 4


def check_shown(run: Running, letters: list[dict[str, Any]]) -> None:
    whole, cut = (f"{x['topic']}/{x['partition']}/{x['offset']}" for x in (letters[0], letters[3]))
    shown = zhinao(run, "show", whole)
    assert (shown.returncode, shown.stderr) == (0, b"")
    for part in ("传感器未登记", "A sensor that is not registered", f'"sensor_id": "{SENSOR}"', "key: danghu", "e-1"):
        assert part in shown.stdout.decode()
    masked = zhinao(run, "show", f"x-{cut}").stdout.decode()
    assert "浙F·**345" in masked
    assert "F12345" not in masked
    assert zhinao(run, "show", cut, "--body").stdout == CUT
    for key, said in (("another key than theirs", "not sealed with this key"), (None, "no key is set")):
        wrong = zhinao(run, "show", whole, key=key)
        assert (wrong.returncode, said in wrong.stdout.decode()) == (1, True)
        raw = zhinao(run, "show", whole, "--body", key=key)
        assert (raw.returncode, raw.stdout, said in raw.stderr.decode()) == (2, b"", True)
    assert zhinao(run, "show", "camera.events/0/999999").returncode == 1


def check_nothing_is_sent_unasked(run: Running, topics: Topics) -> None:
    planned = zhinao(run, "replay", "--dry-run")
    assert f"4 → {full_name('camera.events', topics.prefix)}" in planned.stdout.decode(), planned.stderr
    assert zhinao(run, "replay").returncode == 130  # nobody to answer
    sealed = zhinao(run, "replay", "--yes", key="another key than theirs")
    assert (sealed.returncode, "4  ZHINAO_DEAD_LETTER_KEY 不对" in sealed.stdout.decode()) == (1, True)
    assert len(inputs(topics, 4)) == 4


def check_replayed(run: Running, topics: Topics) -> None:
    assert run.worker is not None
    run.worker.terminate()
    assert run.worker.wait(30) == 0
    run.environment["ZHINAO_UNREGISTERED"] = "accept"
    run.start_worker()
    sent = zhinao(run, "replay", "--yes")
    assert sent.returncode == 0, sent.stderr
    assert f"已发 / sent: 4 → {full_name('camera.events', topics.prefix)}" in sent.stdout.decode()
    again = inputs(topics, 8)
    assert [(m.key(), m.value()) for m in again[4:]] == [(m.key(), m.value()) for m in again[:4]]
    assert dict(again[4].headers())["ce_id"] == b"e-1"
    *_, first, refused = (json.loads(m.value()) for m in topics.read("dead-letters", 5))
    assert refused["reason"] == "not_json"
    assert refused["headers"][REPLAY_HEADER] == f"x-camera.events/{first['partition']}/{first['offset']}"
    once_more = zhinao(run, "replay", "--yes", "--reason", "unregistered_sensor")
    assert "3  已重发过 / sent again before" in once_more.stdout.decode()
    assert len(inputs(topics, 8)) == 8
    for second in range(4, 70):
        topics.tick(second)
    said = [json.loads(m.value()) for m in topics.read("incidents", 1)]
    assert {(x["rule"], x["opened_at"]) for x in said} == {("cover-gone", "2026-03-02T07:10:02.000+08:00")}
    assert len({x["incident_id"] for x in said}) == 1


def inputs(topics: Topics, count: int) -> list[Any]:
    return topics.read("camera.events", count)
