"""Messages to Kafka: full topic names, CloudEvents headers, every ack awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import tzinfo

import msgspec

from models.ticks import TICK_HEADER
from models.times import format_time
from streams.clock import Clock
from streams.letterbox import Letterbox
from streams.metrics import Metrics
from streams.producer import Outgoing, Producer, event_headers
from streams.publishing import Message
from streams.topics import full_name
from streams.transport import TP

KEPT = msgspec.msgpack.Decoder(list[tuple[tuple[str, int], Outgoing]])
LETTERS_LIMIT_S = 1.0
"""What a save waits for letters on their way. Those that take longer wait for their topic, and the save goes on without
the lanes they are of."""


class Publisher:
    """Sends what the doors return. Raises SendError when the broker does not take it: then the process must end. Only
    letters may wait."""

    def __init__(
        self, producer: Producer, box: Letterbox, prefix: str, clock: Clock, zone: tzinfo, metrics: Metrics
    ) -> None:
        self.producer, self.box, self.metrics = producer, box, metrics
        self.prefix, self.clock, self.zone = prefix, clock, zone

    async def send(self, messages: Sequence[Message], *, epoch: int | None = None, seq: int | None = None) -> None:
        """Returns when all are acknowledged."""
        if messages:
            began_s = self.clock.monotonic_s()
            await self.producer.send_batch(self._outgoing(messages, epoch, seq))
            self.metrics.sent(messages, self.clock.monotonic_s() - began_s)

    def post(self, tp: TP, letters: Sequence[Message]) -> None:
        """Dead letters and late records of an input partition: they go when their topic takes them. Until then the
        partition's offset may not be stored, see `waiting`."""
        if letters:
            self.box.put(tp, self._outgoing(letters))

    async def posted(self, tps: Iterable[TP]) -> None:
        """Give letters that are on their way the time to arrive. Those that are known to wait are not waited for."""
        waiting = [self.box.flushed(tp) for tp in tps if self.box.waits(tp) and not self.box.stuck(tp)]
        if waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*waiting), LETTERS_LIMIT_S)

    def kept(self, tps: Iterable[TP]) -> bytes | None:
        """The letters of these partitions that wait, to be stored; none where none does."""
        kept = self.box.kept(tps)
        return msgspec.msgpack.encode(kept) if kept else None

    def post_kept(self, kept: bytes) -> None:
        """Letters that waited when they were stored go on waiting here."""
        for tp, record in KEPT.decode(kept):
            self.box.put(TP(*tp), [record])

    def waiting(self, tp: TP) -> bool:
        """Whether letters of this partition wait."""
        return self.box.waits(tp)

    async def forget(self, tps: Collection[TP]) -> None:
        """These partitions are another's, and so is what their letters say."""
        await self.box.forget(tps)

    def _outgoing(
        self, messages: Sequence[Message], epoch: int | None = None, seq: int | None = None
    ) -> list[Outgoing]:
        now = format_time(self.clock.now_us(), self.zone)
        return [self._record(message, now, epoch, seq) for message in messages]

    async def tick(self, topic: str, key: str, partition: int, at_us: int, source: str) -> None:
        """A clock record on one partition (with a key, since aiokafka sends nothing without key and value)."""
        headers = ((TICK_HEADER, b"%d" % (at_us // 1000)), ("ce_source", f"/{self.prefix}/{source}".encode()))
        await self.producer.send_batch(
            [Outgoing(full_name(topic, self.prefix), None, key.encode(), headers, partition)]
        )

    def _record(self, message: Message, now: str, epoch: int | None, seq: int | None) -> Outgoing:
        headers = event_headers(
            event_id=message.id,
            source=f"/{self.prefix}/{message.source}",
            event_type=f"{self.prefix}.{message.topic}.v1",
            time=now,
            epoch=epoch,
            seq=seq,
        )
        topic = full_name(message.topic, self.prefix)
        return Outgoing(topic, message.value, message.key.encode(), headers, message.partition)
