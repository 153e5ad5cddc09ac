"""The whole core over a recording, without a broker, on the recording's own clock: deterministic to the byte.

Arrival times are cut in slices of 100 ms; what arrived within one is fed together, as a worker would find it, and what
comes out bears the time of the slice's last arrival. Once a second of recording time every lane and the Desk are told
the clock. The same doors as the worker's; nothing here decides anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.incidents import Incident
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from rules.crews import Crews
from rules.detection.detector import Detector
from rules.incidents.desk import BINS, DeskOutcome
from streams.city import City
from streams.publishing import (
    CENTRE_PARTITION,
    Message,
    dead_messages,
    desk_messages,
    detection_messages,
    is_area,
    lane_letters,
    state_messages,
    stray,
)
from streams.recording import RecordedLine
from streams.topics import partition_for

SLICE_MS = 100
TICK_MS = 1000


class Fed(NamedTuple):
    """A record as the core reads it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Summary:
    """What a replay saw and made, for its last line."""

    records: int = 0
    bins: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    newest: dict[str, Incident] = field(default_factory=dict)

    def data(self) -> dict[str, object]:
        """As JSON: records in, the one bin of each, what the Desk counted besides, incidents by newest state, how many
        found no department."""
        states = Counter(str(i.state) for i in self.newest.values())
        return {
            "observations": self.records,
            "bins": dict(sorted(self.bins.items())),
            "noted": dict(sorted(self.noted.items())),
            "not_read": dict(sorted(self.unread.items())),
            "published": dict(sorted(self.published.items())),
            "incidents": len(self.newest),
            "incidents_by_state": dict(sorted(states.items())),
            "unassigned": sum(i.reason == "unassigned" for i in self.newest.values()),
        }


class Replay:
    """One run of one city over one recording. `crews` answer the orders when given."""

    def __init__(self, city: City, *, partitions: int, crews: Crews | None = None) -> None:
        self.city, self.partitions, self.crews = city, partitions, crews
        self.detectors: dict[int, Detector] = {}
        self.desk = city.desk()
        self.offsets: dict[tuple[str, int], int] = defaultdict(int)
        self.summary = Summary()
        self.waiting: dict[tuple[str, int], list[Fed]] = {}
        self.astray: dict[tuple[str, int], list[Fed]] = {}
        self.clock_ms: int | None = None
        self.ticked_ms = 0

    def run(self, lines: Iterable[RecordedLine], *, drain_ms: int = 0) -> Iterator[RecordedLine]:
        """Everything that would be published, as a recording. After the last line the clock goes on for `drain_ms`."""
        for line in lines:
            yield from self._until(line.timestamp_ms)
            if line.topic is not None:
                self._hold(line)
        if self.clock_ms is not None:
            end_ms = self.clock_ms + drain_ms
            yield from self._stamped(self._flush())
            yield from self._ticks(end_ms)

    # the clock

    def _until(self, at_ms: int) -> Iterator[RecordedLine]:
        """Move the clock to `at_ms`; it never goes back."""
        if self.clock_ms is None:
            self.clock_ms, self.ticked_ms = at_ms, at_ms - at_ms % TICK_MS
        if at_ms // SLICE_MS > self.clock_ms // SLICE_MS:
            yield from self._stamped(self._flush())
            yield from self._ticks(at_ms)
        self.clock_ms = max(self.clock_ms, at_ms)

    def _ticks(self, upto_ms: int) -> Iterator[RecordedLine]:
        """The ticks up to a time, without those between at which nothing falls due: a recording may be silent for
        months."""
        last_ms = upto_ms - upto_ms % TICK_MS
        while self.ticked_ms < last_ms:
            self.ticked_ms = max(self.ticked_ms, min(self._due_ms(last_ms), last_ms) - TICK_MS)
            yield from self._tick()

    def _due_ms(self, at_most_ms: int) -> int:
        """The tick at which something may fall due next."""
        next_us = [self.desk.next_us(), *(detector.next_us() for detector in self.detectors.values())]
        if self.crews is not None:
            next_us.append(self.crews.next_us())
        due_us = min((at for at in next_us if at is not None), default=None)
        return at_most_ms if due_us is None else -(-due_us // (TICK_MS * 1000)) * TICK_MS

    def _tick(self) -> Iterator[RecordedLine]:
        self.ticked_ms += TICK_MS
        self.clock_ms = max(self.clock_ms or 0, self.ticked_ms)
        now_us = self.ticked_ms * 1000
        messages: list[Message] = []
        for partition in sorted(self.detectors):
            detector = self.detectors[partition]
            told = detection_messages(detector.advance(now_us), self.city.centre, partition)
            messages += state_messages(detector.states(), partition)
            messages += told + self._to_desk("detections", told)
        messages += self._desk(self.desk.advance(now_us))
        messages += self._crews_turn(now_us)
        yield from self._stamped(messages)

    def _stamped(self, messages: Sequence[Message]) -> Iterator[RecordedLine]:
        for m in messages:
            self.summary.published[m.topic] += 1
            yield RecordedLine(m.topic, m.key.encode(), self.clock_ms or 0, m.value, (("ce_id", m.id.encode()),))

    # records

    def _hold(self, line: RecordedLine) -> None:
        """Put a line where its slice is gathered, on the partition a producer would choose."""
        assert line.topic is not None
        self.summary.records += 1
        if line.topic not in DETECTOR_TOPICS and line.topic not in DESK_TOPICS:
            self.summary.unread[line.topic] += 1
            return
        home = self._home(line)
        partition = self._partition(line, home)
        place = (line.topic, partition)
        record = Fed(self.offsets[place], line.timestamp_ms, line.key, line.value, line.headers)
        self.offsets[place] += 1
        fit = partition == home and (line.topic in DESK_TOPICS or is_area(line.key or b""))
        waiting = self.waiting if fit else self.astray
        waiting.setdefault(place, []).append(record)

    def _home(self, line: RecordedLine) -> int | None:
        """The partition where a record of a topic and key is read."""
        if line.topic in DESK_TOPICS:
            return CENTRE_PARTITION
        return None if line.key is None else partition_for(line.key, self.partitions)

    def _partition(self, line: RecordedLine, home: int | None) -> int:
        """Where it was sent; of a recording of more partitions than there are here, where it would be."""
        if line.partition is None or line.partition >= self.partitions:
            return home or 0
        return line.partition

    def _flush(self) -> list[Message]:
        """Feed what the slice gathered: Detectors first, then what the Desk reads itself."""
        waiting, self.waiting = self.waiting, {}
        messages = self._let_go()
        for (topic, partition), records in sorted(waiting.items()):
            if topic in DETECTOR_TOPICS:
                messages += self._detect(topic, partition, records)
        for (topic, _), records in sorted(waiting.items()):
            if topic not in DETECTOR_TOPICS:
                messages += self._feed_desk(topic, records, recorded=True)
        return messages

    def _let_go(self) -> list[Message]:
        """The dead letters of what stood on another partition than its own."""
        astray, self.astray = self.astray, {}
        messages: list[Message] = []
        for (topic, partition), records in sorted(astray.items()):
            strays = [stray(number, topic, record.key, partition) for number, record in enumerate(records)]
            messages += dead_messages(strays, records, topic, partition, self.city.letters)
            self.summary.bins["dead"] += len(strays)
        return messages

    def new_detector(self, partition: int) -> Detector:
        return self.city.detector(partition)

    def _detect(self, topic: str, partition: int, records: list[Fed]) -> list[Message]:
        detector = self.detectors.get(partition)
        if detector is None:
            detector = self.detectors[partition] = self.new_detector(partition)
        outcome = detector.feed(topic, records)
        self.summary.bins.update(
            used=outcome.used,
            filtered=outcome.filtered,
            duplicate=outcome.duplicate,
            late=len(outcome.late),
            dead=len(outcome.dead),
        )
        messages = detection_messages(outcome.detections, self.city.centre, partition)
        messages += state_messages(detector.states(), partition)
        messages += lane_letters(outcome, records, topic, partition, self.city.letters)
        return messages + self._to_desk("detections", [m for m in messages if m.topic == "detections"])

    # the Desk

    def _to_desk(self, topic: str, messages: Sequence[Message]) -> list[Message]:
        place = (topic, CENTRE_PARTITION)
        records = []
        for m in messages:
            records.append(Fed(self.offsets[place], self.clock_ms or 0, m.key.encode(), m.value))
            self.offsets[place] += 1
        return self._feed_desk(topic, records) if records else []

    def _feed_desk(self, topic: str, records: list[Fed], *, recorded: bool = False) -> list[Message]:
        """`recorded`: they are lines of the recording, and not what was made of them."""
        outcome = self.desk.feed(topic, records)
        if recorded:
            self.summary.bins.update({name: outcome.counts.get(name, 0) for name in BINS})
        self.summary.noted.update({name: n for name, n in outcome.counts.items() if name not in BINS})
        letters = self.city.letters
        return self._desk(outcome) + dead_messages(outcome.failures, records, topic, CENTRE_PARTITION, letters)

    def _desk(self, outcome: DeskOutcome) -> list[Message]:
        for output in outcome.outputs:
            if isinstance(output.value, Incident):
                self.summary.newest[output.value.incident_id] = output.value
        if self.crews is not None:
            self.crews.see(outcome.outputs)
        return desk_messages(outcome.outputs)

    def _crews_turn(self, now_us: int) -> list[Message]:
        if self.crews is None:
            return []
        messages: list[Message] = []
        for topic, key, value in self.crews.advance(now_us):
            answer = Message(topic, key, value, "")
            messages += self._to_desk(topic, [answer])
        return messages
