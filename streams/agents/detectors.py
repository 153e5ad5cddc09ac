"""The Detectors of this worker, one a partition we hold, behind one Faust agent over all Detector topics.

Order of a chunk: decide (synchronously), send, await the acks, and only then may its offset be stored. State and
offsets are stored together, between chunks; Kafka's committed offset stays behind the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from models.observations import DecodeFailure
from models.streams import DETECTOR_TOPICS
from models.ticks import tick_us
from rules.detection.detector import Detector, LaneOutcome
from streams.agents.saving import Save, Saving, by_topic
from streams.city import City
from streams.clock import Clock
from streams.publisher import Publisher
from streams.publishing import (
    CENTRE_PARTITION,
    dead_messages,
    detection_messages,
    detector_source,
    is_area,
    lane_messages,
    stray,
)
from streams.settings import Settings
from streams.store import Store
from streams.topics import full_name, partition_for
from streams.transport import TP, Chunk, Flow, Records

Ticks = dict[int, int]
"""Which records of a chunk are clock records, and the instants they tell; nearly always none."""


@dataclass(slots=True)
class Held:
    """A partition we hold. The lock keeps a snapshot from falling between a decision and its acks."""

    detector: Detector
    next_offset: dict[str, int]
    ticks_us: dict[str, int]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    saving: Saving = field(init=False)
    good_keys: set[bytes | None] = field(default_factory=set)
    told_us: int = 0


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
            self.held[partition] = held = Held(detector, offsets, ticks_us)
            snapshot = partial(self._snapshot, partition, held)
            held.saving = Saving(snapshot, held.lock, self.clock, self.settings.store_every_s)
            starts |= {TP(full, partition): offsets[name] for full, name in self.topics.items() if name in offsets}
        return starts

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store all before the partitions go."""
        for partition in sorted({tp.partition for tp in tps if tp.topic in self.topics}):
            held = self.held.get(partition)
            if held is not None:
                await held.saving.last()
                self.held.pop(partition, None)

    # records

    async def take(self, chunk: Chunk) -> None:
        """Decide one chunk and send what comes of it."""
        held, topic = self.held[chunk.partition], self.topics[chunk.topic]
        async with held.lock:
            records = all_records = Records.of(chunk.records)
            ticks = clock_records(records)
            strays = self._strays(held, topic, records, ticks, chunk.partition)
            if self.settings.clock == "stream":
                records = arrivals(records, ticks, held.ticks_us.get(topic, 0))
                away = [stray.record for stray in strays]
            else:  # a clock record of somebody's recording must not move a live watermark
                away = [*(stray.record for stray in strays), *ticks]
            if away:
                records = records.without(away)
            outcome = held.detector.feed(topic, records)
            letters = self.city.letters
            messages = lane_messages(outcome, records, topic, chunk.partition, self.settings.centre, letters)
            if strays:
                messages += dead_messages(strays, all_records, topic, chunk.partition, letters)
            if messages:
                await self.publisher.send(messages)
            if ticks and self.settings.clock == "stream":
                await self._pass_on_clock(held, topic, max(ticks.values()), chunk.partition)
            held.next_offset[topic], held.saving.changed = chunk.next_offset, True
        self._count(outcome, len(strays))
        await held.saving.when_due()

    def _count(self, outcome: LaneOutcome, strays: int) -> None:
        counts = self.counts
        counts["used"] += outcome.used
        counts["filtered"] += outcome.filtered
        counts["duplicate"] += outcome.duplicate
        counts["late"] += len(outcome.late)
        counts["dead"] += len(outcome.dead) + strays
        counts["detections"] += len(outcome.detections)
        counts["raised"] += sum(d.kind == "raised" for d in outcome.detections)

    def _strays(self, held: Held, topic: str, records: Records, ticks: Ticks, partition: int) -> list[DecodeFailure]:
        """Records whose key belongs to another partition: no state of theirs is here, so they are dead letters."""
        if held.good_keys.issuperset(records.keys):
            return []
        new = set(records.keys) - held.good_keys
        held.good_keys |= {k for k in new if k is not None and self._is_home(k, partition)}
        bad = new - held.good_keys
        return [
            stray(number, topic, key, partition)
            for number, key in enumerate(records.keys)
            if key in bad and number not in ticks
        ]

    def _is_home(self, key: bytes, partition: int) -> bool:
        return is_area(key) and partition_for(key, self.settings.partitions) == partition

    # clocks

    async def _pass_on_clock(self, held: Held, topic: str, at_us: int, partition: int) -> None:
        """Under the stream clock, tell the Desk how far all lanes of this partition have come."""
        held.ticks_us[topic] = max(held.ticks_us.get(topic, 0), at_us)
        if len(held.ticks_us) == len(self.topics) and min(held.ticks_us.values()) > held.told_us:
            held.told_us = min(held.ticks_us.values())
            source = detector_source(partition)
            await self.publisher.tick("detections", self.settings.centre, CENTRE_PARTITION, held.told_us, source)

    async def tick(self) -> None:
        """Under the wall clock lanes with nothing left to read follow it; dirty state is stored when it is due."""
        for partition, held in list(self.held.items()):
            async with held.lock:
                quiet = [n for full, n in self.topics.items() if self.flow.caught_up(TP(full, partition))]
                if self.settings.clock == "wall" and quiet:
                    detections = held.detector.advance(self.clock.now_us(), quiet)
                    if detections:
                        held.saving.changed = True
                        await self.publisher.send(detection_messages(detections, self.settings.centre, partition))
            await held.saving.when_due()

    # state

    def _snapshot(self, partition: int, held: Held) -> Save | None:
        """State and offsets as they are; when they are stored together Kafka may commit up to the offsets."""
        if self.held.get(partition) is not held:  # it went while its turn to be stored came
            return None
        return self._save(partition, held.detector.snapshot(), dict(held.next_offset), dict(held.ticks_us))

    async def _save(self, partition: int, blob: bytes, offsets: dict[str, int], ticks_us: dict[str, int]) -> None:
        meta: dict[str, object] = {"epoch": 0, "offsets": offsets, "ticks_us": ticks_us}
        await self.store.save(f"detector/{partition}", blob, meta)
        for full, name in self.topics.items():
            if name in offsets and TP(full, partition) in self.flow.assigned:
                self.flow.stored(TP(full, partition), offsets[name])


def clock_records(records: Records) -> Ticks:
    """The clock records among them."""
    if None not in records.values:
        return {}
    return {
        number: at_us
        for number, value in enumerate(records.values)
        if value is None and (at_us := tick_us(records[number])) is not None
    }


def arrivals(records: Records, ticks: Ticks, at_us: int) -> Records:
    """Under the stream clock a record arrived when its partition's clock says, whenever the broker took it."""
    now_ms, done, arrived = at_us // 1000, 0, list[int]()
    for number, tick in [*ticks.items(), (len(records), 0)]:
        arrived += [now_ms] * (number - done) if now_ms else records.timestamps[done:number]
        now_ms, done = max(now_ms, tick // 1000), number
    return records.arrived(arrived)
