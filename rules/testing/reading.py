"""Test files → checked tests, with a place for every mistake. Two steps: `read_head` says which rules and which world
it is about; with these `read_tests` reads the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from geo.atlas import Atlas
from geo.distance import metres_per_degree
from models.observations import WIRE_TYPES, TrackObject
from models.problems import Problem
from models.times import BadTime, parse_rfc3339_us
from rules.language.clauses import Clause, Here, shown
from rules.language.findings import File, TooMany, did_you_mean, quoted
from rules.language.load import SourceFile
from rules.language.source import ListNode, MapNode, Node, ScalarNode, compose, span
from rules.testing import schema
from rules.testing.model import Answer, Disturb, Equivalent, Expected, Feed, Plain, Test, TestFile, Waypoint, WhyNot
from rules.testing.sending import FRAME_FIELDS
from rules.testing.series import moment_us, series

START = "2026-03-02T08:00:00+08:00"
"""A Monday in the morning, where a file says none."""
SECOND_US = 1_000_000
MOST_RECORDS = 200_000
"""Of one feed: two days of one a second."""
FIELDS = {topic: frozenset(wire.__struct_encode_fields__) for topic, wire in WIRE_TYPES.items()}
FIELDS["camera.tracks"] = frozenset((*TrackObject.__struct_encode_fields__, *FRAME_FIELDS))
MAIN = {"sensor.readings": "value", "traffic.measurements": "speed_kmh", "camera.events": "confidence"}
"""What a plain series of values is of."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What tests may speak of: the rules' ids and the city."""

    rules: Collection[str]
    atlas: Atlas


@dataclass(slots=True)
class Head:
    """A file as far as it is read without its world. Paths are as written; None: the city's."""

    file: File
    top: Clause | None
    rules: tuple[str, ...] = ()
    zones: str | None = None
    registry: str | None = None
    tables: str | None = None

    @property
    def problems(self) -> list[Problem]:
        return self.file.problems

    def missing(self, path: str) -> None:
        """Note that what it names is not there."""
        where = self.top.get("rules") or self.top.get("world") if self.top is not None else None
        spot = (1, 1, 1) if where is None else span(where.node)
        self.file.add("E508", f"{quoted(path)} is not there", spot, path=() if where is None else where.path)


def read_head(source: SourceFile) -> Head:
    head = Head(File(source.name), None)
    if source.missing is not None:
        head.file.add("E101", f"cannot be read: {source.missing}", (1, 1, 1))
        return head
    with suppress(TooMany):
        root = compose(head.file, source.data)
        if root is None:
            if not head.problems:
                head.file.add("E507", "the file is empty: nothing is tested", (1, 1, 1))
            return head
        top = Clause.read(Here(head.file, root, ("test file",)), schema.FILE)
        if isinstance(root, MapNode):
            head.top = top
            top.whole("version", schema.VERSION, schema.VERSION, schema.VERSION)
            head.rules = tuple(text for _, text in top.texts("rules"))
            world = top.clause("world", schema.WORLD)
            if world is not None:
                head.zones, head.registry = world.text("zones", None), world.text("registry", None)
                head.tables = world.text("tables", None)
    return head


def read_tests(head: Head, scene: Scene) -> TestFile:
    """The tests; they count only when no problem was noted in the head's file."""
    with suppress(TooMany):
        if head.top is not None:
            return Reader(head.top, scene).read(head.file.name)
    return TestFile(head.file.name, (), ())


class Reader:
    """One file."""

    def __init__(self, top: Clause, scene: Scene) -> None:
        self.top, self.scene = top, scene
        self.points = {zone.path: zone.geometry.representative_point() for zone in scene.atlas.zones}
        self.named = dict(entries(top.get("streams")))
        world = top.clause("world", schema.WORLD)
        self.start_us = self.stamp(world, "start", stamp_us(START)) if world is not None else stamp_us(START)

    def read(self, name: str) -> TestFile:
        tests: list[Test] = []
        for clause in self.top.clauses("tests", schema.TEST):
            tests.append(self.test(clause, [test.name for test in tests]))
        if not tests and self.top.has("tests"):
            self.top.here.problem("E507", "the file has no test: nothing is tested")
        equivalent = tuple(self.equivalent(clause) for clause in self.top.clauses("equivalent", schema.EQUIVALENT))
        return TestFile(name, tuple(tests), equivalent)

    # -- one test ------------------------------------------------------------------------------------------------------

    def test(self, clause: Clause, before: list[str]) -> Test:
        name = clause.text("name", "")
        if name in before:
            (clause.get("name") or clause.here).problem("E511", f"there is already a test {quoted(name)}")
        feeds = tuple(feed for item in clause.items("streams") if (feed := self.feed(item)) is not None)
        expected = tuple(self.expected(item) for item in clause.clauses("expect", schema.EXPECT))
        same_as = clause.text("same_as", None)
        if same_as is not None and same_as not in before:
            here = clause.get("same_as") or clause.here
            here.problem("E505", f"no test above is called {quoted(same_as)}", did_you_mean(same_as, before))
        if not expected and same_as is None:
            clause.here.problem("E507", "the test expects nothing, so it cannot fail", "add expect, or same_as")
        crews = clause.flag("crews", False)
        return Test(
            name=name,
            place=clause.here.file.place(span(clause.here.node)),
            start_us=self.stamp(clause, "start", self.start_us),
            feeds=feeds,
            disturb=self.disturb(clause.clause("disturb", schema.DISTURB)),
            answers=tuple(self.answer(one) for one in clause.clauses("feedback", schema.FEEDBACK)),
            crews=crews,
            expected=expected,
            same_as=same_as,
        )

    def disturb(self, clause: Clause | None) -> Disturb:
        if clause is None:
            return Disturb()
        return Disturb(
            self.moment(clause, "shuffle_within", 0),
            clause.share("duplicate", 0.0),
            clause.share("drop", 0.0),
            clause.whole("seed", 0, 0, 1_000_000),
        )

    def answer(self, clause: Clause) -> Answer:
        if clause.has("say") == clause.has("command"):
            clause.here.problem("E112", 'feedback needs either "say" or "command"')
        return Answer(
            self.moment(clause, "at", 0),
            self.rule(clause, "rule") or "",
            clause.choice("say", schema.SAID, None),
            clause.choice("command", schema.COMMANDS, None),
            mapping(clause.get("args")),
        )

    def equivalent(self, clause: Clause) -> Equivalent:
        place = clause.here.file.place(span(clause.here.node))
        return Equivalent(self.rule(clause, "rule") or "", clause.text("path", ""), clause.text("reason", ""), place)

    # -- what is sent --------------------------------------------------------------------------------------------------

    def feed(self, item: Here) -> Feed | None:
        """`{topic: {…}}`, or `{topic: {use: name, …}}` on top of a stream of `streams`."""
        if not isinstance(item.node, MapNode) or len(item.node.entries) != 1:
            item.problem("E113", "a stream is one input and how it is made", "for example - sensor.readings: {…}")
            return None
        topic, entry = next(iter(item.node.entries.items()))
        if topic not in WIRE_TYPES:
            item.at(entry.key).problem("E502", f"{quoted(topic)} is no input", did_you_mean(topic, WIRE_TYPES))
            return None
        clause = self.with_named(Clause.read(item.at(entry.value, topic), schema.FEED), topic)
        fields = self.fields(clause, topic)
        written = self.written_series(clause, topic)
        times_us = self.times(clause, max((len(values) for values in written.values()), default=0))
        length = len(times_us)
        path = self.path(clause)
        return Feed(
            topic=topic,
            fields=fields,
            times_us=times_us,
            path=path,
            series={name: (*values, *([values[-1]] * (length - len(values)))) for name, values in written.items()},
            dropped=tuple(
                (self.moment(one, "from", 0), self.moment(one, "to", 0)) for one in clause.clauses("drop", schema.SPAN)
            ),
            delay_us=self.moment(clause, "delay", 0),
            key=clause.text("key", "") or self.area(fields),
            empty=clause.flag("empty", False),
        )

    def with_named(self, clause: Clause, topic: str) -> Clause:
        name = clause.text("use", None)
        if name is None:
            return clause
        named = self.named.get(name)
        if named is None:
            here = clause.get("use") or clause.here
            here.problem("E504", f"stream {quoted(name)} is not defined", did_you_mean(name, self.named))
            return clause
        base = dict(entries(named))
        if topic not in base:
            named.problem("E502", f"the stream is none of {topic}", f"write it as {{{topic}: {{…}}}}")
            return clause
        lower = Clause.read(base[topic], schema.FEED)
        return replace(clause, entries=lower.entries | clause.entries)

    def fields(self, clause: Clause, topic: str) -> Mapping[str, Plain]:
        """The constant fields; what a named stream sets and this one does not stays."""
        found: dict[str, Plain] = {}
        for here in (self.set_below(clause, topic), clause.get("set")):
            for name, value in entries(here):
                self.check_field(value, name, topic)
                found[name] = plain(value.node)
        return found

    def set_below(self, clause: Clause, topic: str) -> Here | None:
        name = clause.text("use", None)
        named = dict(entries(self.named.get(name or "")))
        return Clause.read(named[topic], schema.FEED).get("set") if topic in named else None

    def check_field(self, here: Here, name: str, topic: str) -> None:
        if name not in FIELDS[topic]:
            hint = did_you_mean(name, FIELDS[topic])
            here.problem("E509", f"{topic} has no field {quoted(name)}", hint)

    def written_series(self, clause: Clause, topic: str) -> dict[str, tuple[Plain, ...]]:
        here = clause.get("values")
        if here is None:
            return {}
        if not isinstance(here.node, MapNode):
            return self.one_series(here, MAIN.get(topic, ""), topic)
        found: dict[str, tuple[Plain, ...]] = {}
        for name, value in entries(here):
            found |= self.one_series(value, name, topic)
        return found

    def one_series(self, here: Here, name: str, topic: str) -> dict[str, tuple[Plain, ...]]:
        self.check_field(here, name, topic)
        if isinstance(here.node, ListNode):
            return {name: tuple(plain(item) for item in here.node.items)} if here.node.items else {}
        values = series(here.node.text) if isinstance(here.node, ScalarNode) else None
        if values is None:
            here.problem("E506", f"{shown(here.node)} is no series of values", "for example 0x3 20x10")
            return {}
        return {name: values}

    def times(self, clause: Clause, length: int) -> tuple[int, ...]:
        """When records are sent: at single instants, or every so often from a start."""
        if clause.has("at"):
            here = clause.get("at")
            assert here is not None
            listed = isinstance(here.node, ListNode)
            return tuple(sorted(self.read_moment(one) for one in (clause.items("at") if listed else [here])))
        every_us = self.moment(clause, "every", SECOND_US) or SECOND_US
        since_us = self.moment(clause, "from", 0)
        until_us = self.until(clause, since_us, every_us * length)
        if until_us <= since_us:
            if not clause.has("values"):
                clause.here.problem("E510", "the stream sends nothing", "say at, for, until, or values")
            return ()
        count = min(-(-(until_us - since_us) // every_us), MOST_RECORDS)
        return tuple(since_us + step * every_us for step in range(count))

    def until(self, clause: Clause, since_us: int, length_us: int) -> int:
        if clause.has("until"):
            return self.moment(clause, "until", 0)
        return since_us + (self.moment(clause, "for", 0) if clause.has("for") else length_us)

    def path(self, clause: Clause) -> tuple[Waypoint, ...]:
        found: list[Waypoint] = []
        for point in clause.clauses("path", schema.WAYPOINT):
            spot = self.spot(point) or ((found[-1].lon, found[-1].lat) if found else None)
            if spot is None:
                point.here.problem("E503", "the first point of a path needs a zone, or lon and lat")
                continue
            per_lon, per_lat = metres_per_degree(spot[1])
            east_m, north_m = (number(point, key) for key in ("east", "north"))
            moved = (round(spot[0] + east_m / per_lon, 8), round(spot[1] + north_m / per_lat, 8))
            found.append(Waypoint(self.moment(point, "at", 0), *moved))
        return tuple(sorted(found, key=lambda point: point.at_us))

    def spot(self, point: Clause) -> tuple[float, float] | None:
        zone = point.text("zone", None)
        if zone is None:
            return (number(point, "lon"), number(point, "lat")) if point.has("lon") and point.has("lat") else None
        if zone not in self.points:
            here = point.get("zone") or point.here
            here.problem("E503", f"zone {quoted(zone)} is not defined", did_you_mean(zone, self.points))
            return 0.0, 0.0
        return self.points[zone].x, self.points[zone].y

    @cached_property
    def areas(self) -> Mapping[str, str]:
        known = self.scene.atlas.registry
        if known is None:
            return {}
        devices = {device.id: device.area for device in known.devices.values()}
        return devices | {segment.id: segment.area for segment in known.segments.values()}

    def area(self, fields: Mapping[str, Plain]) -> str:
        """The area of the registered source, by which its records go; of any other just one of the areas."""
        for name in ("sensor_id", "device_id", "segment_id"):
            if fields.get(name) in self.areas:
                return self.areas[str(fields[name])]
        return next(iter(self.areas.values()), "area")

    # -- what is expected ----------------------------------------------------------------------------------------------

    def expected(self, clause: Clause) -> Expected:
        lists = {kind: tuple(mapping(item) for item in clause.items(kind)) for kind in schema.TOLD if clause.has(kind)}
        for kind in lists:
            for item in clause.items(kind):
                self.check_rule_of(item)
        transitions = tuple(text for _, text in clause.texts("transitions")) if clause.has("transitions") else None
        rule = self.rule(clause, "rule")
        if transitions is not None and rule is None:
            clause.here.problem("E112", 'transitions need the key "rule": whose they are')
        counts = {name: count(here) for name, here in entries(clause.get("count"))}
        for name, here in entries(clause.get("count")):
            self.check_rule(here, name)
        why_not = self.why_not(clause.clause("why_not", schema.WHY_NOT))
        if not (lists or clause.has("transitions") or clause.has("count") or clause.has("why_not")):
            hint = f"say {', '.join(schema.TOLD)}, count or why_not"
            clause.here.problem("E507", "nothing is expected at this time", hint)
        place = clause.here.file.place(span(clause.here.node))
        return Expected(self.moment(clause, "at", 0), place, rule, lists, counts, transitions, why_not)

    def why_not(self, clause: Clause | None) -> WhyNot | None:
        if clause is None:
            return None
        rule, stage = self.rule(clause, "rule"), clause.choice("stage", schema.STAGES, None)
        key = {name: str(value) for name, value in mapping(clause.get("key")).items()}
        return WhyNot(rule or "", key, stage or "", clause.text("contains", ""))

    def check_rule_of(self, item: Here) -> None:
        for name, here in entries(item):
            if name == "rule" and isinstance(here.node, ScalarNode):
                self.check_rule(here, here.node.text)

    def rule(self, clause: Clause, key: str) -> str | None:
        text = clause.text(key, None)
        here = clause.get(key)
        if text is not None and here is not None:
            self.check_rule(here, text)
        return text

    def check_rule(self, here: Here, name: str) -> None:
        if name not in self.scene.rules:
            here.problem("E501", f"no rule is called {quoted(name)}", did_you_mean(name, self.scene.rules))

    # -- times ---------------------------------------------------------------------------------------------------------

    def moment(self, clause: Clause, key: str, default: int) -> int:
        here = clause.get(key)
        return default if here is None else self.read_moment(here)

    def read_moment(self, here: Here) -> int:
        found = moment_us(here.node.text) if isinstance(here.node, ScalarNode) else None
        if found is None:
            here.problem("E512", f"{shown(here.node)} is no time after the start", "for example 90s or 2m05s")
        return found or 0

    def stamp(self, clause: Clause, key: str, default: int) -> int:
        text = clause.text(key, None)
        if text is None:
            return default
        try:
            return stamp_us(text)
        except BadTime:
            here = clause.get(key) or clause.here
            here.problem("E512", f"{quoted(text)} is no start", f'for example "{START}"')
            return default


def stamp_us(text: str) -> int:
    return parse_rfc3339_us(text)


def entries(here: Here | None) -> list[tuple[str, Here]]:
    """The entries of a mapping; of something else a problem."""
    if here is None:
        return []
    if not isinstance(here.node, MapNode):
        here.problem("E113", f"a mapping belongs here, not {shown(here.node)}")
        return []
    return [(name, here.at(entry.value, name)) for name, entry in here.node.entries.items()]


def mapping(here: Here | None) -> Mapping[str, Plain]:
    return {name: plain(value.node) for name, value in entries(here)}


def plain(node: Node) -> Plain:
    """The values of a node and what is below it."""
    match node:
        case MapNode(entries=found):
            return {name: plain(entry.value) for name, entry in found.items()}
        case ListNode(items=items):
            return [plain(item) for item in items]
        case ScalarNode(value=value):
            return value


def number(clause: Clause, key: str) -> float:
    here = clause.get(key)
    value = here.node.value if here is not None and isinstance(here.node, ScalarNode) else None
    if here is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        here.problem("E113", f'"{key}" must be a number, not {shown(here.node)}')
        return 0.0
    return float(value or 0)


def count(here: Here) -> int:
    value = here.node.value if isinstance(here.node, ScalarNode) else None
    if not isinstance(value, int) or isinstance(value, bool):
        here.problem("E113", f"a count is a whole number, not {shown(here.node)}")
        return 0
    return value
