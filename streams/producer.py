"""Sending to Kafka: a batch goes out, all its acks are awaited, a failure raises.

There is no retry above aiokafka's own. If a batch fails the process ends: nothing behind it was stored or committed, so
a replay makes the same records again, with the same ids.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka import codec as _codec

log = logging.getLogger(__name__)

Headers = tuple[tuple[str, bytes], ...]

# The largest record we publish is a dead letter (topic limit 4 MiB); the client's limit counts the batch around it too.
MAX_REQUEST_BYTES = 4 * 1024 * 1024 + 64 * 1024
CONTENT_TYPE = ("content-type", b"application/json")
SPEC_VERSION = ("ce_specversion", b"1.0")


class SendError(Exception):
    """A record was not taken by the broker; the message names its topic and the cause."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to send. `topic` is the full name. Give a key, a partition, or both: the partition wins."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a record went."""

    topic: str
    partition: int
    offset: int


def event_headers(
    *, event_id: str, source: str, event_type: str, time: str, epoch: int | None = None, seq: int | None = None
) -> Headers:
    """CloudEvents binary-mode headers. `time` is RFC 3339; `epoch` and `seq` for what the Desk publishes."""
    headers = [
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", time.encode()),
        SPEC_VERSION,
        CONTENT_TYPE,
    ]
    if epoch is not None:
        headers.append(("ce_epoch", b"%d" % epoch))
    if seq is not None:
        headers.append(("ce_seq", b"%d" % seq))
    return tuple(headers)


def best_compression() -> str:
    """lz4 where aiokafka can (it needs cramjam for everything but gzip), else gzip."""
    return "lz4" if _codec.has_lz4() else "gzip"


class Producer:
    """Idempotent, acks of all replicas, murmur2. `linger_ms` gathers what is sent within it into one request.

    `send_batch` calls may overlap; the records of one partition keep the order they were given in.
    """

    def __init__(
        self,
        servers: str,
        *,
        linger_ms: int = 5,
        compression: str | None = None,
        idempotent: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "bootstrap_servers": servers,
            "acks": "all",
            "enable_idempotence": idempotent,
            "linger_ms": linger_ms,
            "compression_type": best_compression() if compression is None else compression or None,
            "max_request_size": MAX_REQUEST_BYTES,
            "max_batch_size": 128 * 1024,
            **(options or {}),
        }
        self._producer: Any = None

    async def start(self) -> Self:
        """Connect. Raises aiokafka's `KafkaConnectionError` when nobody answers."""
        self._producer = AIOKafkaProducer(**self._settings)
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            self._producer = None
            raise
        return self

    async def stop(self) -> None:
        """Send what lingers, then close; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send_batch(self, batch: Sequence[Outgoing]) -> list[Sent]:
        """Send all and await all acks, in the order given. Raises `SendError` for the first that failed."""
        if self._producer is None:
            raise RuntimeError("the producer is not started")
        pending: list[Any] = []
        failed: BaseException | None = None
        for record in batch:
            if record.key is None and record.partition is None:
                failed = ValueError("a record needs a key or a partition, or it lands anywhere")
            else:
                try:
                    pending.append(await self._send(record))
                except Exception as exc:  # noqa: BLE001 (what was sent before must still be awaited)
                    failed = exc
            if failed is not None:
                break
        results: list[Any] = await asyncio.gather(*pending, return_exceptions=True)
        for record, result in zip(batch, results, strict=False):
            if isinstance(result, BaseException):
                raise SendError(f"{record.topic}: {type(result).__name__}: {result}") from result
        if failed is not None:
            raise SendError(f"{batch[len(pending)].topic}: {type(failed).__name__}: {failed}") from failed
        return [Sent(result.topic, result.partition, result.offset) for result in results]

    async def _send(self, record: Outgoing) -> Any:
        return await self._producer.send(
            record.topic,
            value=record.value,
            key=record.key,
            partition=record.partition,
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Partition counts of topics, for explicit partitioning."""
        if self._producer is None:
            raise RuntimeError("the producer is not started")
        return {topic: len(await self._producer.partitions_for(topic)) for topic in topics}

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()
