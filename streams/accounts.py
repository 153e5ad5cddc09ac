"""Every record that was fetched ends in exactly one bin, or is on its way: kept up while the worker runs.

    entered = used + filtered + duplicate + late + dead + clock + canary + in flight

Held for each topic-partition and minute of arrival, by count and by the XOR of a 64-bit mix of the offsets. Entry is
counted in the transport, the bins by the agents from what the cores answer, so neither side can take the other's word.
A record lost, counted twice or in two bins changes the count; one lost and another counted twice changes the XOR.

The sums of a minute agree whenever nothing of it is on its way, so a minute may be judged as often as records of it
come. It is judged when it has passed and its agent is through with all that was seen of it; or with what came after,
which is how a chunk is found that never reached its agent.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

import numpy as np

from models.columns import I64, U64, Mask
from models.times import MINUTE_US, format_time
from rules.detection.detector import LaneOutcome
from streams.transport import TP

log = logging.getLogger(__name__)

ENTERED = "entered"
BINS = ("used", "filtered", "duplicate", "late", "dead", "clock", "canary")
SLOTS = 64
"""Minutes of a topic-partition that are told apart. Two that are so many apart share their sums, which still agree:
nothing is ever dropped, however far a clock is out or a backlog reaches back."""

Which = Mask | I64
"""Some of the records: a mask over them, or their numbers."""
EVERY = slice(None)
_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_SHIFT_30, _SHIFT_27, _SHIFT_31 = (np.uint64(n) for n in (30, 27, 31))


def mixed(offsets: I64) -> U64:
    """Splitmix64 of each: neighbours have nothing in common, so that no few of them cancel each other."""
    z: U64 = offsets.view(np.uint64) + _STEP
    z ^= z >> _SHIFT_30
    z *= _FIRST
    z ^= z >> _SHIFT_27
    z *= _SECOND
    z ^= z >> _SHIFT_31
    return z


def total(marks: U64) -> int:
    return int(np.bitwise_xor.reduce(marks))


@dataclass(slots=True)
class Sums:
    """Of one minute. `last`: the greatest offset seen of it on either side."""

    minute: int = 0
    last: int = -1
    entered: int = 0
    marks: int = 0
    """XOR of all that entered and all that left: 0 when they are the same records."""
    left: int = 0
    bins: Counter[str] = field(default_factory=Counter)

    def agree(self) -> bool:
        return self.marks == 0 and self.entered == self.left


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A minute whose bins do not hold what entered. `minute_us`: when it began."""

    topic: str
    partition: int
    minute_us: int
    entered: int
    left: int
    bins: Mapping[str, int]

    @property
    def difference(self) -> int:
        """Records too many in the bins; negative: missing there; 0: as many, but others."""
        return self.left - self.entered

    def __str__(self) -> str:
        bins = ", ".join(f"{name} {count}" for name, count in self.bins.items()) or "no bin"
        what = f"a difference of {self.difference:+d}" if self.difference else "as many, but not the same ones"
        counts = f"{self.entered} entered, {self.left} left ({bins}): {what}"
        return f"{self.topic}[{self.partition}] {format_time(self.minute_us, UTC)}: {counts}"


class Source:
    """One topic-partition."""

    def __init__(self) -> None:
        self.slots: list[Sums | None] = [None] * SLOTS
        self.current = -1
        """The minute of the record that entered last."""
        self.finished = -1
        """The offset after what its agent is through with."""

    def sums(self, minute: int, last: int) -> Sums:
        sums = self.slots[minute % SLOTS]
        if sums is None:
            sums = self.slots[minute % SLOTS] = Sums(minute)
        sums.minute, sums.last = max(sums.minute, minute), max(sums.last, last)
        return sums


class Accounts:
    """Of one worker; on its loop only. `names`: what topics are called in `records` and `mismatches`, their own name
    where nothing is said. `minute_us` is for tests.

    `records`: by (topic, bin), and (topic, "entered"), since the start. `mismatches`: minutes found wrong, by topic.
    """

    def __init__(self, names: Mapping[str, str] | None = None, *, minute_us: int = MINUTE_US) -> None:
        self.records: Counter[tuple[str, str]] = Counter()
        self.mismatches: Counter[str] = Counter()
        self._names, self._minute_ms = dict(names or {}), minute_us // 1000
        self._sources: dict[TP, Source] = {}

    # the two sides

    def entered(self, tp: TP, offsets: Sequence[int], timestamps: Sequence[int]) -> None:
        """Records were fetched. Offsets rise; timestamps are those that the records bear, milliseconds."""
        self.records[self._name(tp), ENTERED] += len(offsets)
        source = self._source(tp)
        first, last = offsets[0], offsets[-1]
        dense = last - first + 1 == len(offsets)
        numbers = np.arange(first, last + 1) if dense else np.fromiter(offsets, np.int64, len(offsets))
        marks = mixed(numbers)
        for minute, some in self._minutes(np.fromiter(timestamps, np.int64, len(offsets))):
            sums = source.sums(minute, int(numbers[some][-1]))
            sums.entered += len(numbers[some])
            sums.marks ^= total(marks[some])
            source.current = minute

    def left(self, tp: TP, offsets: Sequence[int] | I64, timestamps: Sequence[int] | I64, **bins: Which | None) -> None:
        """Records came to their ends: `bins` says which of these are in each; None: all of them."""
        numbers, stamps = _array(offsets), _array(timestamps)
        if not len(numbers):
            return
        source, marks, name = self._source(tp), mixed(numbers), self._name(tp)
        for minute, some in self._minutes(stamps):
            sums = source.sums(minute, int(numbers[some].max()))
            for bin_name, which in bins.items():
                binned = marks[some] if which is None else marks[_both(which, some)]
                if len(binned):
                    self.records[name, bin_name] += len(binned)
                    sums.left += len(binned)
                    sums.bins[bin_name] += len(binned)
                    sums.marks ^= total(binned)

    def left_counted(
        self, tp: TP, offsets: Sequence[int], timestamps: Sequence[int], counts: Mapping[str, int]
    ) -> None:
        """The same where only the number in each bin is known, and that of all bins must be that of the records. Of
        several minutes the first is said to have them all."""
        numbers, name = _array(offsets), self._name(tp)
        if not len(numbers):
            return
        source, marks, surplus = self._source(tp), mixed(numbers), sum(counts.values()) - len(numbers)
        first = counts
        for minute, some in self._minutes(_array(timestamps)):
            sums = source.sums(minute, int(numbers[some].max()))
            sums.left += len(numbers[some]) + surplus
            sums.marks ^= total(marks[some])
            sums.bins.update(first)
            surplus, first = 0, {}
        for bin_name, count in counts.items():
            self.records[name, bin_name] += count

    def finished(self, tp: TP, next_offset: int) -> None:
        """Its agent is through with everything below this offset."""
        source = self._source(tp)
        source.finished = max(source.finished, next_offset)

    # judging

    def in_flight(self) -> int:
        """Records that entered and have not left."""
        return sum(s.entered - s.left for source in self._sources.values() for s in source.slots if s)

    def check(self, now_us: int) -> list[Mismatch]:
        """Judge what has passed; each mismatch is counted, logged and told once."""
        now = now_us // 1000 // self._minute_ms
        found = [m for tp, source in self._sources.items() for m in self._judge(tp, source, now)]
        return self._tell(found)

    def forget(self, tps: Iterable[TP]) -> list[Mismatch]:
        """They go to another worker, or begin anew elsewhere: judge what is at its end, and drop what is on its way."""
        found = []
        for tp in tuple(tps):
            source = self._sources.pop(tp, None)
            if source is not None:
                found += self._judge(tp, source, None)
        return self._tell(found)

    @property
    def sources(self) -> tuple[TP, ...]:
        """The topic-partitions that are known."""
        return tuple(self._sources)

    def _judge(self, tp: TP, source: Source, now: int | None) -> list[Mismatch]:
        """`now`: the minute it is; None: whichever."""
        found = []
        for slot, sums in enumerate(source.slots):
            if sums is None or sums.last >= source.finished:
                continue
            if now is not None and sums.minute == source.current and sums.minute >= now:
                continue
            source.slots[slot] = None
            if not sums.agree():
                found.append(self._mismatch(tp, sums))
        return found

    def _mismatch(self, tp: TP, sums: Sums) -> Mismatch:
        start_us = sums.minute * self._minute_ms * 1000
        bins = {name: sums.bins[name] for name in BINS if sums.bins[name]}
        return Mismatch(tp.topic, tp.partition, start_us, sums.entered, sums.left, bins)

    def _tell(self, found: list[Mismatch]) -> list[Mismatch]:
        for mismatch in found:
            self.mismatches[self._names.get(mismatch.topic, mismatch.topic)] += 1
            log.error("records do not add up: %s", mismatch)
        return found

    def _name(self, tp: TP) -> str:
        return self._names.get(tp.topic, tp.topic)

    def _source(self, tp: TP) -> Source:
        source = self._sources.get(tp)
        if source is None:
            source = self._sources[tp] = Source()
        return source

    def _minutes(self, stamps: I64) -> list[tuple[int, slice | Mask]]:
        """Which records are of which minute; minutes that share a slot are one, the latest."""
        first, last = int(stamps[0]), int(stamps[-1])
        if len(stamps) > 2:
            first, last = int(stamps.min()), int(stamps.max())
        minute = last // self._minute_ms
        if first // self._minute_ms == minute:
            return [(minute, EVERY)]
        minutes = stamps // self._minute_ms
        slots = minutes % SLOTS
        found = []
        for slot in np.unique(slots).tolist():
            some = slots == slot
            found.append((int(minutes[some].max()), some))
        return found


def lane_bins(outcome: LaneOutcome) -> dict[str, Which]:
    """Which of its data records a lane says are where; `filtered` are those of which it says nothing else."""
    fates = outcome.fates
    filtered = ~(fates.used | fates.doubled)
    bins: dict[str, Which] = {"used": fates.used, "filtered": filtered}
    if outcome.duplicate:
        bins["duplicate"] = fates.doubled
    for name, found in (("late", outcome.late), ("dead", outcome.dead)):
        if found:
            numbers = np.array([one.record for one in found])
            if len(fates.place) and fates.place[-1] != len(fates.place) - 1:  # clock records stand among them
                numbers = np.searchsorted(fates.place, numbers)
            bins[name], filtered[numbers] = numbers, False
    return bins


def _array(numbers: Sequence[int] | I64) -> I64:
    return numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.int64, len(numbers))


def _both(which: Which, some: slice | Mask) -> Which:
    """Those of a bin that are of the minute, too."""
    if isinstance(some, slice):
        return which
    if which.dtype == np.bool_:
        return which & some
    return which[some[which]]
