"""Sending: acks of all, order, exact headers, and a failure that raises."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.broker import EmbeddedBroker, warm_up
from streams.producer import Outgoing, Producer, SendError, event_headers
from streams.topics import partition_for


def test_headers_are_cloudevents_in_binary_mode() -> None:
    headers = event_headers(
        event_id="d-1",
        source="zhinao/desk",
        event_type="incident",
        time="2026-03-02T07:10:00.000+08:00",
        epoch=3,
        seq=9,
    )
    assert headers == (
        ("ce_id", b"d-1"),
        ("ce_source", b"zhinao/desk"),
        ("ce_type", b"incident"),
        ("ce_time", b"2026-03-02T07:10:00.000+08:00"),
        ("ce_specversion", b"1.0"),
        ("content-type", b"application/json"),
        ("ce_epoch", b"3"),
        ("ce_seq", b"9"),
    )


def test_a_batch_is_acknowledged_in_order_by_key_or_by_partition() -> None:
    async def check(address: str) -> None:
        async with Producer(address) as producer:
            assert await producer.partition_counts(["out.v1"]) == {"out.v1": 4}
            batch = [Outgoing("out.v1", b"%d" % n, key=b"k%d" % (n % 7), headers=(("n", b"x"),)) for n in range(500)]
            batch.append(Outgoing("out.v1", None, key=b"pinghu", partition=0, timestamp_ms=77))
            sent = await producer.send_batch(batch)
            assert [where.partition for where in sent[:-1]] == [partition_for(b"k%d" % (n % 7), 4) for n in range(500)]
            assert sent[-1].partition == 0
            assert await producer.send_batch([]) == []
        async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            consumer.assign([TopicPartition("out.v1", p) for p in range(4)])
            got: dict[int, list[int]] = {}
            count = 0
            while count < 501:
                record = await asyncio.wait_for(consumer.getone(), 20)
                count += 1
                if record.value is not None:
                    got.setdefault(record.partition, []).append(int(record.value))
                    assert record.headers == (("n", b"x"),)
        assert all(values == sorted(values) for values in got.values())

    with EmbeddedBroker() as broker:
        warm_up(broker.address, ["out.v1"])
        asyncio.run(check(broker.address))


def test_what_cannot_be_sent_raises_with_its_topic() -> None:
    async def check(address: str) -> None:
        async with Producer(address, compression="") as producer:
            with pytest.raises(SendError, match=r"out\.v1: ValueError: a record needs a key or a partition"):
                await producer.send_batch([Outgoing("out.v1", b"1", key=b"k"), Outgoing("out.v1", b"2")])
            with pytest.raises(SendError, match=r"out\.v1: MessageSizeTooLargeError"):
                await producer.send_batch([Outgoing("out.v1", b"x" * 5_000_000, key=b"k")])
        with pytest.raises(RuntimeError, match="not started"):
            await producer.send_batch([])

    with EmbeddedBroker() as broker:
        warm_up(broker.address, ["out.v1"])
        asyncio.run(check(broker.address))
