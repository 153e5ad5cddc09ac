"""The Detectors of this worker, one a partition we hold, behind one Faust agent over all Detector topics.

Order of a chunk: decide (synchronously), send, await the acks, and only then may its offset be stored. State and
offsets are stored together, between chunks; Kafka's committed offset stays behind the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.observations import DeadReason, DecodeFailure
from models.streams import DETECTOR_TOPICS
from models.ticks import tick_us
from rules.detection.detector import Detector
from streams.agents.saving import Saving, by_topic
from streams.city import City
from streams.clock import Clock
from streams.publisher import Publisher
from streams.publishing import (
    CENTRE_PARTITION,
    Message,
    dead_messages,
    detection_messages,
    detector_source,
    lane_messages,
)
from streams.settings import Settings
from streams.store import Store
from streams.topics import full_name, partition_for
from streams.transport import TP, Chunk, Flow, Record


@dataclass(slots=True)
class Held:
    """A partition we hold. The lock keeps a snapshot from falling between a decision and its acks."""

    detector: Detector
    next_offset: dict[str, int]
    stored_s: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    good_keys: set[bytes | None] = field(default_factory=set)
    ticks_us: dict[str, int] = field(default_factory=dict)
    told_us: int = 0
    dirty: bool = False
    saving: Saving = field(default_factory=Saving)


class DetectorAgent:
    def __init__(
        self, city: City, settings: Settings, flow: Flow, publisher: Publisher, store: Store, clock: Clock
    ) -> None:
        self.city, self.settings, self.flow = city, settings, flow
        self.publisher, self.store, self.clock = publisher, store, clock
        self.held: dict[int, Held] = {}
        self.counts: dict[str, int] = defaultdict(int)
        self.topics = {full_name(name, settings.topic_prefix): name for name in DETECTOR_TOPICS}

    # assignment

    async def assigned(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Load the state of each partition we were given; gives where to go on reading."""
        self.held = {}
        starts: dict[TP, int] = {}
        for partition in sorted({tp.partition for tp in tps if tp.topic in self.topics}):
            detector, offsets, ticks_us = self.city.detector(partition), {}, {}
            saved = await self.store.load(f"detector/{partition}")
            if saved is not None:
                blob, meta = saved
                detector.restore(blob)
                offsets, ticks_us = by_topic(meta["offsets"]), by_topic(meta.get("ticks_us", {}))
            self.held[partition] = Held(detector, offsets, self.clock.monotonic_s(), ticks_us=ticks_us)
            starts |= {TP(full, partition): offsets[name] for full, name in self.topics.items() if name in offsets}
        return starts

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store all before the partitions go."""
        for partition in sorted({tp.partition for tp in tps if tp.topic in self.topics}):
            held = self.held.get(partition)
            if held is not None:
                await held.saving.finish()
                await self.store_partition(partition)
                await held.saving.finish()
                self.held.pop(partition, None)

    # records

    async def take(self, chunk: Chunk) -> None:
        """Decide one chunk and send what comes of it."""
        held, topic = self.held[chunk.partition], self.topics[chunk.topic]
        async with held.lock:
            records, strays = self._strays(held, topic, chunk)
            if self.settings.clock == "stream":
                records = self._arrivals(held, topic, records)
            else:  # a clock record of somebody's recording must not move a live watermark
                records = [r for r in records if r.value is not None or tick_us(r) is None]
            outcome = held.detector.feed(topic, records)
            letters = self.city.letters
            messages = [
                *lane_messages(outcome, records, topic, chunk.partition, self.settings.centre, letters),
                *dead_messages(strays, chunk.records, topic, chunk.partition, letters),
            ]
            await self.publisher.send(messages)
            await self._pass_on_clock(held, topic, chunk)
            held.next_offset[topic], held.dirty = chunk.next_offset, True
        for name in ("used", "filtered", "duplicate"):
            self.counts[name] += getattr(outcome, name)
        self.counts["late"] += len(outcome.late)
        self.counts["dead"] += len(outcome.dead) + len(strays)
        self.counts["detections"] += len(outcome.detections)
        self.counts["raised"] += sum(d.kind == "raised" for d in outcome.detections)
        if self.clock.monotonic_s() - held.stored_s >= self.settings.store_every_s:
            await self.store_partition(chunk.partition)

    def _strays(self, held: Held, topic: str, chunk: Chunk) -> tuple[list[Record], list[DecodeFailure]]:
        """Records whose key belongs to another partition: no state of theirs is here, so they are dead letters."""
        good, strays = held.good_keys, []
        for number, record in enumerate(chunk.records):
            if record.key in good or (record.value is None and tick_us(record) is not None):
                continue
            if record.key is not None and partition_for(record.key, self.settings.partitions) == chunk.partition:
                good.add(record.key)
                continue
            found = "no key" if record.key is None else "a key of another partition"
            detail = f"expected a key that murmur2 puts on partition {chunk.partition}, found {found}"
            strays.append(DecodeFailure(number, "route", DeadReason.WRONG_PARTITION, "$", detail))
        if not strays:
            return list(chunk.records), strays
        away = {s.record for s in strays}
        return [r for n, r in enumerate(chunk.records) if n not in away], strays

    # clocks

    @staticmethod
    def _arrivals(held: Held, topic: str, records: Sequence[Record]) -> list[Record]:
        """Under the stream clock a record arrived when its partition's clock says, whenever the broker took it."""
        arrived, now_ms = [], held.ticks_us.get(topic, 0) // 1000
        for record in records:
            at_us = tick_us(record)
            if at_us is not None:
                now_ms = max(now_ms, at_us // 1000)
            arrived.append(record._replace(timestamp=now_ms) if now_ms else record)
        return arrived

    async def _pass_on_clock(self, held: Held, topic: str, chunk: Chunk) -> None:
        """Under the stream clock, tell the Desk how far all lanes of this partition have come."""
        if self.settings.clock != "stream":
            return
        ticks = [at for record in chunk.records if (at := tick_us(record)) is not None]
        if not ticks:
            return
        held.ticks_us[topic] = max(held.ticks_us.get(topic, 0), *ticks)
        if len(held.ticks_us) == len(self.topics) and min(held.ticks_us.values()) > held.told_us:
            held.told_us = min(held.ticks_us.values())
            source = detector_source(chunk.partition)
            await self.publisher.tick("detections", self.settings.centre, CENTRE_PARTITION, held.told_us, source)

    async def tick(self) -> None:
        """Under the wall clock lanes with nothing left to read follow it; dirty state is stored when it is due."""
        for partition, held in list(self.held.items()):
            async with held.lock:
                quiet = [n for full, n in self.topics.items() if self.flow.caught_up(TP(full, partition))]
                if self.settings.clock == "wall" and quiet:
                    detections = held.detector.advance(self.clock.now_us(), quiet)
                    held.dirty = held.dirty or bool(detections)
                    messages: list[Message] = detection_messages(detections, self.settings.centre, partition)
                    await self.publisher.send(messages)
            if self.clock.monotonic_s() - held.stored_s >= self.settings.store_every_s:
                await self.store_partition(partition)

    # state

    async def store_partition(self, partition: int) -> None:
        """Begin to store state and offsets together; when that is done Kafka may commit up to them."""
        held = self.held.get(partition)
        if held is None:  # it went while its turn to be stored came
            return
        async with held.lock:
            held.stored_s = self.clock.monotonic_s()
            if not held.dirty or held.saving.busy:
                return
            blob, offsets, held.dirty = held.detector.snapshot(), dict(held.next_offset), False
            held.saving.begin(self._save(partition, blob, offsets, dict(held.ticks_us)))

    async def _save(self, partition: int, blob: bytes, offsets: dict[str, int], ticks_us: dict[str, int]) -> None:
        meta: dict[str, object] = {"epoch": 0, "offsets": offsets, "ticks_us": ticks_us}
        await self.store.save(f"detector/{partition}", blob, meta)
        for full, name in self.topics.items():
            if name in offsets and TP(full, partition) in self.flow.assigned:
                self.flow.stored(TP(full, partition), offsets[name])
