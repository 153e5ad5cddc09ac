"""The Desk of a command centre behind one Faust agent over its topics, with its journal.

Inputs of several topics reach the Desk in no fixed order, so each step is journalled with the records it was fed and
acknowledged before anything it decides goes out. Recovery is the newest snapshot and the journal repeated from there:
the same steps make the same outputs, which go out again under a higher epoch for consumers to recognise.

Under the wall clock a chunk is a step. Under the stream clock (a recording being fed) a step is one second of the
recording (`streams.agents.queues`), several of them when it is behind. A worker that catches up after a restart thus
sees tickets and detections in the order in which they came to be, and decides what a replay decides.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import msgspec

from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from models.ticks import tick_us
from models.times import SECOND_US
from rules.incidents.desk import Desk, DeskOutcome
from streams.agents.queues import Part, Queues, Step, kept, pieces
from streams.agents.saving import Save, Saving, by_topic
from streams.city import City
from streams.clock import Clock
from streams.journal import Journal
from streams.publisher import Publisher
from streams.publishing import CENTRE_PARTITION, dead_messages, desk_messages, stray
from streams.settings import Settings
from streams.store import Store
from streams.topics import full_name
from streams.transport import TP, Chunk, Flow, Record

OpenJournal = Callable[[int], Awaitable[Journal]]
PACE = 240
"""Under the stream clock: how many seconds of the recording are decided in one at most. A worker that catches up must
leave those who answer orders the time to do so: at this pace a tenth of a second is 24 of the recording's."""
PUMP_S = 0.05


STEP = msgspec.msgpack.Decoder(Step)


class Opened(NamedTuple):
    """The Desk while its partition is ours."""

    desk: Desk
    journal: Journal
    offsets: dict[str, int]


class DeskAgent:
    def __init__(
        self,
        city: City,
        settings: Settings,
        flow: Flow,
        publisher: Publisher,
        store: Store,
        clock: Clock,
        open_journal: OpenJournal,
    ) -> None:
        self.city, self.settings, self.flow = city, settings, flow
        self.publisher, self.store, self.clock, self.open_journal = publisher, store, clock, open_journal
        self.topics = {full_name(name, settings.topic_prefix): name for name in DESK_TOPICS}
        self.opened: Opened | None = None
        self.queues = self._queues()
        self.lock = asyncio.Lock()
        self.journalled = 0
        self.saving = self._saving()
        self.counts: dict[str, int] = defaultdict(int)

    def _saving(self) -> Saving:
        return Saving(self._snapshot, self.lock, self.clock, self.settings.store_every_s)

    def _queues(self) -> Queues:
        return Queues(
            DESK_TOPICS,
            self.settings.partitions,
            self.settings.topic_prefix,
            {name: self.city.bundle.lateness_of(name) for name in DETECTOR_TOPICS},
        )

    # assignment

    async def assigned(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Take the journal over, load the snapshot, repeat the journal; gives where to go on reading."""
        mine = sorted(full for full in self.topics if TP(full, CENTRE_PARTITION) in tps)
        await self._close()
        if not mine:
            return {}
        journal = await self.open_journal(CENTRE_PARTITION)
        self.opened, self.queues, position = Opened(self.city.desk(), journal, {}), self._queues(), 0
        saved = await self.store.load(f"desk/{CENTRE_PARTITION}")
        if saved is not None:
            blob, meta = saved
            self.opened.desk.restore(blob)
            position = int(str(meta["journal"]))
            self.opened.offsets.update(by_topic(meta["offsets"]))
        self.journalled = position
        async for at, data in journal.read_from(position):
            await self._do(STEP.decode(data), at)
            self.journalled = at + 1
        self.saving = self._saving()
        self.saving.changed = True
        self.queues.done_us = self.opened.desk.now_us
        offsets = self.opened.offsets
        return {TP(full, CENTRE_PARTITION): offsets[self.topics[full]] for full in mine if self.topics[full] in offsets}

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store before the partition goes, and let the journal go."""
        if any(tp.topic in self.topics and tp.partition == CENTRE_PARTITION for tp in tps):
            await self.saving.last()
            await self._close()

    async def _close(self) -> None:
        if self.opened is not None:
            await self.opened.journal.close()
            self.opened = None

    # steps

    async def take(self, chunk: Chunk) -> None:
        """Journal what is due as steps, do them, send what they decide."""
        topic = self.topics[chunk.topic]
        if chunk.partition != CENTRE_PARTITION:
            await self._astray(topic, chunk)
            return
        if self.settings.clock == "stream":
            self.queues.put(topic, chunk)
            return
        async with self.lock:
            records = [kept(r) for r in chunk.records if tick_us(r) is None]
            await self._step(Step([Part([(topic, records)], None)], {topic: chunk.next_offset}))
        await self.saving.when_due()

    async def pump(self) -> None:
        """Under the stream clock, every `PUMP_S`: do what is due, at the pace."""
        async with self.lock:
            if self.opened is not None and self.settings.clock == "stream":
                step = self.queues.due(round(PACE * PUMP_S * SECOND_US))
                if step.parts:
                    await self._step(step)

    async def tick(self) -> None:
        """Once a second: the wall clock is a step of its own; state is stored when it is due."""
        if self.opened is None:
            return
        if self.settings.clock == "wall":
            async with self.lock:
                if self.opened is not None:
                    await self._step(Step([Part([], self.clock.now_us())], {}))
        await self.saving.when_due()

    async def _step(self, step: Step) -> None:
        assert self.opened is not None
        for piece in pieces(step):
            at = await self.opened.journal.append(msgspec.msgpack.encode(piece))
            await self._do(piece, at)
            self.journalled, self.saving.changed = at + 1, True

    async def _do(self, step: Step, at: int) -> None:
        assert self.opened is not None
        desk, letters = self.opened.desk, self.city.letters
        for part in step.parts:
            for topic, group in part.groups:
                records = [Record(o, t, k, v, tuple(h)) for o, t, k, v, h in group]
                outcome = desk.feed(topic, records)
                await self._send(outcome, at)
                await self.publisher.send(dead_messages(outcome.failures, records, topic, CENTRE_PARTITION, letters))
            if part.advance_us is not None:
                await self._send(desk.advance(part.advance_us), at)
        self.opened.offsets.update(step.offsets)

    async def _send(self, outcome: DeskOutcome, at: int) -> None:
        assert self.opened is not None
        await self.publisher.send(desk_messages(outcome.outputs), epoch=self.opened.journal.epoch(), seq=at)
        for name, count in outcome.counts.items():
            self.counts[name] += count

    async def _astray(self, topic: str, chunk: Chunk) -> None:
        """Everything for this command centre belongs on its partition; clock records may stand on any."""
        strays = [stray(n, topic, r.key, chunk.partition) for n, r in enumerate(chunk.records) if tick_us(r) is None]
        await self.publisher.send(dead_messages(strays, chunk.records, topic, chunk.partition, self.city.letters))
        self.counts["dead"] += len(strays)
        self.flow.stored(chunk.tp, chunk.next_offset)

    # state

    def _snapshot(self) -> Save | None:
        """The Desk's state with its place in the journal; when it is stored Kafka may commit up to its offsets."""
        if self.opened is None:
            return None
        desk, journal, offsets = self.opened
        blob, at, offsets = desk.snapshot(), self.journalled, dict(offsets)
        meta: dict[str, object] = {"epoch": journal.epoch(), "journal": at, "offsets": offsets}
        return self._save(journal, blob, meta, offsets)

    async def _save(self, journal: Journal, blob: bytes, meta: dict[str, object], offsets: dict[str, int]) -> None:
        await self.store.save(f"desk/{CENTRE_PARTITION}", blob, meta)
        await journal.trim(int(str(meta["journal"])))
        for full, name in self.topics.items():
            tp = TP(full, CENTRE_PARTITION)
            if name in offsets and tp in self.flow.assigned:
                self.flow.stored(tp, min(offsets[name], self.flow.position(tp) or 0))
