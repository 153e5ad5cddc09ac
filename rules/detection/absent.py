"""`absent`: what should come does not.

    match   x   x   x                           x        raised at exactly last + for, by the clock where nothing
                    |<------- for ------->|              else comes; cleared by the next match
                  last                  raised  cleared

With `listed`, what the registry lists is missed too: from the first match of its area on, if it could match `where`.

With `parent`, a property of the registry (gateway), what falls silent together is one condition, of the parent: when
the time of one is up and four in five of its parent's (two at least) have been silent for longer than they should, the
parent is raised and the others are not told. Those that were told before stay. The parent clears when fewer than that
are silent; from then on each has its whole time again.
"""

from __future__ import annotations

from collections.abc import Iterator

from geo.registry import Device
from models.columns import Spans
from rules.detection.condition import Condition, Hit
from rules.detection.memory import FAR_US, Silence
from rules.detection.watch import ROLE, STILL_EVERY_US, ConditionKey, Surroundings, Watch
from rules.language.model import Absent, Rule

PARENT = "parent"
TOGETHER, LEAST_TOGETHER = 0.8, 2
OVERDUE = 1.5
"""Expected intervals after which one counts as silent beside another; half of `for` where none is stated."""


class AbsentWatch(Watch):
    def __init__(self, rule: Rule, number: int, lane: Surroundings, unit: str | None) -> None:
        super().__init__(rule, number, lane, unit)
        self.listed: set[str] = set()
        """Areas whose devices are expected already."""
        self.groups: dict[str, dict[ConditionKey, Condition]] = {}
        """By parent, whose silence is followed."""

    def restored(self) -> None:
        for condition in self.open.values():
            self.group(condition)

    def limits(self, condition: Condition) -> Absent:
        detect = self.variant(condition).detect
        assert isinstance(detect, Absent)
        return detect

    def observe(self, hit: Hit) -> None:
        if not hit.inside:
            return
        self.expect_listed(hit)
        condition = self.open.get(self.slot(hit))
        if condition is None:
            condition = Condition.begin(hit)
            self.expect(condition, hit.time_us)
            return
        if condition.opened_us is not None:
            self.clear(condition, hit.time_us)
        self.follow(condition, hit)
        condition.since_us, condition.area, condition.evidence = hit.time_us, hit.area, [hit.offset]
        self.lease(condition, hit.time_us)
        self.heard(condition, hit.time_us)

    def expect(self, condition: Condition, from_us: int) -> None:
        """A further key. Where there are too many the new one is not watched: to forget another would be to miss it."""
        if len(self.open) >= self.most_remembered:
            self.evicted += 1
            return
        self.lease(condition, from_us)
        self.keep(condition, self.silence(condition).due_us)
        self.group(condition)

    def group(self, condition: Condition) -> None:
        if (parent := self.parent_of(condition)) is not None:
            self.groups.setdefault(parent, {})[self.slot(condition)] = condition

    def lease(self, condition: Condition, from_us: int) -> None:
        """It is due so long after this."""
        condition.memory = Silence(from_us + self.limits(condition).for_us)

    def silence(self, condition: Condition) -> Silence:
        assert isinstance(condition.memory, Silence)
        return condition.memory

    def drop(self, condition: Condition) -> None:
        """No longer absent, or its time is over; it is remembered."""
        if condition.role == PARENT:
            self.forget(condition)
            return
        condition.opened_us, condition.stage, condition.shut_us = None, 0, None
        condition.memory = Silence(FAR_US)

    def awake(self, condition: Condition, now_us: int) -> None:
        if condition.opened_us is not None:
            self.tend(condition, now_us)
            return
        due_us = self.silence(condition).due_us
        if due_us > now_us:
            if due_us < FAR_US:
                self.look_at(condition, due_us)
            return
        self.silence(condition).due_us = FAR_US
        if self.is_parents_affair(condition, due_us):
            return
        raised_us = self.raised_at(condition, due_us - condition.since_us)
        if raised_us > due_us:
            self.silence(condition).due_us = raised_us
            self.look_at(condition, raised_us)
            return
        self.raise_(condition, due_us, condition.evidence[0])
        self.look_at(condition, self.next_look_us(condition))

    def tend(self, condition: Condition, now_us: int) -> None:
        """Its source is silent: that is what it tells of, not a reason to know nothing."""
        self.tell_stages(condition, now_us)
        if condition.still_us <= now_us:
            self.tell("still", condition, condition.still_us, None)
            condition.still_us += self.still_every_us(condition)
        ends_us = self.times_out_at(condition)
        if ends_us is not None and ends_us <= now_us:
            self.clear(condition, ends_us)
        else:
            self.look_at(condition, max(now_us + 1, self.next_look_us(condition)))

    def next_look_us(self, condition: Condition) -> int:
        ends_us = self.times_out_at(condition)
        return min(condition.still_us, self.tells_at(condition), FAR_US if ends_us is None else ends_us)

    def still_every_us(self, condition: Condition) -> int:
        """Nothing new can be known of it soon: once in a tenth of its time, or each 30 s."""
        return max(STILL_EVERY_US, self.limits(condition).for_us // 10)

    def suspected(self, condition: Condition) -> bool:
        return self.limits(condition).suspect

    # what the registry lists

    def expect_listed(self, hit: Hit) -> None:
        detect, registry = self.rule.variants[hit.variant].detect, self.lane.atlas.registry
        if not isinstance(detect, Absent) or not detect.listed or registry is None or hit.area in self.listed:
            return
        self.listed.add(hit.area)
        if self.key_fields not in (["device_id"], ["sensor_id"]) or self.by_zone:
            return
        for device in registry.devices.values():
            if device.area == hit.area and (device.id,) != hit.key and self.could_match(device):
                condition = self.never_seen(device, hit)
                if self.slot(condition) not in self.open:
                    self.expect(condition, hit.time_us)

    def could_match(self, device: Device) -> bool:
        """Whether a record of it might fulfil `where`; a device's kind is its metric."""
        record = {self.key_fields[0]: device.id, "metric": device.kind}
        return self.rule.where is None or self.rule.where.value(record) is not False

    def never_seen(self, device: Device, hit: Hit) -> Condition:
        source = int(self.lane.sources.numbers(Spans.of([device.id.encode()]))[0])
        condition = Condition.begin(hit)
        condition.key, condition.source, condition.zone = (device.id,), source, ""
        condition.lon = condition.anchor_lon = device.lon
        condition.lat = condition.anchor_lat = device.lat
        condition.error_m, condition.value, condition.attributes = None, None, {}
        return condition

    # what falls silent together

    def parent_of(self, condition: Condition) -> str | None:
        """What its device belongs to."""
        name, registry = self.limits(condition).parent, self.lane.atlas.registry
        if name is None or registry is None or condition.role:
            return None
        device = next((d for text in condition.key if (d := registry.devices.get(text)) is not None), None)
        parent = None if device is None else getattr(device, name, None)
        return parent if isinstance(parent, str) else None

    def parent_slot(self, parent: str) -> ConditionKey:
        return (parent,), f"{ROLE}{PARENT}"

    def is_parents_affair(self, condition: Condition, now_us: int) -> bool:
        """Whether its parent is absent as a whole, and raised as such now if it was not yet."""
        parent = self.parent_of(condition)
        if parent is None:
            return False
        if self.parent_slot(parent) in self.open:
            return True
        if not self.are_silent(parent, now_us):
            return False
        whole = Condition.begin_as(condition, (parent,), PARENT)
        whole.since_us = max(member.last_us for member in self.silent(parent, now_us))
        self.keep(whole, FAR_US)
        self.raise_(whole, now_us, condition.evidence[0])
        self.look_at(whole, self.next_look_us(whole))
        return True

    def are_silent(self, parent: str, now_us: int) -> bool:
        """Whether four in five of a parent's have been silent for longer than they should."""
        silent, members = sum(1 for _ in self.silent(parent, now_us)), len(self.groups[parent])
        return silent >= LEAST_TOGETHER and silent >= TOGETHER * members

    def silent(self, parent: str, now_us: int) -> Iterator[Condition]:
        for member in self.groups[parent].values():
            if now_us - member.last_us >= self.overdue_us(member):
                yield member

    def overdue_us(self, condition: Condition) -> int:
        limits = self.limits(condition)
        if limits.expect_every_us is None:
            return limits.for_us // 2
        return min(limits.for_us, round(OVERDUE * limits.expect_every_us))

    def heard(self, condition: Condition, now_us: int) -> None:
        """A match of one whose parent is absent may be the parent's return."""
        due_us = self.silence(condition).due_us
        if not now_us < condition.wake_us <= due_us:  # else it is looked at before, and planned anew then
            self.look_at(condition, due_us)
        parent = self.parent_of(condition)
        if parent is None or (whole := self.open.get(self.parent_slot(parent))) is None:
            return
        if not self.are_silent(parent, now_us):
            self.clear(whole, now_us)
            for member in self.groups[parent].values():
                if member.opened_us is None:
                    self.lease(member, max(now_us, member.last_us))
                    self.look_at(member, self.silence(member).due_us)

    def named_key(self, condition: Condition) -> dict[str, str]:
        if condition.role != PARENT:
            return super().named_key(condition)
        return {self.limits(condition).parent or "": condition.key[0]}

    def role_in_id(self, condition: Condition) -> tuple[str, ...]:
        return (condition.role,) if condition.role else ()
