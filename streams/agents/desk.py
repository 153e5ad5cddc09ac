"""The Desk of a command centre behind one Faust agent over its topics, with its journal.

Inputs of several topics reach the Desk in no fixed order, so each step is journalled with the records it was fed and
acknowledged before anything it decides goes out. Recovery is the newest snapshot and the journal repeated from there:
the same steps make the same outputs, which go out again under a higher epoch for consumers to recognise.

Under the wall clock a chunk is a step. Under the stream clock (a recording being fed) a step is one second of the
recording: what each topic holds up to its clock record of that second. A worker that catches up after a restart thus
sees tickets and detections in the order in which they came to be, and decides what a replay decides.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from models.observations import DeadReason, DecodeFailure
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from models.ticks import tick_us
from models.times import BadTime, parse_rfc3339_us
from rules.incidents.desk import Desk, DeskOutcome
from streams.agents.saving import Saving
from streams.city import City
from streams.clock import Clock
from streams.journal import Journal
from streams.publisher import Publisher
from streams.publishing import CENTRE_PARTITION, dead_messages, desk_messages, detector_source
from streams.settings import Settings
from streams.store import Store
from streams.topics import full_name
from streams.transport import TP, Chunk, Flow, Record

OpenJournal = Callable[[int], Awaitable[Journal]]
Kept = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]
Source = tuple[str, str]
"""A topic, and for detections the Detector they come from: what has a clock of its own."""


class Step(msgspec.Struct, array_like=True):
    """What the Desk was fed at once: records by topic, then the clock. `offsets`: where to go on reading after it."""

    groups: list[tuple[str, list[Kept]]]
    offsets: dict[str, int]
    advance_us: int | None


class Opened(NamedTuple):
    """The Desk while its partition is ours."""

    desk: Desk
    journal: Journal
    offsets: dict[str, int]


class Told(msgspec.Struct):
    """What of a detection decides its turn."""

    event_time: str
    detection_id: str
    kind: str
    stage: str | None
    sources: list[str]


TOLD = msgspec.json.Decoder(Told)


class Queues:
    """Under the stream clock: records wait for the second in which they are due.

    A second is due when every source's clock has reached it; the sources are known beforehand, so one that has not
    spoken yet holds the others up. A ticket is due in the second it arrived in; a detection when the watermark of its
    topic has surely passed it, in the order of event time: its place in the log depends on which partition was read
    first.
    """

    def __init__(self, topics: Sequence[str], partitions: int, prefix: str, lateness_us: Mapping[str, int]) -> None:
        self.topics, self.prefix, self.lateness_us = topics, prefix, lateness_us
        detectors = [("detections", f"/{prefix}/{detector_source(p)}") for p in range(partitions)]
        self.clocks_us: dict[Source, int] = dict.fromkeys(
            [*detectors, *((topic, "") for topic in topics if topic != "detections")], 0
        )
        self.waiting: dict[str, deque[Record]] = {topic: deque() for topic in topics if topic != "detections"}
        self.detections: list[tuple[int, str, Record]] = []
        self.next_offset: dict[str, int] = {}

    def put(self, topic: str, chunk: Chunk) -> None:
        for record in chunk.records:
            at_us = tick_us(record)
            if at_us is not None:
                source = self._source(topic, record)
                self.clocks_us[source] = max(self.clocks_us.get(source, 0), at_us)
            if topic != "detections":
                self.waiting[topic].append(record)
            elif at_us is None:
                heappush(self.detections, (*self._turn(record), record))
        self.next_offset[topic] = chunk.next_offset

    @staticmethod
    def _source(topic: str, record: Record) -> Source:
        if topic != "detections":
            return topic, ""
        return topic, next((value.decode() for name, value in record.headers if name == "ce_source"), "")

    def _turn(self, record: Record) -> tuple[int, str]:
        try:
            told = TOLD.decode(record.value or b"")
            lateness_us = max((self.lateness_us.get(topic, 0) for topic in told.sources), default=0)
            at_us = parse_rfc3339_us(told.event_time) + lateness_us
        except (msgspec.DecodeError, BadTime):
            return 0, ""  # a dead letter to be: the Desk says why
        return at_us, f"{told.detection_id}/{KINDS.index(told.kind) if told.kind in KINDS else 9}/{told.stage}"

    def due(self) -> list[Step]:
        """The steps that are due, a second each."""
        until_us, steps = min(self.clocks_us.values()), []
        while (first_us := self._first_tick_us()) is not None and first_us <= until_us:
            steps.append(self._take(first_us))
        return steps

    def _first_tick_us(self) -> int | None:
        firsts = (next((at for r in queue if (at := tick_us(r)) is not None), None) for queue in self.waiting.values())
        return min((at for at in firsts if at is not None), default=None)

    def _take(self, at_us: int) -> Step:
        groups: list[tuple[str, list[Kept]]] = []
        for topic in self.topics:
            taken = self._detections(at_us) if topic == "detections" else self._up_to(self.waiting[topic], at_us)
            if taken:
                groups.append((topic, taken))
        offsets = {topic: self._next(topic, end) for topic, end in self.next_offset.items()}
        return Step(groups, offsets, at_us)

    def _next(self, topic: str, end: int) -> int:
        if topic == "detections":
            return min((record.offset for _, _, record in self.detections), default=end)
        return self.waiting[topic][0].offset if self.waiting[topic] else end

    def _detections(self, at_us: int) -> list[Kept]:
        taken: list[Kept] = []
        while self.detections and self.detections[0][0] <= at_us:
            taken.append(kept(heappop(self.detections)[2]))
        return taken

    @staticmethod
    def _up_to(queue: deque[Record], at_us: int) -> list[Kept]:
        """What stands before the first clock record later than `at_us`; the earlier ones go with it."""
        taken: list[Kept] = []
        while queue and (tick_us(queue[0]) or 0) <= at_us:
            record = queue.popleft()
            tick = tick_us(record)
            if tick is None:
                taken.append(kept(record))
            elif tick == at_us:
                break
        return taken


KINDS = ("raised", "stage", "still", "unknown", "cleared")


def kept(record: Record) -> Kept:
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


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
        self.stored_s = 0.0
        self.dirty = False
        self.saving = Saving()
        self.counts: dict[str, int] = defaultdict(int)

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
            self.opened.offsets.update({str(t): int(at) for t, at in dict(meta["offsets"]).items()})  # type: ignore[call-overload]
        self.journalled = position
        async for at, data in journal.read_from(position):
            await self._do(msgspec.msgpack.decode(data, type=Step), at)
            self.journalled = at + 1
        self.stored_s, self.dirty = self.clock.monotonic_s(), True
        offsets = self.opened.offsets
        return {TP(full, CENTRE_PARTITION): offsets[self.topics[full]] for full in mine if self.topics[full] in offsets}

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store before the partition goes, and let the journal go."""
        if any(tp.topic in self.topics and tp.partition == CENTRE_PARTITION for tp in tps):
            await self.saving.finish()
            await self.store_desk()
            await self.saving.finish()
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
        async with self.lock:
            if self.settings.clock == "stream":
                self.queues.put(topic, chunk)
                for step in self.queues.due():
                    await self._step(step)
            else:
                records = [kept(r) for r in chunk.records if tick_us(r) is None]
                await self._step(Step([(topic, records)], {topic: chunk.next_offset}, None))
        await self._store_when_due()

    async def tick(self) -> None:
        """Once a second: the wall clock is a step of its own; state is stored when it is due."""
        if self.opened is None:
            return
        if self.settings.clock == "wall":
            async with self.lock:
                if self.opened is not None:
                    await self._step(Step([], {}, self.clock.now_us()))
        await self._store_when_due()

    async def _step(self, step: Step) -> None:
        assert self.opened is not None
        at = await self.opened.journal.append(msgspec.msgpack.encode(step))
        await self._do(step, at)
        self.journalled, self.dirty = at + 1, True

    async def _do(self, step: Step, at: int) -> None:
        assert self.opened is not None
        desk, letters = self.opened.desk, self.city.letters
        for topic, group in step.groups:
            records = [Record(o, t, k, v, tuple(h)) for o, t, k, v, h in group]
            outcome = desk.feed(topic, records)
            await self._send(outcome, at)
            await self.publisher.send(dead_messages(outcome.failures, records, topic, CENTRE_PARTITION, letters))
        if step.advance_us is not None:
            await self._send(desk.advance(step.advance_us), at)
        self.opened.offsets.update(step.offsets)

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
        await self.publisher.send(dead_messages(strays, chunk.records, topic, chunk.partition, self.city.letters))
        self.counts["dead"] += len(strays)
        self.flow.stored(chunk.tp, chunk.next_offset)

    # state

    async def _store_when_due(self) -> None:
        if self.clock.monotonic_s() - self.stored_s >= self.settings.store_every_s:
            await self.store_desk()

    async def store_desk(self) -> None:
        """Begin to store the Desk's state with its place in the journal; then Kafka may commit up to its offsets."""
        async with self.lock:
            self.stored_s = self.clock.monotonic_s()
            if self.opened is None or not self.dirty or self.saving.busy:
                return
            desk, journal, offsets = self.opened
            blob, at, offsets, self.dirty = desk.snapshot(), self.journalled, dict(offsets), False
            meta: dict[str, object] = {"epoch": journal.epoch(), "journal": at, "offsets": offsets}
            self.saving.begin(self._save(journal, blob, meta, offsets))

    async def _save(self, journal: Journal, blob: bytes, meta: dict[str, object], offsets: dict[str, int]) -> None:
        await self.store.save(f"desk/{CENTRE_PARTITION}", blob, meta)
        await journal.trim(int(str(meta["journal"])))
        for full, name in self.topics.items():
            tp = TP(full, CENTRE_PARTITION)
            if name in offsets and tp in self.flow.assigned:
                self.flow.stored(tp, min(offsets[name], self.flow.position(tp) or 0))
