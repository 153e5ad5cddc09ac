"""The Desk of a command centre behind one Faust agent over its topics, with its journal.

Inputs of several topics reach the Desk in no fixed order, so each step is journalled with the records it was fed and
acknowledged before anything it decides goes out. Recovery is the newest snapshot and the journal repeated from there:
the same steps make the same outputs, which go out again under a higher epoch for consumers to recognise.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from models.observations import DeadReason, DecodeFailure
from models.streams import DESK_TOPICS
from rules.detection.detector import tick_us
from rules.incidents.desk import Desk, DeskOutcome
from streams.city import City
from streams.clock import Clock
from streams.journal import Journal
from streams.publisher import Publisher
from streams.publishing import CENTRE_PARTITION, dead_messages, desk_messages
from streams.settings import Settings
from streams.store import Store
from streams.topics import full_name
from streams.transport import TP, Chunk, Flow, Record

OpenJournal = Callable[[int], Awaitable[Journal]]


class Step(msgspec.Struct, array_like=True):
    """What the Desk was fed at once: records of one topic, then the clock."""

    topic: str | None
    records: list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]]
    next_offset: int
    advance_us: int | None


class Opened(NamedTuple):
    """The Desk while its partition is ours."""

    desk: Desk
    journal: Journal
    offsets: dict[str, int]


class DeskAgent:
    def __init__(
        self, city: City, settings: Settings, flow: Flow, publisher: Publisher, store: Store, clock: Clock,
        open_journal: OpenJournal,
    ) -> None:  # fmt: skip
        self.city, self.settings, self.flow = city, settings, flow
        self.publisher, self.store, self.clock, self.open_journal = publisher, store, clock, open_journal
        self.topics = {full_name(name, settings.topic_prefix): name for name in DESK_TOPICS}
        self.opened: Opened | None = None
        self.lock = asyncio.Lock()
        self.journalled = 0
        self.stored_s = 0.0
        self.dirty = False
        self.told_us = 0
        self.clocks_us: dict[tuple[str, int], int] = {}
        self.counts: dict[str, int] = defaultdict(int)

    # assignment

    async def assigned(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Take the journal over, load the snapshot, repeat the journal; gives where to go on reading."""
        mine = sorted(full for full in self.topics if TP(full, CENTRE_PARTITION) in tps)
        await self._close()
        if not mine:
            return {}
        journal = await self.open_journal(CENTRE_PARTITION)
        self.opened = Opened(self.city.desk(), journal, {})
        position = 0
        saved = await self.store.load(f"desk/{CENTRE_PARTITION}")
        if saved is not None:
            blob, meta = saved
            self.opened.desk.restore(blob)
            position = int(str(meta["journal"]))
            self.opened.offsets.update({str(t): int(at) for t, at in dict(meta["offsets"]).items()})  # type: ignore[call-overload]
        async for at, data in journal.read_from(position):
            await self._do(msgspec.msgpack.decode(data, type=Step), at)
            self.journalled = at + 1
        self.journalled = max(self.journalled, position)
        self.stored_s, self.dirty = self.clock.monotonic_s(), True
        offsets = self.opened.offsets
        return {TP(full, CENTRE_PARTITION): offsets[self.topics[full]] for full in mine if self.topics[full] in offsets}

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store before the partition goes, and let the journal go."""
        if any(tp.topic in self.topics and tp.partition == CENTRE_PARTITION for tp in tps):
            await self.store_desk()
            await self._close()

    async def _close(self) -> None:
        if self.opened is not None:
            await self.opened.journal.close()
            self.opened = None

    # steps

    async def take(self, chunk: Chunk) -> None:
        """Journal one chunk as a step, do it, send what it decides."""
        topic = self.topics[chunk.topic]
        if chunk.partition != CENTRE_PARTITION:
            await self._astray(topic, chunk)
            return
        async with self.lock:
            records = [r for r in chunk.records if tick_us(r) is None]
            advance_us = self._clock(topic, chunk.records)
            if records or advance_us is not None:
                raw = [(r.offset, r.timestamp_ms, r.key, r.value, list(r.headers)) for r in records]
                await self._step(Step(topic, raw, chunk.next_offset, advance_us))
            elif self.opened is not None:
                self.opened.offsets[topic] = chunk.next_offset
        await self._store_when_due()

    async def tick(self) -> None:
        """Once a second: the wall clock is a step of its own; state is stored when it is due."""
        if self.opened is None:
            return
        if self.settings.clock == "wall":
            async with self.lock:
                if self.opened is not None:
                    await self._step(Step(None, [], 0, self.clock.now_us()))
        await self._store_when_due()

    async def _step(self, step: Step) -> None:
        assert self.opened is not None
        at = await self.opened.journal.append(msgspec.msgpack.encode(step))
        await self._do(step, at)
        self.journalled, self.dirty = at + 1, True

    async def _do(self, step: Step, at: int) -> None:
        assert self.opened is not None
        desk, letters = self.opened.desk, self.city.letters
        if step.topic is not None:
            records = [Record(o, t, k, v, tuple(h)) for o, t, k, v, h in step.records]
            outcome = desk.feed(step.topic, records)
            await self._send(outcome, at)
            await self.publisher.send(dead_messages(outcome.failures, records, step.topic, CENTRE_PARTITION, letters))
            self.opened.offsets[step.topic] = step.next_offset
        if step.advance_us is not None:
            await self._send(desk.advance(step.advance_us), at)

    async def _send(self, outcome: DeskOutcome, at: int) -> None:
        assert self.opened is not None
        await self.publisher.send(desk_messages(outcome.outputs), epoch=self.opened.journal.epoch(), seq=at)
        for name, count in outcome.counts.items():
            self.counts[name] += count

    async def _astray(self, topic: str, chunk: Chunk) -> None:
        """Everything for this command centre belongs on its partition; clock records may stand on any."""
        strays = [
            DecodeFailure(n, "route", DeadReason.WRONG_PARTITION, "$", f"expected partition {CENTRE_PARTITION}")
            for n, r in enumerate(chunk.records)
            if tick_us(r) is None
        ]
        await self.publisher.send(
            dead_messages(strays, chunk.records, topic, chunk.partition, self.city.letters)
        )
        self.counts["dead"] += len(strays)
        self.flow.stored(chunk.tp, chunk.next_offset)

    def _clock(self, topic: str, records: Sequence[Record]) -> int | None:
        """Under the stream clock the Desk's time is the slowest of its inputs', Detectors' partitions included."""
        if self.settings.clock != "stream":
            return None
        for record in records:
            at_us = tick_us(record)
            if at_us is not None:
                partition = next((int(v) for name, v in record.headers if name == "zhinao_partition"), 0)
                self.clocks_us[topic, partition] = max(at_us, self.clocks_us.get((topic, partition), 0))
        expected = len(self.topics) - 1 + self.settings.partitions
        if len(self.clocks_us) < expected:
            return None
        now_us = min(self.clocks_us.values())
        if now_us <= self.told_us:
            return None
        self.told_us = now_us
        return now_us

    # state

    async def _store_when_due(self) -> None:
        if self.clock.monotonic_s() - self.stored_s >= self.settings.store_every_s:
            await self.store_desk()

    async def store_desk(self) -> None:
        """The Desk's state with its place in the journal; then Kafka may commit up to the offsets it holds."""
        async with self.lock:
            self.stored_s = self.clock.monotonic_s()
            if self.opened is None or not self.dirty:
                return
            desk, journal, offsets = self.opened
            blob, at, offsets, self.dirty = desk.snapshot(), self.journalled, dict(offsets), False
            meta = {"epoch": journal.epoch(), "journal": at, "offsets": offsets}
            await self.store.save(f"desk/{CENTRE_PARTITION}", blob, meta)
            await journal.trim(at)
        for full, name in self.topics.items():
            tp = TP(full, CENTRE_PARTITION)
            if name in offsets and tp in self.flow.assigned:
                self.flow.stored(tp, min(offsets[name], self.flow.position(tp) or 0))
