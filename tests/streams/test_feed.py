"""A recording fed to the embedded broker: order, partitions, times, and the clock's place among the records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaConsumer, TopicPartition

from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from streams.broker import EmbeddedBroker
from streams.commands.connection import API_VERSION
from streams.commands.group import zhinao
from streams.commands.reading import tick_ms
from streams.feeding import TICKED_TOPICS, Feeder, rounds, shifted
from streams.recording import RecordedLine, RecordingWriter, read_recording
from streams.topics import TOPICS, all_full_names, full_name, partition_for

START_MS = 1_772_406_600_300
AREAS = ("danghu", "wuyue", "guandimiao", "nanhetou", "sangang", "tiyu")
Read = dict[tuple[str, int], list[Any]]


def line(topic: str | None, key: str | None, at_ms: int, **value: object) -> RecordedLine:
    return RecordedLine(topic, None if key is None else key.encode(), at_ms, json.dumps(value).encode())


def a_recording() -> Iterator[RecordedLine]:
    """Eight seconds of six areas and of everything the Desk is told, and one line that is nobody's to feed."""
    for n in range(800):
        at_ms = START_MS + n * 10
        yield line(DETECTOR_TOPICS[n % 4], AREAS[n % 6], at_ms, n=n)
        if n % 50 == 0:
            yield line("vehicle.positions", "pinghu", at_ms, vehicle_id="120-03", time=at_ms - 300, n=n)
    yield line("hotline.tickets", "pinghu", START_MS + 8000, ticket_id="T1", n=800)
    yield line("incidents", "i-1", START_MS + 8000, incident_id="i-1")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(all_full_names("zhinao")) as running:
        yield running


@pytest.fixture(scope="module")
def fed(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> tuple[Read, dict[str, Any]]:
    """Everything on the broker after `zhinao feed`, and its summary."""
    recording = tmp_path_factory.mktemp("feed") / "small.jsonl.gz"
    with RecordingWriter(recording) as writer:
        for one in a_recording():
            writer.write(one)
    arguments = ["feed", str(recording), "--broker", broker.address, "--speed", "0", "--drain", "3s", "--json"]
    ended = CliRunner().invoke(zhinao, arguments, prog_name="zhinao")
    assert ended.exit_code == 0, ended.output
    return read_all(broker.address), json.loads(ended.stdout.splitlines()[-1])


def read_all(address: str) -> Read:
    consumer = KafkaConsumer(
        bootstrap_servers=address, api_version=API_VERSION, auto_offset_reset="earliest", group_id=None
    )
    partitions = {TopicPartition(full_name(name, "zhinao"), p): (name, p) for name in TOPICS for p in range(4)}
    consumer.assign(list(partitions))
    expected = sum(consumer.end_offsets(list(partitions)).values())
    found: Read = defaultdict(list)
    while sum(map(len, found.values())) < expected:
        for partition, records in consumer.poll(timeout_ms=500).items():
            found[partitions[partition]] += records
    consumer.close()
    return found


def test_the_summary_counts_what_was_fed_and_what_was_not(fed: tuple[Read, dict[str, Any]]) -> None:
    _, summary = fed
    assert summary["done"] is True
    assert summary["records"] == 800 + 16 + 1
    assert summary["by_topic"]["camera.tracks"] == 200
    assert summary["not_fed"] == {"incidents": 1}


def test_each_partition_has_the_order_of_the_recording(fed: tuple[Read, dict[str, Any]]) -> None:
    everything, _ = fed
    for records in everything.values():
        numbers = [json.loads(r.value)["n"] for r in records if r.value is not None]
        assert numbers == sorted(numbers)


def test_areas_go_where_murmur2_puts_them_and_the_desks_topics_to_its_partition(
    fed: tuple[Read, dict[str, Any]],
) -> None:
    everything, _ = fed
    for (topic, partition), records in everything.items():
        for r in records:
            if r.value is not None:
                assert partition == (0 if topic in DESK_TOPICS else partition_for(r.key, 4))
    assert len({partition for topic, partition in everything if topic in DETECTOR_TOPICS}) > 1


def test_every_input_partition_has_a_tick_for_every_second_but_detections_has_none(
    fed: tuple[Read, dict[str, Any]],
) -> None:
    everything, summary = fed
    first = START_MS // 1000 * 1000
    seconds = [first + n * 1000 for n in range(12)]  # from the first record's second to three after the last
    assert summary["ticks"] == 12
    for topic in TICKED_TOPICS:
        for partition in range(4):
            ticks = [tick_ms(r) for r in everything[topic, partition]]
            assert [at for at in ticks if at is not None] == seconds, (topic, partition)
    assert set(TICKED_TOPICS) == {*DETECTOR_TOPICS, *DESK_TOPICS} - {"detections"}
    assert not [key for key in everything if key[0] in ("detections", "incidents")]


def test_a_tick_stands_before_the_records_of_its_second(fed: tuple[Read, dict[str, Any]]) -> None:
    everything, _ = fed
    for records in everything.values():
        clock_ms = 0
        for r in records:
            at_ms = tick_ms(r)
            if at_ms is not None:
                clock_ms = at_ms
            else:
                assert clock_ms <= r.timestamp < clock_ms + 1000


def test_records_bear_the_arrival_time_of_the_recording(fed: tuple[Read, dict[str, Any]]) -> None:
    everything, _ = fed
    tickets = [r for r in everything["hotline.tickets", 0] if r.value is not None]
    assert [(r.timestamp, r.key) for r in tickets] == [(START_MS + 8000, b"pinghu")]


def test_what_was_fed_is_recorded_again_byte_for_byte(
    fed: tuple[Read, dict[str, Any]], broker: EmbeddedBroker, tmp_path: Path
) -> None:
    out = tmp_path / "again.jsonl.zst"
    arguments = ["record", "hotline.tickets", "zhinao.vehicle.positions.v1", "--broker", broker.address]
    ended = CliRunner().invoke(
        zhinao, [*arguments, "--out", str(out), "--from-start", "--for", "2s"], prog_name="zhinao"
    )
    assert ended.exit_code == 0, ended.output
    again = [(one.topic, one.key, one.timestamp_ms, one.value) for one in read_recording(out)]
    sent = [one for one in a_recording() if one.topic in ("hotline.tickets", "vehicle.positions")]
    compact = [(one.topic, one.key, one.timestamp_ms, one.value.replace(b" ", b"")) for one in sent if one.value]
    assert [(t, k, at, v.replace(b" ", b"") if v else v) for t, k, at, v in again] == compact


def test_tail_ends_after_as_many_records_as_asked(fed: tuple[Read, dict[str, Any]], broker: EmbeddedBroker) -> None:
    arguments = ["tail", "vehicle.positions", "--broker", broker.address, "--from-start", "-n", "3", "--json"]
    ended = CliRunner().invoke(zhinao, arguments, prog_name="zhinao")
    assert ended.exit_code == 0, ended.output
    assert [json.loads(value)["n"] for value in ended.stdout.splitlines()] == [0, 50, 100]


def test_topics_that_are_not_there_are_named(broker: EmbeddedBroker) -> None:
    environment = {"ZHINAO_TOPIC_PREFIX": "elsewhere"}
    ended = CliRunner(env=environment).invoke(zhinao, ["tail", "late", "--broker", broker.address], prog_name="zhinao")
    assert ended.exit_code == 2
    assert ended.stderr.startswith("zhinao: elsewhere.late.v1 is not on 127.0.0.1:")


# -------------------------------------------------------------------------------------------------------------- pacing


class NoFuture:
    is_done = True

    def get(self, timeout: float) -> None:
        del timeout


class Listener:
    """A producer that notes what is sent, and when on a clock that moves only by waiting."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[float, str, int | None]] = []

    def send(self, topic: str, *, timestamp_ms: int, value: bytes | None, **more: object) -> NoFuture:
        if value is not None:
            self.sent.append((self.now_s - 100.0, topic, timestamp_ms))
        return NoFuture()

    def flush(self, timeout: float) -> None:
        del timeout

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return False


def feeder(producer: Listener, speed: float) -> Feeder:
    counts = dict.fromkeys(all_full_names("zhinao"), 4)
    return Feeder(producer, counts, "zhinao", speed=speed, wait=producer.wait, monotonic_s=lambda: producer.now_s)


def test_twenty_times_the_speed_is_a_twentieth_of_the_time() -> None:
    producer = Listener()
    lines = [line("camera.tracks", "danghu", START_MS + at, n=at) for at in (0, 1000, 30_000)]
    assert feeder(producer, 20.0).run(lines, drain_s=60)
    assert [round(at_s, 3) for at_s, _, _ in producer.sent] == [0.0, 0.05, 1.5]
    assert round(producer.now_s - 100.0, 3) == 4.5  # thirty seconds and a minute's drain


def test_speed_zero_does_not_wait() -> None:
    producer = Listener()
    assert feeder(producer, 0).run([line("camera.tracks", "danghu", START_MS + n * 9999, n=n) for n in range(9)])
    assert producer.now_s == 100.0


def test_a_line_that_is_older_than_the_one_before_goes_out_at_once_and_moves_no_clock_back() -> None:
    producer = Listener()
    one = feeder(producer, 1.0)
    lines = [line("camera.tracks", "danghu", START_MS + at, n=at) for at in (0, 5000, 1000, 6000)]
    assert one.run(lines)
    assert [round(at_s, 3) for at_s, _, _ in producer.sent] == [0, 5, 5, 6]
    assert one.fed.clock_ms == START_MS + 6000


# --------------------------------------------------------------------------------------------------------- other times


def test_a_second_round_is_later_and_of_other_tickets() -> None:
    once = [
        line("hotline.tickets", "pinghu", START_MS, ticket_id="T1", call_time="2026-03-02T07:10:00+08:00"),
        line("sensor.readings", "danghu", START_MS + 1500, device_id="w-1", readings=[{"reading_time": START_MS}]),
    ]
    twice = list(rounds(lambda: iter(once), 2))
    assert [one.timestamp_ms - START_MS for one in twice] == [0, 1500, 2000, 3500]
    assert twice[:2] == once
    ticket, reading = (json.loads(one.value or b"") for one in twice[2:])
    assert ticket == {"ticket_id": "T1-2", "call_time": "2026-03-02T07:10:02.000+08:00"}
    assert reading == {"device_id": "w-1", "readings": [{"reading_time": START_MS + 2000}]}


def test_what_is_not_json_stays_as_it_is_at_any_time() -> None:
    broken = RecordedLine("camera.tracks", b"danghu", START_MS, b"{oops", (("ce_id", b"x"),))
    assert shifted(broken, 5000, 2) == broken._replace(timestamp_ms=START_MS + 5000, headers=(("ce_id", b"x-2"),))
