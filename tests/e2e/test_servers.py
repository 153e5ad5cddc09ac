"""The servers that other tests rely on: they start, answer, forget nothing they should keep, and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient

from tests.conftest import StartKafka
from tests.kafka.broker import KafkaBroker
from tests.redis_server import RedisServer

WORDS = [f"word {number} 智脑".encode() for number in range(100)]


async def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=value)


async def receive(bootstrap: str, topic: str, count: int, *, group: str | None = None) -> list[bytes]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        values: list[bytes] = []
        async with asyncio.timeout(30):
            while len(values) < count:
                values += [
                    record.value for batch in (await consumer.getmany(timeout_ms=500)).values() for record in batch
                ]
        if group is not None:
            await consumer.commit()
        return values


def test_what_aiokafka_produces_a_group_of_aiokafka_consumes(kafka: KafkaBroker, unique_prefix: str) -> None:
    topic = f"{unique_prefix}words"
    kafka.create_topics(topic, partitions=3)
    asyncio.run(send(kafka.bootstrap, topic, WORDS))
    assert sorted(asyncio.run(receive(kafka.bootstrap, topic, 100, group=unique_prefix))) == sorted(WORDS)


def test_what_kafka_python_produces_kafka_python_consumes(kafka: KafkaBroker, unique_prefix: str) -> None:
    topic = f"{unique_prefix}words"
    kafka.create_topics(topic, partitions=3)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for word in WORDS:
        producer.send(topic, key=word, value=word)
    producer.flush(timeout=30)
    producer.close()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        group_id=unique_prefix,
        auto_offset_reset="earliest",
        consumer_timeout_ms=30_000,
    )
    values = [next(consumer).value for _ in WORDS]
    consumer.close()
    assert sorted(values) == sorted(WORDS)


def test_both_clients_put_a_key_on_the_same_partition(kafka: KafkaBroker, unique_prefix: str) -> None:
    topic = f"{unique_prefix}words"
    kafka.create_topics(topic, partitions=7)

    async def partitions_of_aiokafka() -> list[int]:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            return [(await producer.send_and_wait(topic, b"", key=word)).partition for word in WORDS[:20]]

    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    partitions = [producer.send(topic, key=word, value=b"").get(timeout=30).partition for word in WORDS[:20]]
    producer.close()
    assert asyncio.run(partitions_of_aiokafka()) == partitions
    assert len(set(partitions)) > 1


def test_a_topic_is_not_created_by_use(kafka: KafkaBroker, unique_prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.describe_topics([f"{unique_prefix}nobody-made-this"])
    assert f"{unique_prefix}nobody-made-this" not in admin.list_topics()
    admin.close()


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_prefix_of_its_own(unique_prefix: str, turn: int, prefixes_seen: set[str]) -> None:
    assert unique_prefix not in prefixes_seen
    prefixes_seen.add(unique_prefix)


@pytest.fixture(scope="module")
def prefixes_seen() -> set[str]:
    return set()


def test_a_killed_broker_comes_back_with_its_records(start_kafka: StartKafka) -> None:
    broker = start_kafka()
    broker.create_topics("words", partitions=1)
    asyncio.run(send(broker.bootstrap, "words", WORDS))
    before, address = broker.pid(), broker.bootstrap
    broker.kill()
    assert broker.pid() is None
    broker.start()
    assert broker.pid() not in (None, before)
    assert broker.bootstrap == address
    assert asyncio.run(receive(broker.bootstrap, "words", 100)) == WORDS


def test_a_broker_is_gone_when_its_block_ends_and_its_log_stays(tmp_path: Path, kafka: KafkaBroker) -> None:
    with KafkaBroker(tmp_path) as broker:
        pid = broker.pid()
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert "Kafka Server started" in broker.log_tail(1000)
    assert [path.name for path in (tmp_path / "broker-1").iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_three_brokers_take_records_while_one_is_down(start_kafka: StartKafka) -> None:
    cluster = start_kafka(brokers=3)
    cluster.create_topics("words", partitions=3)
    cluster.kill(node=2)
    asyncio.run(send(cluster.bootstrap, "words", WORDS))
    cluster.start(node=2)
    assert sorted(asyncio.run(receive(cluster.bootstrap, "words", 100))) == sorted(WORDS)


def test_redis_keeps_what_it_is_told(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("incident", "智脑")
        assert client.get("incident") == "智脑".encode()


def test_each_test_finds_redis_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_killed_redis_comes_back_empty_at_its_old_address(tmp_path: Path, redis_server: RedisServer) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert server.url != redis_server.url
        client.set("incident", "1")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("incident")
        server.start()
        assert client.get("incident") is None
        assert [path.name for path in tmp_path.iterdir()] == ["redis.log"]
