"""Letters wait for their topic and none is dropped: with a post that does as it is told, and on a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streams import letterbox
from streams.clock import ManualClock, WallClock
from streams.letterbox import KafkaPost, Letterbox
from streams.metrics import Metrics
from streams.producer import Outgoing, Producer
from streams.publisher import Publisher
from streams.publishing import Message
from streams.transport import TP
from tests.kafka.broker import KafkaBroker

HERE, THERE = TP("t.camera.tracks.v1", 2), TP("t.camera.events.v1", 0)
WITHIN_S = 40.0


def letters(count: int, name: str = "letter", size: int = 20) -> list[Outgoing]:
    return [
        Outgoing("dead-letters", f"{name}-{n}".ljust(size).encode(), b"camera.tracks", (("ce_id", b"%d" % n),))
        for n in range(count)
    ]


def said(records: Sequence[Outgoing]) -> list[bytes]:
    return [record.value or b"" for record in records]


class ToldPost:
    """Takes so many at a time, and none while it is shut."""

    def __init__(self, *, at_once: int = 3) -> None:
        self.at_once, self.open, self.sent, self.tries = at_once, True, list[bytes](), 0
        self.held: asyncio.Event | None = None

    async def send(self, records: Sequence[Outgoing]) -> int:
        self.tries += 1
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0)
        if not self.open:
            raise OSError("shut")
        taken = records[: self.at_once]
        self.sent += said(taken)
        return len(taken)

    async def close(self) -> None:
        pass


class Box:
    """A letterbox with a post that does as it is told, and what it told."""

    def __init__(self) -> None:
        self.post, self.clock, self.told = ToldPost(), ManualClock(), list[tuple[str, TP]]()
        self.box = Letterbox(
            self.post,
            self.clock,
            on_wait=lambda tp: self.told.append(("wait", tp)),
            on_clear=lambda tp: self.told.append(("clear", tp)),
        )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letterbox, "FIRST_PAUSE_S", 0.01)


def told(check: Callable[[Box], Awaitable[None]]) -> None:
    async def run() -> None:
        given = Box()
        async with asyncio.timeout(WITHIN_S):
            await check(given)
            await given.box.close()

    asyncio.run(run())


def test_letters_go_out_at_once_and_in_their_order() -> None:
    async def check(given: Box) -> None:
        given.box.put(HERE, letters(5))
        given.box.put(HERE, letters(5, "more"))
        assert given.box.waits(HERE)
        assert await given.box.flushed(HERE)
        assert given.post.sent == said(letters(5) + letters(5, "more"))
        assert (given.box.waits(HERE), given.box.waiting, given.box.oldest_s) == (False, {}, 0.0)
        assert given.told == []
        assert await given.box.flushed(THERE)

    told(check)


def test_while_the_topic_is_shut_letters_wait_and_their_partition_is_paused() -> None:
    async def check(given: Box) -> None:
        given.post.open = False
        given.box.put(HERE, letters(4))
        while given.post.tries < 3:
            await asyncio.sleep(0.001)
        given.clock.advance(7)
        given.box.put(HERE, letters(1, "more"))
        assert given.told == [("wait", HERE)]
        assert (given.box.waiting, given.box.oldest_s, given.post.sent) == ({HERE: 5}, 7.0, [])
        given.post.open = True
        assert await given.box.flushed(HERE)
        assert given.told == [("wait", HERE), ("clear", HERE)]
        assert given.post.sent == said(letters(4) + letters(1, "more"))

    told(check)


def test_a_try_that_takes_long_pauses_the_partition_before_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letterbox, "PATIENCE_S", 0.01)

    async def check(given: Box) -> None:
        given.post.held = asyncio.Event()
        given.box.put(HERE, letters(1))
        while not given.told:
            await asyncio.sleep(0.001)
        assert (given.told, given.post.tries) == ([("wait", HERE)], 1)
        given.post.held.set()
        assert await given.box.flushed(HERE)
        assert given.told[1:] == [("clear", HERE)]

    told(check)


def test_many_bytes_pause_the_partition_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letterbox, "MAX_UNPAUSED_BYTES", 1000)

    async def check(given: Box) -> None:
        given.post.held = asyncio.Event()
        given.box.put(HERE, letters(1))
        await asyncio.sleep(0)
        assert given.told == []
        given.box.put(HERE, letters(1, size=2000))
        await asyncio.sleep(0)
        assert given.told == [("wait", HERE)]
        given.post.held.set()
        assert await given.box.flushed(HERE)

    told(check)


def test_one_partition_does_not_wait_for_another() -> None:
    async def check(given: Box) -> None:
        held = given.post.held = asyncio.Event()
        given.box.put(HERE, letters(1))
        await asyncio.sleep(0)
        given.post.held = None
        given.box.put(THERE, letters(1, "there"))
        assert await given.box.flushed(THERE)
        assert given.box.waits(HERE)
        held.set()
        assert await given.box.flushed(HERE)

    told(check)


def test_letters_that_wait_are_kept_whole_and_go_on_waiting_elsewhere() -> None:
    def publisher(given: Box) -> Publisher:
        return Publisher(Producer("nowhere:1"), given.box, "zhinao", given.clock, UTC, Metrics())

    async def check(here: Box) -> None:
        there = Box()
        here.post.open = False
        publisher(here).post(HERE, [Message("dead-letters", "k", b"{}", f"x-{n}") for n in range(3)])
        kept = publisher(here).kept([HERE])
        assert kept is not None
        assert publisher(here).kept([THERE]) is None
        there.post.open = False
        publisher(there).post_kept(kept)
        assert there.box.kept([HERE]) == here.box.kept([HERE])
        there.post.open = True
        assert await there.box.flushed(HERE)
        assert there.post.sent == [b"{}"] * 3
        await there.box.close()

    told(check)


def test_partitions_that_go_take_their_letters_with_them() -> None:
    async def check(given: Box) -> None:
        given.post.open = False
        given.box.put(HERE, letters(4))
        flushed = asyncio.create_task(given.box.flushed(HERE))
        while given.post.tries < 2:
            await asyncio.sleep(0.001)
        await given.box.forget([HERE, THERE])
        assert await flushed is False
        tries = given.post.tries
        given.post.open = True
        await asyncio.sleep(0.05)
        assert (given.box.waits(HERE), given.post.sent, given.post.tries) == (False, [], tries)
        assert given.told == [("wait", HERE)]

    told(check)


# -------------------------------------------------------------------------------------------------------- real brokers


class Sick:
    """A topic of letters on a real broker that is taken ill and mended."""

    def __init__(self, kafka: KafkaBroker, topic: str) -> None:
        self.kafka, self.topic = kafka, topic
        self.waiting, self.cleared = asyncio.Event(), asyncio.Event()
        self.box: Letterbox

    def new_admin(self) -> AdminClient:
        """One that asks who is there now: an older one may go on asking a broker that was killed."""
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})

    def set(self, name: str, value: str) -> None:
        change = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.topic, incremental_configs=[change])
        admin = self.new_admin()
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(30)

    def delete(self) -> None:
        admin = self.new_admin()
        for done in admin.delete_topics([self.topic], operation_timeout=30).values():
            done.result(30)

    def letters(self, count: int, name: str = "letter", size: int = 20) -> list[Outgoing]:
        given = letters(count, name, size)
        return [Outgoing(self.topic, x.value, x.key, x.headers) for x in given]

    async def kept(self) -> list[bytes]:
        """What the topic holds, each once, in the order of its first."""
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest") as consumer:
            partitions = [TopicPartition(self.topic, p) for p in range(2)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: dict[bytes, None] = {}
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found |= dict.fromkeys(record.value for record in records)
            return list(found)


@asynccontextmanager
async def letterbox_on(kafka: KafkaBroker, topic: str) -> Any:
    sick = Sick(kafka, topic)
    sick.box = Letterbox(
        KafkaPost(kafka.bootstrap),
        WallClock(),
        on_wait=lambda _: sick.waiting.set(),
        on_clear=lambda _: sick.cleared.set(),
    )
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            yield sick
    finally:
        await sick.box.close()


async def check_ill_and_mended(sick: Sick, mend: Callable[[], None]) -> None:
    """What is put before, during and after goes out once the topic is well, in its order."""
    sick.box.put(HERE, sick.letters(300))
    await sick.waiting.wait()
    sick.box.put(HERE, sick.letters(300, "more"))
    await asyncio.sleep(1.0)
    assert sick.box.waiting == {HERE: 600}
    assert sick.box.oldest_s > 1.0
    await asyncio.to_thread(mend)
    assert await sick.box.flushed(HERE)
    assert sick.cleared.is_set()
    sick.box.put(HERE, sick.letters(3, "after"))
    assert await sick.box.flushed(HERE)
    expected = said(sick.letters(300) + sick.letters(300, "more") + sick.letters(3, "after"))
    assert (await sick.kept())[-603:] == expected


@pytest.mark.slow
def test_letters_arrive_once_enough_replicas_are_in_sync(
    start_kafka: Any, unique_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        kafka: KafkaBroker = start_kafka(brokers=3)
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2, config={"min.insync.replicas": "3"})
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, sick.letters(5, "before"))
            assert await sick.box.flushed(HERE)
            kafka.kill(3)

            def mend_when_noticed() -> None:
                deadline = time.monotonic() + WITHIN_S
                while "NotEnoughReplicasError" not in caplog.text:
                    assert time.monotonic() < deadline, caplog.text
                    time.sleep(0.1)
                sick.set("min.insync.replicas", "2")

            await check_ill_and_mended(sick, mend_when_noticed)

    asyncio.run(check())


@pytest.mark.slow
def test_letters_arrive_once_the_limit_of_a_message_is_what_it_was(kafka: KafkaBroker, unique_prefix: str) -> None:
    async def check() -> None:
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2)
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, sick.letters(5, "before"))
            assert await sick.box.flushed(HERE)
            sick.set("max.message.bytes", "1")
            await check_ill_and_mended(sick, lambda: sick.set("max.message.bytes", "4194304"))
            assert (await sick.kept())[:5] == said(sick.letters(5, "before"))

    asyncio.run(check())


@pytest.mark.slow
def test_where_only_single_letters_fit_they_go_one_by_one(kafka: KafkaBroker, unique_prefix: str) -> None:
    async def check() -> None:
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2, config={"max.message.bytes": "400"})
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, sick.letters(200))
            assert await sick.box.flushed(HERE)
            assert await sick.kept() == said(sick.letters(200))

    asyncio.run(check())


@pytest.mark.slow
def test_letters_arrive_once_their_topic_is_there_again(kafka: KafkaBroker, unique_prefix: str) -> None:
    async def check() -> None:
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2)
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, sick.letters(5, "before"))
            assert await sick.box.flushed(HERE)
            await asyncio.to_thread(sick.delete)
            await check_ill_and_mended(sick, lambda: kafka.create_topics(topic, partitions=2))
            assert len(await sick.kept()) == 603

    asyncio.run(check())


@pytest.mark.slow
def test_the_largest_letter_goes_out(kafka: KafkaBroker, unique_prefix: str) -> None:
    async def check() -> None:
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2, config={"max.message.bytes": "4194304"})
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, [*sick.letters(2), *sick.letters(1, "large", 3 << 20), *sick.letters(2, "small")])
            assert await sick.box.flushed(HERE)
            assert [len(value) for value in await sick.kept()] == [20, 20, 3 << 20, 20, 20]

    asyncio.run(check())


@pytest.mark.slow
def test_letters_arrive_once_the_broker_is_back(start_kafka: Any, unique_prefix: str) -> None:
    async def check() -> None:
        kafka: KafkaBroker = start_kafka()
        topic = f"{unique_prefix}letters"
        kafka.create_topics(topic, partitions=2)
        async with letterbox_on(kafka, topic) as sick:
            sick.box.put(HERE, sick.letters(5, "before"))
            assert await sick.box.flushed(HERE)
            kafka.kill()
            await check_ill_and_mended(sick, kafka.start)

    asyncio.run(check())
