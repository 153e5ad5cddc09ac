"""The store on a compacted topic of a real Kafka: a save is a transaction, opening is what fences in Kafka itself.

Keys: `<name>#<number>#<entry>`, number 0 for the first 900 kB of a value, 1 and on for what follows. The partition is
the number in the name. Readers see what is committed and nothing else.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import zstandard
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from kafka.admin import KafkaAdminClient

from streams.failpoints import Place, reach
from streams.store import (
    StoreError,
    StoreFenced,
    Table,
    checked_changes,
    checked_name,
    compressor,
    consumer,
    pack,
    partition_of,
    read_partition,
)

# Below the 1 MiB a broker takes by default, with room for key, headers and the batch around it.
CHUNK_BYTES = 900_000
BATCH_BYTES = 1_000_000
# How long a save may take before the broker gives it up, and us with it: 80 MB at 1.4 MB/s. A broker slower than that
# could not take the streams either. It is also how long a transaction that a killed worker left open may keep what
# follows it on the partition out of sight; opening that table ends it at once.
TRANSACTION_MS = 60_000
# Brokers look for what is overdue every 10 s unless told otherwise.
SETTLE_LIMIT_S = TRANSACTION_MS / 1000 + 30
READ_SETTLE_S = 5.0
SETTLE_POLL_S = 0.02
# A cluster on which transactions cannot work never answers.
OPEN_LIMIT_S = 60.0

Record = tuple[bytes, bytes | None]
Chunks = dict[int, bytes]


class TopicStore:
    """Tables on a compacted topic, each with a transactional producer of its own while it is open.

    Tables of one partition are best opened at the same time (`asyncio.gather`): where a worker died in the middle of
    saving one of them, the other can be read only when that one was opened, or after `TRANSACTION_MS`.
    """

    def __init__(self, servers: str, topic: str, *, options: dict[str, Any] | None = None) -> None:
        self._servers, self._topic = servers, topic
        self._options = options or {}
        self._open: set[_TopicTable] = set()

    async def open(self, name: str) -> tuple[Table, dict[str, bytes]]:
        partition = partition_of(name)
        table = _TopicTable(self._servers, self._topic, name, self._options, self._open.discard)
        self._open.add(table)
        try:
            await table.start()
            if not await self._settled(partition, SETTLE_LIMIT_S):
                raise StoreError(
                    f"{self._topic}[{partition}]: a transaction of somebody else has been open for "
                    f"{SETTLE_LIMIT_S:.0f} s. See: kafka-transactions.sh find-hanging"
                )
            found = (await self._scan(partition, name)).get(name, {})
            table.has({key: len(chunks) for key, chunks in found.items()})
            return table, await asyncio.to_thread(self._joined, name, found)
        except BaseException:
            await table.close()
            raise

    async def read(self, name: str) -> dict[str, bytes]:
        partition = partition_of(name)
        # The last save may still be in the making: a moment is worth waiting, no more.
        await self._settled(partition, READ_SETTLE_S)
        found = (await self._scan(partition, name)).get(name, {})
        return await asyncio.to_thread(self._joined, name, found)

    async def names(self) -> list[str]:
        found = []
        for partition in await asyncio.to_thread(self._partitions):
            found += [name for name, entries in (await self._scan(partition)).items() if entries]
        return sorted(found, key=lambda name: (name.split("/")[0], partition_of(name)))

    async def close(self) -> None:
        for table in list(self._open):
            await table.close()

    def _partitions(self) -> list[int]:
        admin = KafkaAdminClient(bootstrap_servers=self._servers, **self._options)
        try:
            (found,) = admin.describe_topics([self._topic])
            return list(range(len(found["partitions"])))
        finally:
            admin.close()

    async def _settled(self, partition: int, limit_s: float) -> bool:
        """True when everything written up to now is decided: committed or aborted."""
        tp = TopicPartition(self._topic, partition)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        async with consumer(self._servers, self._options, "read_uncommitted") as written:
            goal = (await written.end_offsets([tp]))[tp]
        async with consumer(self._servers, self._options, "read_committed") as decided:
            while (await decided.end_offsets([tp]))[tp] < goal:
                if loop.time() > deadline:
                    return False
                await asyncio.sleep(SETTLE_POLL_S)
        return True

    async def _scan(self, partition: int, wanted: str | None = None) -> dict[str, dict[str, Chunks]]:
        """What is live on a partition: chunks by number, by entry, by name."""
        found: dict[str, dict[str, Chunks]] = {}
        records = read_partition(self._servers, self._topic, partition, 0, self._options, isolation="read_committed")
        async for record in records:
            name, number, key = record.key.decode().split("#", 2)
            if wanted not in (None, name):
                continue
            entries = found.setdefault(name, {})
            if record.value is not None:
                entries.setdefault(key, {})[int(number)] = record.value
            elif key in entries:
                entries[key].pop(int(number), None)
                if not entries[key]:
                    del entries[key]
        return found

    def _joined(self, name: str, entries: dict[str, Chunks]) -> dict[str, bytes]:
        unpacking, whole = zstandard.ZstdDecompressor(), {}
        for key, chunks in entries.items():
            try:
                packed = b"".join(chunks[number] for number in sorted(chunks))
                whole[key] = unpacking.decompress(packed, allow_extra_data=False)
            except zstandard.ZstdError as exc:
                raise StoreError(
                    f"{self._topic}: entry {key!r} of {name} is not whole ({exc}). Is the topic's cleanup.policy "
                    "'compact', and was it always? Restore a backup, or empty the topic to start without it"
                ) from exc
        return whole


class _TopicTable:
    def __init__(
        self,
        servers: str,
        topic: str,
        name: str,
        options: dict[str, Any],
        closed: Callable[["_TopicTable"], None],
    ) -> None:
        self._topic, self._name, self._closed = topic, checked_name(name), closed
        self._partition = partition_of(name)
        self._lock = asyncio.Lock()
        self._chunks: dict[str, int] = {}  # of entries that have more than one
        self._ended: Exception | None = None
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=servers,
            transactional_id=f"{topic}/{name}",
            transaction_timeout_ms=TRANSACTION_MS,
            max_batch_size=BATCH_BYTES,
            **options,
        )

    async def start(self) -> None:
        """Fence whoever had the table; what they left half written is aborted."""
        try:
            async with asyncio.timeout(OPEN_LIMIT_S):
                await self._producer.start()
                partitions = await self._producer.partitions_for(self._topic)
        except TimeoutError:
            raise StoreError(
                f"{self._topic}: the cluster gives no transactions within {OPEN_LIMIT_S:.0f} s. Does it have as many "
                "brokers as its transaction.state.log.replication.factor says?"
            ) from None
        except KafkaError as exc:
            raise StoreError(f"{self._topic}: {self._name} cannot be opened: {exc!r}") from exc
        if self._partition not in partitions:
            raise StoreError(f"{self._topic} has {len(partitions)} partitions, {self._name} needs more")

    def has(self, chunks: Mapping[str, int]) -> None:
        """How many chunks each entry takes on the topic."""
        self._chunks |= {key: count for key, count in chunks.items() if count > 1}

    async def save(self, changes: Mapping[str, bytes | None]) -> None:
        mine = checked_changes(changes)
        async with self._lock:
            if self._ended is not None:
                raise self._ended
            if mine:
                await self._save(mine)

    async def close(self) -> None:
        self._closed(self)
        async with self._lock:
            self._ended = self._ended or StoreError(f"{self._topic}: {self._name} is closed")
            await self._producer.stop()
            _retrieve(self._producer)

    async def _save(self, changes: dict[str, bytes | None]) -> None:
        filling = _Filling(self._name, changes, self._chunks)
        try:
            async with self._producer.transaction():
                await self._send(filling)
                reach(Place.SAVING)
                while filling.more:
                    await self._send(filling)
        except ProducerFenced as exc:
            self._end(
                StoreFenced(
                    f"{self._topic}: {self._name} was opened by another, or a save took longer than "
                    f"{TRANSACTION_MS // 1000} s"
                ),
                exc,
            )
        except KafkaError as exc:
            self._end(StoreError(f"{self._topic}: {self._name} cannot be saved: {exc!r}"), exc)
        for key, count in filling.chunks.items():
            self._chunks.pop(key, None)
            self.has({key: count})

    async def _send(self, filling: "_Filling") -> None:
        batch = self._producer.create_batch()
        await asyncio.to_thread(filling.fill, batch)
        batch.close()
        await (await self._producer.send_batch(batch, self._topic, partition=self._partition))

    def _end(self, ended: Exception, cause: Exception) -> NoReturn:
        """Nothing is known of a producer that failed: no save after it."""
        self._ended = ended
        _retrieve(self._producer)
        raise ended from cause


class _Filling:
    """The records of a save, packed as they are asked for: a batch at a time, in a thread."""

    def __init__(self, name: str, changes: dict[str, bytes | None], before: Mapping[str, int]) -> None:
        self.chunks: dict[str, int] = {}
        self.more = True
        self._name, self._changes, self._before = name, changes, dict(before)
        self._records = self._all()
        self._waiting: Record | None = None  # did not go into the batch before

    def fill(self, batch: Any) -> None:
        """Append records until the batch is full or none are left."""
        waiting = [] if self._waiting is None else [self._waiting]
        for key, value in itertools.chain(waiting, self._records):
            if batch.append(timestamp=None, key=key, value=value) is None:
                self._waiting = (key, value)
                return
        self.more = False

    def _all(self) -> Iterator[Record]:
        packing = compressor()
        for key, value in self._changes.items():
            packed = b"" if value is None else pack(value, packing)
            count = -(-len(packed) // CHUNK_BYTES)
            self.chunks[key] = count
            for number in range(count):
                yield self._key(key, number), packed[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
            for number in range(count, self._before.get(key, 1)):
                yield self._key(key, number), None

    def _key(self, key: str, number: int) -> bytes:
        return f"{self._name}#{number}#{key}".encode()


def _retrieve(producer: Any) -> None:
    """Look at every failure aiokafka keeps of a producer that is lost; it was raised already, and would else be logged
    as never retrieved."""
    batches = producer._message_accumulator._batches.values()
    waiting = [batch._drain_waiter for several in batches for batch in several]
    for future in (producer._txn_manager.wait_for_transaction_end(), *waiting):
        if future is not None and future.done():
            with contextlib.suppress(asyncio.CancelledError):
                future.exception()
