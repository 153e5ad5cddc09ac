"""A Detector that is followed: the same doors, and a note of what it looked at, decided and told for some keys.

A lane that is followed runs the plain way, which tells the same as the compiled one. Nothing here decides: rows are
looked at with the rule's own masks, conditions are read before and after their watch has seen a match.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np

from geo.atlas import Atlas
from models.columns import I32, Batch, Mask, RawRecord, Texts, scalar
from models.decode import Decoder
from models.detections import Detection
from models.streams import MEASUREMENTS, STATES
from models.words import Words
from rules.detection.condition import Condition, Hit
from rules.detection.detector import Detector
from rules.detection.lane import Lane, LaneOutcome
from rules.detection.rows import ANYHOW, FRESH, MENDED, Rows
from rules.detection.select import Fed, Selector
from rules.detection.watch import Watch
from rules.explaining.looking import Fate, Look, Looker
from rules.language.model import Rule

LOOKS_KEPT = STEPS_KEPT = 50_000
"""Of one rule and key: a day of an object seen twice a second; the oldest go, and are counted."""
Wanted = Callable[[Rule, Mapping[str, str]], bool]
"""Of a rule and the key of a row, without the zone: whether it is followed."""


class Step(NamedTuple):
    """A watch saw a match (`hit`) or a moment it had asked for, and what it remembered before and after."""

    time_us: int
    key: tuple[str, ...]
    zone: str
    hit: Hit | None
    before: Condition | None
    after: Condition | None
    told: tuple[Detection, ...]


class Told(NamedTuple):
    """A detection, the watermark that let it be decided, and the clock then."""

    detection: Detection
    watermark_us: int
    clock_us: int


@dataclass(slots=True)
class Trace:
    """Of one rule (or part) on one lane: what was looked at, decided and told, in order."""

    rule: Rule
    partition: int
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=STEPS_KEPT))
    told: list[Told] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    """By key as text: how many rows named it, whether followed or not."""


@dataclass(slots=True)
class Lost:
    """A record of the lane that no rule saw."""

    why: Literal["late", "dead"]
    arrival_us: int
    cause: str


class Followed:
    """A watch, its steps noted."""

    def __init__(self, watch: Watch, trace: Trace, wanted: Wanted, lane: FollowedLane) -> None:
        self._watch, self._trace, self._wanted, self._lane = watch, trace, wanted, lane

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)

    def observe(self, hit: Hit) -> None:
        self._note(hit.key, hit.zone, hit.time_us, hit, partial(self._watch.observe, hit))

    def take(self, hit: Hit) -> None:
        """How a lane hands a match to a watch that ends what is over before it observes; one without just observes."""
        act = getattr(self._watch, "take", self._watch.observe)
        self._note(hit.key, hit.zone, hit.time_us, hit, partial(act, hit))

    def awake(self, condition: Condition, now_us: int) -> None:
        self._note(condition.key, condition.zone, now_us, None, partial(self._watch.awake, condition, now_us))

    def _note(self, key: tuple[str, ...], zone: str, time_us: int, hit: Hit | None, act: Callable[[], None]) -> None:
        watch = self._watch
        if not self._wanted(watch.rule, dict(zip(watch.key_fields, key, strict=True))):
            act()
            return
        slot = key, zone if watch.by_zone else ""
        before, told = copied(watch.open.get(slot)), len(self._lane.told)
        act()
        news = tuple(d for d in self._lane.told[told:] if d.rule == watch.rule.id and (d.part or "") == watch.rule.part)
        self._trace.steps.append(Step(time_us, key, zone, hit, before, copied(watch.open.get(slot)), news))


def copied(condition: Condition | None) -> Condition | None:
    if condition is None:
        return None
    lists = {name: list(getattr(condition, name)) for name in ("evidence", "times", "met")}
    return msgspec.structs.replace(condition, **lists)


class Looking:
    """A selector, the rows of some keys looked at on the way."""

    def __init__(self, selector: Selector, traces: Sequence[Trace], wanted: Wanted, zone: str | None, atlas: Atlas):
        self._selector, self._traces, self._wanted = selector, traces, wanted
        self._lookers = [Looker(selector, number, atlas, zone) for number in range(len(selector.bound))]
        self.mended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def hits(self, batch: Batch, number: int, masks: Mask, fed: Fed, words: Words, areas: I32) -> list[Rows]:
        fresh, anyhow, real = (masks[name, : len(batch)].copy() for name in (FRESH, ANYHOW, MENDED))
        found = self._selector.hits(batch, number, masks, fed, words, areas)
        for at, looker in enumerate(self._lookers):
            sees = looker.bound.sees
            asks = real if self.mended else ~fresh if sees == MENDED else np.ones(len(batch), dtype=np.bool_)
            if self.mended and sees != MENDED:
                continue
            timely = {FRESH: fresh, ANYHOW: anyhow, MENDED: real}[sees]
            for row in self._rows(at, batch, asks):
                fate: Fate = "in time" if timely[row] else "late" if anyhow[row] else "duplicate"
                self._traces[at].looks.append(looker.look(batch, row, int(fed.offsets[batch.record[row]]), fate))
        return found

    def _rows(self, at: int, batch: Batch, asks: Mask) -> list[int]:
        """The rows among those asked for whose key is followed."""
        rule, trace = self._lookers[at].rule, self._traces[at]
        names = [name for name in rule.by if name != "zone"]
        rows = np.flatnonzero(asks).tolist()
        texts = [_texts(batch, name, rows) for name in names]
        found = []
        for row, *key in zip(rows, *texts, strict=True):
            trace.rows[" ".join(f"{n}={k}" for n, k in zip(names, key, strict=True))] += 1
            if self._wanted(rule, dict(zip(names, key, strict=True))):
                found.append(row)
        return found


def _texts(batch: Batch, name: str, rows: list[int]) -> list[str]:
    """A field of these rows as a key has it; "" of null."""
    column = batch.columns[name]
    if isinstance(column, Texts):
        words = column.words
        return ["" if code < 0 else words[code] for code in column.codes[rows].tolist()]
    cells = (scalar(column, row) for row in rows)
    return ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]


class FollowedLane(Lane):
    """A lane, every rule of it traced for the keys that are wanted."""

    def __init__(self, *positional: Any, wanted: Wanted, follow_zone: str | None, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.traces = [Trace(rule, self.partition) for rule in self.rules]
        self.lost: list[Lost] = []
        self.clock_us = 0
        watches = zip(self.watches, self.traces, strict=True)
        self.watches = [cast(Watch, Followed(watch, trace, wanted, self)) for watch, trace in watches]
        self._looking = Looking(self.selector, self.traces, wanted, follow_zone, self.atlas)
        self.selector = cast(Selector, self._looking)

    def feed(self, records: Sequence[RawRecord]) -> LaneOutcome:
        self.clock_us = max([self.clock_us, *(record.timestamp * 1000 for record in records)])
        outcome = super().feed(records)
        for late in outcome.late:
            behind_s = late.late_by_us / 1e6
            self.lost.append(Lost("late", records[late.record].timestamp * 1000, f"{behind_s:g} s"))
        for dead in outcome.dead:
            cause = f"{dead.reason}: {dead.path} {dead.detail}"
            self.lost.append(Lost("dead", records[dead.record].timestamp * 1000, cause))
        return outcome

    def advance(self, to_us: int) -> list[Detection]:
        self.clock_us = max(self.clock_us, to_us)
        return super().advance(to_us)

    def tell(self, detection: Detection) -> None:
        super().tell(detection)
        for trace in self.traces:
            if trace.rule.id == detection.rule and trace.rule.part == (detection.part or ""):
                trace.told.append(Told(detection, self.watermark_us, self.clock_us))

    def _mend(self, watermark_us: int) -> None:
        self._looking.mended = True
        super()._mend(watermark_us)
        self._looking.mended = False


def follow(
    detector: Detector, topics: Sequence[str], wanted: Wanted, atlas: Atlas, decoder: Decoder, *,
    zone: str | None = None, accept_unregistered: bool,
) -> list[FollowedLane]:  # fmt: skip
    """Have a Detector that was fed nothing yet followed on some topics. `zone`: of keys by zone, look at this one."""
    followed = []
    for topic in topics:
        plain = detector.lane_of(topic)
        lane = FollowedLane(
            topic,
            plain.partition,
            plain.rules,
            atlas,
            decoder,
            lateness_us=plain.lateness_us,
            accept_unregistered=accept_unregistered,
            format_time=plain.format_time,
            compiled=False,
            made_of=MEASUREMENTS if topic == STATES else None,
            wanted=wanted,
            follow_zone=zone,
        )
        detector.put(lane)
        followed.append(lane)
    return followed
