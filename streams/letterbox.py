"""Dead letters and late records on their way out: they wait here until their topic takes them, and none is dropped.

What the Desk and the Detectors decide goes through `streams.producer` and ends the process when it cannot be sent. A
letter must not: a topic of letters that is missing, or does not take one, would end the worker again at each replay.
So letters have a producer of their own, and as long as those of an input partition wait,

- its offsets must not be declared stored: `waits` says so (after a crash the records are read and refused again);
- it should be paused when told `on_wait` and resumed when told `on_clear`: then what waits is bounded by what was
  fetched before, some chunks.

Each letter goes out at least once, those of one input partition in their order. All of this runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, MessageSizeTooLargeError

from streams.clock import Clock
from streams.producer import MAX_REQUEST_BYTES, Outgoing, best_compression
from streams.topics import partition_for
from streams.transport import TP

log = logging.getLogger(__name__)

# aiokafka repeats what it believes will pass for so long; then it is ours to wait, and to tell.
REQUEST_LIMIT_MS = 3000
# A producer that has not answered by then is broken.
TRY_LIMIT_S = 8.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# Longer than this without an answer, or more bytes than these of one partition, and the partition should be paused.
PATIENCE_S = 0.5
MAX_UNPAUSED_BYTES = 8 * 1024 * 1024
# Of letters in one request; one letter alone may be larger. A topic's limit is on the batch, so it must stay below.
BATCH_BYTES = 256 * 1024
BATCH_LETTERS = 1000


class Post(Protocol):
    """What takes letters away."""

    async def send(self, records: Sequence[Outgoing]) -> int:
        """Send the first ones, as many as go in one piece; how many were acknowledged. Raises if none was."""

    async def close(self) -> None: ...


class KafkaPost:
    """A producer that gives up soon, and is made anew after whatever broke it. One request a topic at a time: what one
    sender must wait for, the next one need not wait for as well."""

    def __init__(self, servers: str, *, options: Mapping[str, Any] | None = None) -> None:
        self._settings: dict[str, Any] = {
            "bootstrap_servers": servers,
            "acks": "all",
            # An idempotent producer repeats without end, and is broken by what a topic that was made anew answers.
            "enable_idempotence": False,
            "request_timeout_ms": REQUEST_LIMIT_MS,
            "max_request_size": MAX_REQUEST_BYTES,
            "max_batch_size": BATCH_BYTES,
            "compression_type": best_compression(),
            **(options or {}),
        }
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._turns: dict[str, asyncio.Lock] = {}
        self._closing = set[asyncio.Task[None]]()

    async def send(self, records: Sequence[Outgoing]) -> int:
        """The first ones that go to one partition and fit one request: all of them are taken or none is."""
        async with self._turns.setdefault(records[0].topic, asyncio.Lock()):
            producer = await self._started()
            try:
                async with asyncio.timeout(TRY_LIMIT_S):
                    return await self._send(producer, records)
            except (BrokerResponseError, asyncio.CancelledError):  # the producer is well: it was answered, or is left
                raise
            except BaseException:
                self._give_up(producer)
                raise

    async def _send(self, producer: Any, records: Sequence[Outgoing]) -> int:
        partitions = len(await producer.partitions_for(records[0].topic))
        target = _target(records[0], partitions)
        batch = producer.create_batch()
        for record in records:
            if _target(record, partitions) != target or batch.append(
                key=record.key, value=record.value, timestamp=record.timestamp_ms, headers=list(record.headers)
            ) is None:  # fmt: skip
                break
        taken = int(batch.record_count())
        batch.close()
        try:
            await (await producer.send_batch(batch, target[0], partition=target[1]))
        except MessageSizeTooLargeError:
            if taken == 1:
                raise
            return await self._send(producer, records[:1])
        return taken

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._settings)
                try:
                    async with asyncio.timeout(TRY_LIMIT_S):
                        await producer.start()
                except BaseException:
                    self._give_up(producer)
                    raise
                self._producer = producer
            return self._producer

    def _give_up(self, producer: Any) -> None:
        """Close it in the background: what it still holds may take its time, and is sent again by another."""
        if self._producer is producer:
            self._producer = None
        closing = asyncio.get_running_loop().create_task(_close(producer))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        if self._producer is not None:
            self._give_up(self._producer)
        await asyncio.gather(*self._closing)


async def _close(producer: Any) -> None:
    try:
        async with asyncio.timeout(TRY_LIMIT_S):
            await producer.stop()
    except Exception as why:  # noqa: BLE001 (whatever a broken client says on its way out)
        log.info("a producer of letters did not close: %s: %s", type(why).__name__, why)


def _target(record: Outgoing, partitions: int) -> tuple[str, int]:
    if record.partition is not None:
        return record.topic, record.partition
    return record.topic, partition_for(record.key or b"", partitions)


@dataclass(slots=True)
class Waiting:
    """The letters of one input partition."""

    records: deque[tuple[float, Outgoing]] = field(default_factory=deque)
    """Each with when it was put."""
    size: int = 0
    told: bool = False
    """Whether `on_wait` was called."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    patience: asyncio.TimerHandle | None = None

    def put(self, records: Iterable[Outgoing], now_s: float) -> None:
        for record in records:
            self.records.append((now_s, record))
            self.size += _bytes(record)

    def taken(self, count: int) -> None:
        for _ in range(count):
            self.size -= _bytes(self.records.popleft()[1])

    def first(self) -> list[Outgoing]:
        return [record for _, record in islice(self.records, BATCH_LETTERS)]


def _bytes(record: Outgoing) -> int:
    return len(record.value or b"") + len(record.key or b"") + 128


class Letterbox:
    """Keeps letters until they are sent. `on_wait(tp)` and `on_clear(tp)` are called in turns, never within `put`."""

    def __init__(
        self,
        post: Post,
        clock: Clock,
        *,
        on_wait: Callable[[TP], None] = lambda _: None,
        on_clear: Callable[[TP], None] = lambda _: None,
    ) -> None:
        self._post, self._clock = post, clock
        self.on_wait, self.on_clear = on_wait, on_clear
        self._boxes: dict[TP, Waiting] = {}

    def put(self, tp: TP, records: Sequence[Outgoing]) -> None:
        """Take letters about records of an input partition; returns at once."""
        if not records:
            return
        loop = asyncio.get_running_loop()
        box = self._boxes.get(tp)
        if box is None:
            box = self._boxes[tp] = Waiting()
            box.task = loop.create_task(self._empty(tp, box))
            box.patience = loop.call_later(PATIENCE_S, self._tell, tp, box)
        box.put(records, self._clock.monotonic_s())
        if box.size > MAX_UNPAUSED_BYTES:
            loop.call_soon(self._tell, tp, box)

    def waits(self, tp: TP) -> bool:
        """Whether a letter of this partition is not acknowledged yet: its offset must not be stored."""
        return tp in self._boxes

    def stuck(self, tp: TP) -> bool:
        """Whether they have waited for so long that `on_wait` was called."""
        return tp in self._boxes and self._boxes[tp].told

    def kept(self, tps: Iterable[TP]) -> list[tuple[TP, Outgoing]]:
        """The letters of these partitions that wait, in their order."""
        return [(tp, record) for tp in tps if tp in self._boxes for _, record in self._boxes[tp].records]

    async def flushed(self, tp: TP) -> bool:
        """Returns when no letter of this partition waits; false if they were forgotten."""
        box = self._boxes.get(tp)
        if box is None:
            return True
        await box.gone.wait()
        return not box.records

    @property
    def waiting(self) -> dict[TP, int]:
        """How many letters wait, of each partition that has some."""
        return {tp: len(box.records) for tp, box in self._boxes.items()}

    @property
    def oldest_s(self) -> float:
        """How long the oldest one has waited; 0 if none does."""
        now_s = self._clock.monotonic_s()
        return max((now_s - box.records[0][0] for box in self._boxes.values()), default=0.0)

    async def forget(self, tps: Collection[TP]) -> None:
        """Partitions go: whoever has them next reads their records, and refuses them, again."""
        boxes = [box for tp in tps if (box := self._boxes.pop(tp, None)) is not None]
        for box in boxes:
            _end(box)
        await asyncio.gather(*(box.task for box in boxes if box.task is not None), return_exceptions=True)

    async def close(self) -> None:
        """What still waits is forgotten."""
        await self.forget(list(self._boxes))
        await self._post.close()

    async def _empty(self, tp: TP, box: Waiting) -> None:
        pause_s = FIRST_PAUSE_S
        while box.records:
            try:
                box.taken(await self._post.send(box.first()))
                pause_s = FIRST_PAUSE_S
            except Exception as why:  # noqa: BLE001 (whatever it is, the letter waits)
                if pause_s == FIRST_PAUSE_S:
                    what = str(why) or "no more is said"
                    log.warning("%d letters of %s wait: %s: %s", len(box.records), tp, type(why).__name__, what)
                self._tell(tp, box)
                await asyncio.sleep(pause_s * (0.5 + random.random() / 2))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        del self._boxes[tp]
        _end(box)
        if box.told:
            log.warning("the letters of %s are sent", tp)
            self.on_clear(tp)

    def _tell(self, tp: TP, box: Waiting) -> None:
        if not box.told and self._boxes.get(tp) is box:
            box.told = True
            self.on_wait(tp)


def _end(box: Waiting) -> None:
    """Nobody waits for it any more."""
    if box.patience is not None:
        box.patience.cancel()
    if box.task is not None and box.records:
        box.task.cancel()
    box.gone.set()
