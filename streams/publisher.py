"""Messages to Kafka: full topic names, CloudEvents headers, every ack awaited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from models.ticks import TICK_HEADER
from models.times import format_time
from streams.clock import Clock
from streams.producer import Outgoing, Producer, event_headers
from streams.publishing import Message
from streams.topics import full_name


class Publisher:
    """Sends what the doors return. Raises SendError when the broker does not take it: then the process must end."""

    def __init__(self, producer: Producer, prefix: str, clock: Clock, zone: tzinfo) -> None:
        self.producer, self.prefix, self.clock, self.zone = producer, prefix, clock, zone

    async def send(self, messages: Sequence[Message], *, epoch: int | None = None, seq: int | None = None) -> None:
        """Returns when all are acknowledged."""
        if messages:
            await self.producer.send_batch(self.outgoing(messages, epoch=epoch, seq=seq))

    def outgoing(
        self, messages: Sequence[Message], *, epoch: int | None = None, seq: int | None = None
    ) -> list[Outgoing]:
        """The records of messages, for whoever sends them otherwise."""
        now = format_time(self.clock.now_us(), self.zone)
        return [self._outgoing(message, now, epoch, seq) for message in messages]

    async def tick(self, topic: str, key: str, partition: int, at_us: int, source: str) -> None:
        """A clock record on one partition (with a key, since aiokafka sends nothing without key and value)."""
        headers = ((TICK_HEADER, b"%d" % (at_us // 1000)), ("ce_source", f"/{self.prefix}/{source}".encode()))
        await self.producer.send_batch(
            [Outgoing(full_name(topic, self.prefix), None, key.encode(), headers, partition)]
        )

    def _outgoing(self, message: Message, now: str, epoch: int | None, seq: int | None) -> Outgoing:
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
