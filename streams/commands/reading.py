"""Reading topics as they come, outside any group: nothing is committed, nobody else is disturbed."""

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any, Self

import click

from models.ticks import tick_us
from streams.commands.connection import Connection
from streams.topics import TOPICS, full_name, short_name

POLL_MS = 200
# A poll brings so many records at most; what is left comes with the next.
POLL_RECORDS = 2000
# A record of the largest topic (dead letters) with what the client adds.
FETCH_BYTES = 5 * 1024 * 1024


def named_topic(written: str, prefix: str) -> str:
    """The short name of a topic given by its short or its full name. Raises click's `BadParameter` for any other."""
    if written in TOPICS:
        return written
    try:
        return short_name(written, prefix)
    except ValueError:
        raise click.BadParameter(f"no topic {written!r}; topics are {', '.join(TOPICS)}") from None


def tick_ms(record: Any) -> int | None:
    """The time a clock record tells; None for any other record."""
    at_us = tick_us(record) if record.headers else None
    return None if at_us is None else at_us // 1000


class Reader:
    """Some topics, all partitions, from the start or from now; clock records only if asked for. A context manager."""

    def __init__(self, at: Connection, topics: Sequence[str], *, from_start: bool, ticks: bool = False) -> None:
        from kafka import KafkaConsumer, TopicPartition

        names = {full_name(name, at.prefix): name for name in topics}
        counts = at.partitions(names)
        self.names, self.ticks = names, ticks
        self.partitions = [TopicPartition(full, p) for full, count in counts.items() for p in range(count)]
        self.consumer = KafkaConsumer(
            **at.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        self.consumer.assign(self.partitions)
        # An answer now, so that what is sent after we said where we begin is not missed.
        starts = (self.consumer.beginning_offsets if from_start else self.consumer.end_offsets)(self.partitions)
        for partition, offset in starts.items():
            self.consumer.seek(partition, offset)

    def poll(self, timeout_ms: int = POLL_MS) -> list[tuple[str, Any]]:
        """What has arrived: (short name, record), by arrival time, each partition in its order; ticks if asked for."""
        batches = self.consumer.poll(timeout_ms=timeout_ms, max_records=POLL_RECORDS)
        found = [
            (self.names[tp.topic], r)
            for tp, records in batches.items()
            for r in records
            if self.ticks or tick_ms(r) is None
        ]
        return sorted(found, key=lambda pair: pair[1].timestamp) if len(batches) > 1 else found

    def records(self, stop: Event) -> Iterator[tuple[str, Any]]:
        """Until told to stop."""
        while not stop.is_set():
            yield from self.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
