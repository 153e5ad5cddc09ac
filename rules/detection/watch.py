"""A watch follows one rule on one lane: its pending and open conditions. This file holds what every primitive shares:
raising, stages, `still`, `unknown`, clearing. What begins, continues and ends a condition is in one file a primitive.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Protocol

from msgspec.structs import replace

from geo.atlas import Atlas
from models.detections import Detection, DetectionKind, Evidence
from models.ids import content_id
from models.times import SECOND_US
from rules.detection.condition import Condition, Hit
from rules.detection.coverage import Coverage
from rules.detection.looks import CLOSING, MATCH, closes_by_rows
from rules.detection.memory import FAR_US
from rules.detection.sources import Sources
from rules.language.model import Rule, Variant

STILL_EVERY_US = 30 * SECOND_US
ROUND_PLACE, ROUND_SHARE = 7, 3
MOST_REMEMBERED = 100_000
"""Keys that a watch remembers beside what is open: at some 1 kB each 100 MB. Beyond, those not seen for longest go."""
ROLE = "\x1f"  # between a zone and the role of what is no plain condition; in no name of a zone
FLAPS = "flaps"
ConditionKey = tuple[tuple[str, ...], str]


class Surroundings(Protocol):
    """What a watch may ask of its lane."""

    atlas: Atlas
    coverage: Coverage
    sources: Sources
    watermark_us: int
    topic: str
    evidence_topic: str
    partition: int

    def wake(self, watch: Watch, condition: Condition) -> None: ...
    def sleep(self, watch: Watch, condition: Condition, now_us: int) -> None: ...
    def dropped(self, condition: Condition) -> None: ...
    def tell(self, detection: Detection) -> None: ...
    def format_time(self, time_us: int) -> str: ...


class Watch:
    """Conditions of one rule by (key, zone). `number` orders rules on the lane."""

    def __init__(self, rule: Rule, number: int, lane: Surroundings, unit: str | None) -> None:
        self.rule, self.number, self.lane, self.unit = rule, number, lane, unit
        self.by_zone = "zone" in rule.by
        self.key_fields = [name for name in rule.by if name != "zone"]
        self.open: dict[ConditionKey, Condition] = {}
        self.closed_by_rows = closes_by_rows(rule)
        self.most_remembered = MOST_REMEMBERED
        self.evicted = 0
        """What was forgotten because there was too much: keys, samples, values."""

    def slot(self, of: Condition | Hit) -> ConditionKey:
        """Which condition it is: the zone counts only where the rule says `by: zone`."""
        zone = of.zone if self.by_zone else ""
        return of.key, f"{zone}{ROLE}{of.role}" if isinstance(of, Condition) and of.role else zone

    # what a lane calls

    def take(self, hit: Hit) -> None:
        """Take what the rule looks at, in event-time order."""
        if not self.closed_by_rows or (not self.shut(hit) and hit.signal & MATCH and not hit.signal & CLOSING):
            self.observe(hit)

    def woken(self, condition: Condition, now_us: int) -> None:
        """The moment a condition asked to be looked at."""
        if condition.role == FLAPS:
            self.tend_flapping(condition, now_us)
        else:
            self.awake(condition, now_us)

    def sweep(self, now_us: int) -> None:
        """Let go what counts for nothing any more; it would not be used again either."""

    def restored(self) -> None:
        """Its conditions are those of a snapshot now."""

    # what a primitive defines

    def observe(self, hit: Hit) -> None:
        """Take one match, in event-time order."""
        raise NotImplementedError

    def awake(self, condition: Condition, now_us: int) -> None:
        """The moment the condition asked to be looked at."""
        raise NotImplementedError

    @cached_property
    def forgotten_after_us(self) -> int:
        """How long after its last match a pending run is worth keeping, whatever override the next falls under."""
        return 0

    def measured(self, condition: Condition, at_us: int) -> tuple[float | bool | str | None, str | None]:
        """Value and unit a detection carries; a dwell measures its own length."""
        return condition.value, self.unit

    # shared

    def variant(self, condition: Condition) -> Variant:
        return self.rule.variants[condition.variant]

    def keep(self, condition: Condition, wake_us: int) -> None:
        """Remember it and look at it at `wake_us`, or before where that was planned."""
        self.open[self.slot(condition)] = condition
        if condition.wake_us == 0 or wake_us < condition.wake_us:
            self.look_at(condition, wake_us)

    def look_at(self, condition: Condition, wake_us: int) -> None:
        condition.wake_us = wake_us
        self.lane.wake(self, condition)

    def remember(self, condition: Condition, wake_us: int) -> None:
        """Keep it, and not more of its kind than there is room for."""
        self.keep(condition, wake_us)
        if len(self.open) > self.most_remembered:
            pending = [c for c in self.open.values() if c.opened_us is None and c is not condition]
            pending.sort(key=lambda c: (c.last_us, self.slot(c)))
            for one in pending[: max(1, len(pending) // 2)]:
                self.forget(one)
                self.evicted += 1

    def forget(self, condition: Condition) -> None:
        """Let it go with all that is remembered of it."""
        Watch.drop(self, condition)

    def drop(self, condition: Condition) -> None:
        del self.open[self.slot(condition)]
        self.lane.dropped(condition)

    def raise_(self, condition: Condition, at_us: int, offset: int) -> None:
        """The condition is raised, at the rule's first stage; later stages that are also reached follow.

        One that is held open because it flaps goes on instead."""
        if self.goes_on_flapping(condition, at_us):
            return
        condition.opened_us, condition.opened_since_us = at_us, condition.since_us
        condition.still_us = at_us + STILL_EVERY_US
        condition.evidence = [condition.evidence[0], offset] if condition.evidence[0] != offset else [offset]
        stages = self.variant(condition).stages
        condition.stage = min(1, len(stages))
        self.tell("raised", condition, at_us, stages[0].do if stages else None)

    def raised_at(self, condition: Condition, for_us: int) -> int:
        """When a run is old enough: for its rule, and for the first stage."""
        stages = self.variant(condition).stages
        return condition.since_us + (max(for_us, stages[0].at_us) if stages else for_us)

    def times_out_at(self, condition: Condition) -> int | None:
        timeout_us = self.variant(condition).close.timeout_us
        return None if timeout_us is None or condition.opened_us is None else condition.opened_us + timeout_us

    def tell_stages(self, condition: Condition, upto_us: int) -> None:
        """Each further stage whose moment is reached by the newest match."""
        assert condition.opened_us is not None
        stages, ends_us = self.variant(condition).stages, self.times_out_at(condition)
        upto_us = upto_us if ends_us is None else min(upto_us, ends_us)
        while condition.stage < len(stages):
            stage = stages[condition.stage]
            at_us = max(condition.opened_us, condition.opened_since_us + stage.at_us)
            if at_us > upto_us:
                return
            condition.stage += 1
            self.tell("stage", condition, at_us, stage.do)

    def tells_at(self, condition: Condition) -> int:
        """From when on a match tells of a further stage."""
        assert condition.opened_us is not None
        stages = self.variant(condition).stages
        if condition.stage >= len(stages):
            return FAR_US
        return max(condition.opened_us, condition.opened_since_us + stages[condition.stage].at_us)

    def clear(self, condition: Condition, at_us: int) -> None:
        if not self.held_open(condition, at_us):
            self.tell("cleared", condition, at_us, None)
        self.drop(condition)

    # rows that close

    def shut(self, hit: Hit) -> bool:
        """Whether this row ends the open condition of its key, having fulfilled `close.when` for long enough."""
        condition = self.open.get(self.slot(hit))
        if condition is None or condition.opened_us is None:
            return False
        if not hit.signal & CLOSING:
            condition.shut_us = None
            return False
        if condition.shut_us is None:
            condition.shut_us = hit.time_us
        shut_us = condition.shut_us + self.rule.variants[hit.variant].close.for_us
        if hit.time_us < shut_us:
            return False
        self.tell_stages(condition, shut_us)
        self.clear(condition, shut_us)
        return True

    # what flaps

    def goes_on_flapping(self, condition: Condition, at_us: int) -> bool:
        """Note that it is raised; whether the one before is held open, which goes on then."""
        flap = self.rule.flap
        if flap is None:
            return False
        flaps = self.open.get(self.flaps_slot(condition))
        raised = [] if flaps is None else [t for t in flaps.times if t > at_us - flap.within_us]
        record = replace(condition, role=FLAPS, memory=None, run=-1, wake_us=0, times=[*raised, at_us])
        record.times = record.times[-flap.max_changes :]
        goes_on = flaps is not None and flaps.opened_us is not None
        if flaps is not None and goes_on:
            condition.opened_us, condition.opened_since_us = flaps.opened_us, flaps.opened_since_us
            condition.stage, condition.still_us, condition.evidence = flaps.stage, flaps.still_us, flaps.evidence
            self.tell("still", condition, at_us, None)
        self.keep(record, at_us + flap.within_us)
        return goes_on

    def held_open(self, condition: Condition, at_us: int) -> bool:
        """Whether it was raised so often lately that its end is not told before it has been quiet for a time."""
        flap, flaps = self.rule.flap, self.open.get(self.flaps_slot(condition))
        if flap is None or flaps is None:
            return False
        raised = [t for t in flaps.times if t > at_us - flap.within_us]
        if len(raised) < flap.max_changes:
            return False
        held = replace(condition, role=FLAPS, memory=None, run=-1, wake_us=0, times=raised, closing_us=at_us)
        held.unknown = False
        self.keep(held, min(held.still_us, at_us + flap.within_us))
        return True

    def flaps_slot(self, condition: Condition) -> ConditionKey:
        key, zone = self.slot(condition)
        return key, f"{zone}{ROLE}{FLAPS}"

    def tend_flapping(self, flaps: Condition, now_us: int) -> None:
        assert self.rule.flap is not None
        if flaps.opened_us is None:
            Watch.drop(self, flaps)
            return
        assert flaps.closing_us is not None
        quiet_us = flaps.closing_us + self.rule.flap.within_us
        if quiet_us <= now_us:
            self.tell("cleared", flaps, quiet_us, None)
            Watch.drop(self, flaps)
            return
        if flaps.still_us <= now_us:
            self.tell("still", flaps, flaps.still_us, None)
            flaps.still_us += STILL_EVERY_US
        Watch.look_at(self, flaps, min(flaps.still_us, quiet_us))

    def tend(self, condition: Condition, now_us: int) -> None:
        """`still`, `unknown` and the time-out of an open condition up to now; then it is looked at again."""
        while condition.still_us <= now_us and not condition.unknown:
            if self.seems_there(condition, condition.still_us):
                self.tell("still", condition, condition.still_us, None)
            condition.still_us += STILL_EVERY_US
        ends_us = self.times_out_at(condition)
        if ends_us is not None and ends_us <= now_us:
            self.clear(condition, ends_us)
            return
        silent = self.lane.coverage.end_of_span(condition.source, now_us) is None
        if silent and not condition.unknown and self.rule.no_data != "hold":
            if self.rule.no_data == "close":
                self.clear(condition, now_us)
                return
            condition.unknown = True
            self.tell("unknown", condition, now_us, None)
        if condition.unknown and not self.lane.coverage.reaches_beyond(condition.source, now_us):
            self.lane.sleep(self, condition, now_us)
        self.look_at(condition, max(now_us + 1, self.upcoming(condition, now_us)))

    def upcoming(self, condition: Condition, now_us: int) -> int:
        """When an open condition is to be looked at if nothing more is seen of it."""
        ends_us, coverage = self.times_out_at(condition), self.lane.coverage
        if not condition.unknown:
            next_us, silent_us = condition.still_us, coverage.end_of_span(condition.source, now_us)
        else:  # nothing can be told of it before its source is seen again: until then it sleeps
            next_us, silent_us = FAR_US, None
            if coverage.reaches_beyond(condition.source, now_us):
                next_us = now_us + STILL_EVERY_US
        return min(at for at in (next_us, ends_us, silent_us) if at is not None)

    def seems_there(self, condition: Condition, at_us: int) -> bool:
        """Whether a match since the last `still` speaks for it being there still."""
        return condition.last_us > at_us - STILL_EVERY_US

    def go_on(self, condition: Condition, hit: Hit) -> None:
        """Just raised by this match: it speaks for all that was before it, and what comes is looked at from here."""
        self.tell_stages(condition, hit.time_us)
        passed = -((condition.still_us - hit.time_us) // STILL_EVERY_US)
        condition.still_us += max(0, passed) * STILL_EVERY_US
        self.look_at(condition, hit.time_us)

    def follow(self, condition: Condition, hit: Hit) -> None:
        """Take over the newest match. One of another source: that one is to see it go, from now on."""
        if hit.source != condition.source:
            condition.source = hit.source
            self.look_at(condition, hit.time_us)
        condition.follow(hit)

    def back(self, condition: Condition, hit: Hit) -> None:
        """A match after the source had fallen silent: say at once that it is still there."""
        self.back_at(condition, hit.time_us)

    def back_at(self, condition: Condition, at_us: int) -> None:
        if condition.unknown:
            condition.unknown = False
            self.tell("still", condition, at_us, None)
            passed = (at_us - condition.still_us) // STILL_EVERY_US + 1
            condition.still_us += max(0, passed) * STILL_EVERY_US
            self.look_at(condition, at_us)

    def named_key(self, condition: Condition) -> dict[str, str]:
        return dict(zip(self.key_fields, condition.key, strict=True))

    def suspected(self, condition: Condition) -> bool:
        """Whether the rule itself says so."""
        return False

    def role_in_id(self, condition: Condition) -> tuple[str, ...]:
        """What tells the id apart from that of a plain condition with the same texts."""
        return ()

    def tell(self, kind: DetectionKind, condition: Condition, at_us: int, stage: str | None) -> None:
        assert condition.opened_us is not None
        rule, since_us = self.rule, condition.opened_since_us
        value, unit = self.measured(condition, at_us)
        topic, partition = self.lane.evidence_topic, self.lane.partition
        self.lane.tell(
            Detection(
                detection_id=detection_id(
                    rule.id,
                    rule.fingerprint,
                    *condition.key,
                    *self.role_in_id(condition),
                    condition.zone,
                    condition.opened_us,
                ),
                kind=kind,
                stage=stage,
                rule=rule.id,
                rule_revision=rule.revision,
                type=rule.type,
                severity=self.variant(condition).severity,
                key=self.named_key(condition),
                zone=condition.zone or None,
                area=condition.area,
                lon=_rounded(condition.lon),
                lat=_rounded(condition.lat),
                error_m=condition.error_m,
                suspected=rule.suspects or self.suspected(condition),
                part=rule.part or None,
                event_time=self.lane.format_time(at_us),
                opened_event_time=self.lane.format_time(condition.opened_us),
                value=value,
                unit=unit,
                held_s=round((at_us - since_us) / SECOND_US, 3),
                coverage=round(self.lane.coverage.share(condition.source, since_us, at_us), ROUND_SHARE),
                sources=[self.lane.topic],
                evidence=[Evidence(topic, partition, offset) for offset in condition.evidence],
                attributes=condition.attributes,
            )
        )


@lru_cache(maxsize=4096)
def detection_id(*parts: str | int) -> str:
    """Raised, stage, still, cleared and unknown of one opening share it."""
    return content_id("d", *parts)


def _rounded(degrees: float) -> float | None:
    return None if math.isnan(degrees) else round(degrees, ROUND_PLACE)
