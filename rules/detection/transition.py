"""`transition`: a key goes into, out of, or through a zone; without zones, it comes to fulfil `where`, or ceases to.

    fixes    o  o  i  i  i  i  o  i  o  o  o       o = outside, i = inside
                   |<-settle->|        |<-settle->|
    enter          since      raised   since      cleared
    exit                                          raised

The new side counts once it has held for `settle`, decided by the first fix at or after the moment and told with the
moment itself. A key that is first seen inside has not entered, but may leave. Leaving is beyond the `edge_buffer`.

`cross` is raised when a key that came in is outside again, or when the straight line between two fixes outside, at most
five minutes apart, touches the zone. `exit` and `cross` are moments and never clear; what has entered clears when it
has left, or when it is missed.
"""

from __future__ import annotations

from functools import cached_property

import shapely

from models.times import HOUR_US, MINUTE_US
from rules.detection.condition import Condition, Hit
from rules.detection.looks import IS_SO
from rules.detection.memory import FAR_US, Side, Way
from rules.detection.missed import MissedWatch
from rules.detection.watch import ROLE
from rules.language.model import Transition
from rules.language.zones import zone_matches

MOVER = "mover"
FORGET_MOVER_US = 24 * HOUR_US
"""Where one was that has not been seen for a day says nothing of how it came where it is."""
LONGEST_LEAP_US = 5 * MINUTE_US
"""A tunnel takes a minute or two; of a longer gap nobody knows the way."""


class TransitionWatch(MissedWatch):
    def limits(self, condition: Condition) -> Transition:
        detect = self.variant(condition).detect
        assert isinstance(detect, Transition)
        return detect

    def observe(self, hit: Hit) -> None:
        """Take a fix, or one zone that it is in; they are judged together when all of the moment are there."""
        mover = self.open.get((hit.key, f"{ROLE}{MOVER}"))
        if mover is None or hit.time_us - mover.last_us > FORGET_MOVER_US:
            mover = Condition.begin(hit._replace(zone=""))
            mover.role, mover.memory, mover.since_us = MOVER, Way(), hit.time_us
        way = self.way(mover)
        if hit.time_us > mover.last_us:
            way.before_us, way.before_lon, way.before_lat = mover.last_us, mover.lon, mover.lat
            way.now = {}
        mover.follow(hit)
        mover.source, mover.area, mover.evidence = hit.source, hit.area, [hit.offset]
        if self.rule.zones is None:
            way.now[""] = bool(hit.signal & IS_SO)
        elif hit.zone:
            side = hit.zone if self.by_zone else ""
            way.now[side] = way.now.get(side, False) or hit.inside
            if hit.inside:
                way.zone = hit.zone
        self.remember(mover, hit.time_us)
        if mover.wake_us != hit.time_us:
            self.look_at(mover, hit.time_us)

    def way(self, mover: Condition) -> Way:
        assert isinstance(mover.memory, Way)
        return mover.memory

    def awake(self, condition: Condition, now_us: int) -> None:
        if condition.role != MOVER:
            self.tend_or_miss(condition, now_us)
        else:
            self.judge(condition, self.way(condition), now_us)
            condition.wake_us = FAR_US

    def sweep(self, now_us: int) -> None:
        old_us = now_us - FORGET_MOVER_US
        for mover in [c for c in self.open.values() if c.role == MOVER and c.last_us < old_us]:
            self.forget(mover)

    def judge(self, mover: Condition, way: Way, now_us: int) -> None:
        """What the newest fix says of each zone."""
        if way.before_us is None:
            way.sides = {zone: Side(inside=True) for zone, inside in way.now.items() if self.is_in(inside, True)}
            return
        leapt = self.limits(mover).change == "cross" and self.leapt_over(mover, way, now_us)
        for zone in sorted({*way.sides, *way.now}):
            side = way.sides.setdefault(zone, Side(inside=False))
            self.judge_side(mover, zone, side, self.is_in(way.now.get(zone), side.inside), now_us)
            if not side.inside and side.since_us is None:
                del way.sides[zone]
        if leapt:
            self.tell_moment(mover, leapt, now_us, now_us)

    def is_in(self, seen: bool | None, was: bool) -> bool:
        """In the buffer one is still in who was; without zones there is none."""
        if seen is None or self.rule.zones is None:
            return bool(seen)
        return seen or was

    def judge_side(self, mover: Condition, zone: str, side: Side, inside: bool, now_us: int) -> None:
        limits = self.limits(mover)
        entered = self.open.get((mover.key, zone))
        if inside == side.inside:
            side.since_us = None
            if entered is not None and inside:
                self.stays(entered, mover, now_us)
            return
        if side.since_us is None:
            side.since_us = now_us
        settle_us = 0 if limits.change == "cross" and inside else limits.settle_us
        at_us = side.since_us + settle_us
        if now_us < at_us:
            return
        since_us, came = side.since_us, side.came
        side.inside, side.since_us, side.came = inside, None, inside
        if inside:
            if limits.change == "enter":
                self.enter(mover, zone, since_us, at_us)
            return
        if entered is not None:
            self.tell_stages(entered, at_us)
            self.clear(entered, at_us)
        if limits.change == "exit" or (limits.change == "cross" and came):
            self.tell_moment(mover, zone or self.way(mover).zone, since_us, at_us)

    def enter(self, mover: Condition, zone: str, since_us: int, at_us: int) -> None:
        condition = self.of(mover, zone or self.way(mover).zone, since_us)
        self.keep(condition, at_us)
        raised_us = self.raised_at(condition, at_us - since_us)
        self.raise_(condition, raised_us, mover.evidence[0])
        self.tell_stages(condition, mover.last_us)
        self.look_at(condition, mover.last_us)

    def stays(self, entered: Condition, mover: Condition, now_us: int) -> None:
        entered.last_us, entered.source = now_us, mover.source
        entered.lon, entered.lat, entered.error_m = mover.lon, mover.lat, mover.error_m
        entered.value, entered.attributes = mover.value, mover.attributes
        self.back_at(entered, now_us)
        self.tell_stages(entered, now_us)

    def tell_moment(self, mover: Condition, zone: str, since_us: int, at_us: int) -> None:
        condition = self.of(mover, zone, since_us)
        self.raise_(condition, at_us, mover.evidence[0])

    def of(self, mover: Condition, zone: str, since_us: int) -> Condition:
        """The mover as a condition of a zone."""
        condition = Condition.begin_as(mover, mover.key, "")
        condition.zone, condition.since_us = zone, since_us
        return condition

    # from outside to outside

    def leapt_over(self, mover: Condition, way: Way, now_us: int) -> str:
        """The first zone between two fixes outside; "" if there is none."""
        assert way.before_us is not None
        if now_us - way.before_us > LONGEST_LEAP_US or not self.crossable[0]:
            return ""
        paths, tree = self.crossable
        line = shapely.LineString([(way.before_lon, way.before_lat), (mover.lon, mover.lat)])
        if shapely.is_empty(line) or line.length == 0 or line.length != line.length:
            return ""
        near = sorted(paths[at] for at in tree.query(line, predicate="intersects").tolist())
        if not self.by_zone:
            return near[0] if near and not way.now and "" not in way.sides else ""
        return next((path for path in near if path not in way.now and path not in way.sides), "")

    @cached_property
    def crossable(self) -> tuple[list[str], shapely.STRtree]:
        """The zones of the rule, and a tree of where they are."""
        clause = self.rule.zones
        found = [] if clause is None else [
            zone for zone in self.lane.atlas.zones
            if any(zone_matches(one, zone.path) for one in clause.include)
            and not any(zone_matches(one, zone.path) for one in clause.exclude)
        ]  # fmt: skip
        return [zone.path for zone in found], shapely.STRtree([zone.geometry for zone in found])
