"""What waits before the Desk under the stream clock, and in which second of the recording it is due.

A second is due when every recorded source's clock has reached it; the sources are known beforehand, so one that has not
spoken yet holds the others up. A ticket is due in the second it arrived in; a detection when the watermark of its topic
has surely passed it, in the order of event time: its place in the log depends on which partition was read first.
Feedback and commands come from whoever answers now, not from the recording: they are due at the time they bear, or at
once where that has passed, wherever they stand among the clock records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from models.columns import RawRecord
from models.faults import MAX_BYTES
from models.ticks import tick_us
from models.times import BadTime, parse_rfc3339_us, parse_time_us
from streams.publishing import detector_source
from streams.transport import Chunk, Record

ANSWERS = ("dispatch.feedback", "commands")
TURNED = (*ANSWERS, "detections")
"""Topics whose records are due in another order than that of their offsets."""
KINDS = ("raised", "stage", "still", "unknown", "cleared")
STEP_BYTES = 1 << 20
"""Of records in a step, unless one alone is larger. The journal's topic takes four times that."""
KEPT_BYTES, KEPT_HEADERS = 4096, 64
Kept = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]
Source = tuple[str, str]
"""A topic, and for detections the Detector they come from: what has a clock of its own."""


class Part(msgspec.Struct, array_like=True):
    """What the Desk is fed at once: records by topic, then the clock."""

    groups: list[tuple[str, list[Kept]]]
    advance_us: int | None


class Step(NamedTuple):
    """Parts in their order, and where each topic goes on after them. `bundle`: from here on this one, by its digest,
    decides; such a step has no parts."""

    parts: list[Part]
    offsets: dict[str, int]
    bundle: str = ""


class Told(msgspec.Struct):
    """What of a detection decides its turn."""

    event_time: str
    detection_id: str
    kind: str
    stage: str | None
    sources: list[str]


class Stamped(msgspec.Struct):
    """When an answer says it was given."""

    time: int | str


TOLD = msgspec.json.Decoder(Told)
STAMPED = msgspec.json.Decoder(Stamped)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadTime)
"""What is wrong with a dead letter to be: it has its turn at once, and the Desk says why."""


def kept(record: RawRecord) -> Kept:
    """A record as the journal keeps it: of one that is too large, as much as shows that it is; of key and headers, what
    a dead letter would show."""
    key, value = record.key, record.value
    headers = [(name, value) for name, value in record.headers if len(name) + len(value) <= KEPT_BYTES]
    return (
        record.offset,
        record.timestamp,
        None if key is None else key[:KEPT_BYTES],
        None if value is None else value[: MAX_BYTES + 1],
        headers[:KEPT_HEADERS],
    )


def pieces(step: Step) -> Iterator[Step]:
    """The same in steps that the journal can hold. Where to go on afterwards, only the last one says: who comes back
    before it reads some records again, which the Desk knows."""
    done: list[Part] = []
    room = STEP_BYTES
    for part in step.parts:
        groups: list[tuple[str, list[Kept]]] = []
        for topic, records in part.groups:
            start = 0
            for number, record in enumerate(records):
                size = kept_bytes(record)
                if size > room and room < STEP_BYTES:
                    before = [(topic, records[start:number])] if number > start else []
                    yield Step([*done, Part([*groups, *before], None)], {})
                    done, groups, start, room = [], [], number, STEP_BYTES
                room -= size
            groups.append((topic, records[start:]))
        done.append(Part(groups, part.advance_us))
    yield Step(done, step.offsets)


def kept_bytes(record: Kept) -> int:
    """About what the journal takes for it."""
    _, _, key, value, headers = record
    return 64 + len(key or b"") + len(value or b"") + sum(16 + len(name) + len(text) for name, text in headers)


class Queues:
    """`lateness_us` by Detector topic. What waits is as much as the fastest source is ahead of the slowest; only a
    recording that is being fed comes here, so that is at most the recording."""

    def __init__(self, topics: Sequence[str], partitions: int, prefix: str, lateness_us: Mapping[str, int]) -> None:
        self.topics, self.lateness_us = topics, lateness_us
        recorded = [topic for topic in topics if topic not in ANSWERS and topic != "detections"]
        detectors = [("detections", f"/{prefix}/{detector_source(p)}") for p in range(partitions)]
        self.clocks_us: dict[Source, int] = dict.fromkeys([*detectors, *((topic, "") for topic in recorded)], 0)
        self.waiting: dict[str, deque[Record]] = {topic: deque() for topic in recorded}
        self.answers: list[tuple[int, str, int, Record]] = []
        self.detections: list[tuple[int, str, int, Record]] = []
        self.next_offset: dict[str, int] = {}
        self.beyond: Mapping[str, frozenset[int]] = {}
        """By topic: offsets that are read again because others before them waited, and were done then."""
        self.done_us = 0

    def put(self, topic: str, chunk: Chunk) -> list[Record]:
        """Take what was fetched; gives those of it that were done before."""
        beyond = self.beyond.get(topic, frozenset())
        for record in chunk.records:
            at_us = tick_us(record)
            if at_us is not None:
                source = (topic, _source(record) if topic == "detections" else "")
                if source in self.clocks_us:
                    self.clocks_us[source] = max(self.clocks_us[source], at_us)
            if record.offset in beyond:
                continue
            if topic in self.waiting:
                self.waiting[topic].append(record)
            elif topic == "detections":  # clock records wait too: who goes on from here later must read them again
                turn = self._turn(record) if at_us is None else (at_us, "")
                heappush(self.detections, (*turn, record.offset, record))
            elif at_us is None:
                heappush(self.answers, (_stamp(record), topic, record.offset, record))
        self.next_offset[topic] = chunk.next_offset
        return [record for record in chunk.records if record.offset in beyond]

    def due(self, most_us: int) -> Step:
        """All that is due, a part a second; at most `most_us` of the recording's time beyond what was done."""
        until_us, parts = min(self.clocks_us.values()), list[Part]()
        since_us = self.done_us or self._first_tick_us()
        if since_us is not None:
            until_us = min(until_us, since_us + most_us)
        answers = self._answers(self.done_us)
        if answers:
            parts.append(Part(answers, None))
        while (tick := self._first_tick_us()) is not None and tick <= until_us:
            parts.append(self._second(tick))
        return Step(parts, {topic: self._next(topic, end) for topic, end in self.next_offset.items()})

    def _answers(self, at_us: int) -> list[tuple[str, list[Kept]]]:
        groups: dict[str, list[Kept]] = {}
        while self.answers and self.answers[0][0] <= at_us:
            _, topic, _, record = heappop(self.answers)
            groups.setdefault(topic, []).append(kept(record))
        return sorted(groups.items())

    def _turn(self, record: Record) -> tuple[int, str]:
        """When its watermark has passed, and not in a second that its Detector had already finished."""
        try:
            told = TOLD.decode(record.value or b"")
            lateness_us = max((self.lateness_us.get(topic, 0) for topic in told.sources), default=0)
            at_us = parse_rfc3339_us(told.event_time) + lateness_us
        except UNREADABLE:
            return 0, ""
        kind = KINDS.index(told.kind) if told.kind in KINDS else len(KINDS)
        at_us = max(at_us, self.clocks_us.get(("detections", _source(record)), 0) + 1)
        return at_us, f"{told.detection_id}/{kind}/{told.stage}"

    def _first_tick_us(self) -> int | None:
        firsts = (next((at for r in queue if (at := tick_us(r)) is not None), None) for queue in self.waiting.values())
        return min((at for at in firsts if at is not None), default=None)

    def _second(self, at_us: int) -> Part:
        groups: list[tuple[str, list[Kept]]] = []
        for topic in self.topics:
            taken: list[Kept] = []
            if topic == "detections":
                taken = self._detections(at_us)
            elif topic in self.waiting:
                taken = _up_to(self.waiting[topic], at_us)
            if taken:
                groups.append((topic, taken))
        self.done_us = max(self.done_us, at_us)
        return Part([*groups, *self._answers(at_us)], at_us)

    def _detections(self, at_us: int) -> list[Kept]:
        taken: list[Kept] = []
        while self.detections and self.detections[0][0] <= at_us:
            record = heappop(self.detections)[3]
            if tick_us(record) is None:
                taken.append(kept(record))
        return taken

    def _next(self, topic: str, end: int) -> int:
        """The first record of a topic that still waits, else the end of what was fetched."""
        if topic == "detections":
            return min((record.offset for *_, record in self.detections), default=end)
        if topic in ANSWERS:
            return min((record.offset for _, name, _, record in self.answers if name == topic), default=end)
        waiting = self.waiting.get(topic)
        return waiting[0].offset if waiting else end


def _stamp(record: Record) -> int:
    try:
        return parse_time_us(STAMPED.decode(record.value or b"").time)
    except UNREADABLE:
        return 0


def _source(record: Record) -> str:
    return next((value.decode("utf-8", "replace") for name, value in record.headers if name == "ce_source"), "")


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
