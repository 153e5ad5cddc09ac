"""Where a rule is looked for: its seats, one a stream and a condition, and the joins the Desk makes of them.

A rule of one stream has one seat. `any_of`, `all_of`, `correlate`, and sequences and pairs over several streams have a
seat for each branch, source or step; each becomes a part of the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from models.streams import DESK_TOPICS, STREAMS, Field, Stream
from rules.language.checking import Names
from rules.language.clauses import Clause, Here, Params, last
from rules.language.detect import (
    MAX_GAP_US,
    Primitive,
    check_names_apart,
    in_sequence,
    reach,
    read_detect,
    read_step,
    steps_of,
)
from rules.language.expressions import ALWAYS, Checked, both, compiled, conjuncts, renamed
from rules.language.findings import did_you_mean, quoted
from rules.language.model import (
    AllOf,
    Correlate,
    Detect,
    Dwell,
    Event,
    Hold,
    InOrder,
    Join,
    NearBy,
    Source,
)
from rules.language.schema import (
    ALL_OF,
    BRANCH,
    CLOSE,
    CORRELATE,
    DETECT,
    IN_ALL_OF,
    IN_ANY_OF,
    OTHER,
    PRIMITIVES,
    SOURCE,
)
from rules.language.shared import Shared
from rules.language.source import ListNode, MapNode
from rules.language.typed import All

TICKETS = "hotline.tickets"
READABLE = tuple(s.topic for s in STREAMS.values() if not s.desk)
MAX_BRANCHES = 16
MAX_SOURCES = 16
MAX_NEED = 100
PAIR = ("one", "other")

Making = Callable[[Params | None], Detect]
Joining = Callable[[Params | None], Join]


@dataclass(frozen=True, slots=True)
class Seat:
    """One condition over one stream. `stream` None: it was reported, and nothing of it is checked.

    `label` is what `label.field` in close, escalate and message speaks of; `wanted` what a join asks of its detections.
    """

    name: str
    label: str
    kind: str
    stream: Stream | None
    names: Names | None
    where: Checked | None
    by: tuple[str, ...]
    make: Making
    suspects: bool = False
    wanted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the Detectors watch and what the Desk joins. `composed` False: the rule is its own only part."""

    seats: tuple[Seat, ...] = ()
    joins: tuple[Joining, ...] = ()
    composed: bool = False
    calls: tuple[str, ...] = ()
    """Sources the Desk looks at itself."""

    def and_then(self, other: Plan) -> Plan:
        return Plan((*self.seats, *other.seats), (*self.joins, *other.joins), True, (*self.calls, *other.calls))


@dataclass(frozen=True, slots=True)
class Given:
    """What the rule itself says for all its branches."""

    rule: Clause
    shared: Shared
    streams: tuple[Stream, ...]
    by: tuple[tuple[Here, str], ...] | None

    def names(self, stream: Stream) -> Names:
        return self.shared.names(stream.topic, stream.fields)


def plan_of(given: Given, primitive: Primitive) -> Plan:
    """The seats and joins of a rule whose primitive is known."""
    detect = given.rule.clause("detect", DETECT)
    assert detect is not None
    match primitive.kind:
        case "any_of":
            return plan_any_of(detect, given)
        case "all_of":
            return plan_all_of(detect, given, "", "all_of")
        case "correlate":
            refuse_own(given.rule, ("from", "where", "by"), "its sources have their own")
            clause = detect.clause("correlate", CORRELATE)
            assert clause is not None
            return plan_correlate(clause, given, "", "correlate", given.rule.clause("close", CLOSE))
        case kind:
            clause = detect.clause(kind, PRIMITIVES[kind])
            assert clause is not None
            return plan_one(clause, kind, given)


def plan_one(clause: Clause, kind: str, given: Given) -> Plan:
    """A primitive that is the whole rule."""
    if spans(kind, clause):
        return plan_spanning(clause, kind, given, "", kind)
    if not given.rule.has("from"):
        given.rule.missing("from")
    if given.by is None:
        given.rule.missing("by")
    if len(given.streams) < 2:
        stream = given.streams[0] if given.streams else None
        return Plan((seat_of(clause, kind, "", "", stream, given),))
    seats = [seat_of(clause, kind, stream.topic, stream.topic, stream, given) for stream in given.streams]
    return Plan(tuple(seats), composed=True)


def seat_of(clause: Clause, kind: str, name: str, label: str, stream: Stream | None, given: Given) -> Seat:
    """A primitive over one stream; what the branch says for itself is worked in."""
    names = None if stream is None else given.names(stream)
    where = both(given.rule.expression("where", names), clause.expression("where", names))
    by = read_by(clause, given, stream)
    return Seat(
        name, label, kind, stream, names, where, by,
        lambda params: read_detect(kind, replace(clause, params=params), names),
    )  # fmt: skip


# -- streams and keys --------------------------------------------------------------------------------------------------


def read_streams(clause: Clause) -> tuple[Stream, ...]:
    """The streams of a list in `from`; what is none is reported."""
    return known_streams(clause.texts("from"))


def known_streams(named: Sequence[tuple[Here, str]]) -> tuple[Stream, ...]:
    found = []
    for here, topic in named:
        stream = STREAMS.get(topic)
        if topic in READABLE and stream is not None:
            found.append(stream)
        elif stream is not None or topic in DESK_TOPICS:
            hint = "a source of correlate can be hotline.tickets" if topic == TICKETS else None
            here.problem("E201", f"{topic} is read by the Desk: no rule watches it", hint)
        else:
            here.problem("E201", f"stream {quoted(topic)} is not defined", did_you_mean(topic, READABLE))
    return tuple(found)


def own_stream(clause: Clause, given: Given) -> Stream | None:
    """The one stream of a branch, source or step: its own, else the rule's."""
    streams = known_streams(clause.one_or_more("from")) if clause.has("from") else given.streams
    if len(streams) > 1:
        (clause.get("from") or clause.here).problem("E120", "exactly one stream belongs here", "make a branch of each")
    if not streams and not clause.has("from") and not given.rule.has("from"):
        clause.missing("from")
    return streams[0] if streams else None


def read_by(clause: Clause, given: Given, stream: Stream | None) -> tuple[str, ...]:
    """Its own key, else the rule's, else the stream's source."""
    own = clause.texts("by") if clause.has("by") else given.by
    if own is None:
        return () if stream is None else (stream.source,)
    for here, name in own:
        if name == "zone":
            if not given.rule.has("zones"):
                here.problem("E307", '"zone" tells nothing apart: the rule has no zones')
        elif stream is not None:
            check_key_field(here, name, stream)
    return tuple(name for _, name in own)


def check_key_field(here: Here, name: str, stream: Stream) -> None:
    if name not in stream.fields:
        hint = did_you_mean(name, (*stream.fields, "zone"))
        here.problem("E202", f"{stream.topic} has no field {quoted(name)}", hint)
    elif stream.fields[name].kind != "text":
        here.problem("E132", f"{name} is no text, and only texts tell one entity from another")


def refuse_own(clause: Clause, keys: Sequence[str], why: str) -> None:
    for key in keys:
        if key in clause.entries:
            at = clause.here.at(clause.entries[key].key, key)
            at.problem("E127", f'"{key}" does not belong here: {why}', f'leave "{key}" out')


# -- any_of, all_of ----------------------------------------------------------------------------------------------------


def plan_any_of(detect: Clause, given: Given) -> Plan:
    plan = Plan(composed=True)
    branches = list(branches_of(detect, "any_of", "any_of"))
    for number, kind, item in branches:
        plan = plan.and_then(plan_branch(item, kind, number, given))
    check_seats_apart(detect, plan.seats)
    return plan


def plan_branch(item: Clause, kind: str, number: int, given: Given) -> Plan:
    name = f"{number}.{kind}"
    if kind == "all_of":
        return plan_all_of(item, given, f"{number}.", name)
    clause = item.clause(kind, BRANCH[kind])
    assert clause is not None
    if kind == "correlate":
        return plan_correlate(clause, given, f"{number}.", name, None)
    if spans(kind, clause):
        return plan_spanning(clause, kind, given, f"{number}.", name)
    label = clause.name("as", name)
    return Plan((seat_of(clause, kind, label, label, own_stream(clause, given), given),))


def plan_all_of(detect: Clause, given: Given, prefix: str, name: str) -> Plan:
    """Several conditions at once: always joined at the Desk."""
    here = detect.get("all_of")
    assert here is not None
    plain = isinstance(here.node, ListNode)
    clause = detect if plain else detect.clause("all_of", ALL_OF)
    assert clause is not None
    seats = []
    for number, kind, item in branches_of(clause, "all_of" if plain else "of", "all_of"):
        branch = item.clause(kind, BRANCH[kind])
        assert branch is not None
        if spans(kind, branch):
            branch.here.problem("E125", f"a {kind} over several streams cannot be one of all_of")
        label = branch.name("as", f"{number}.{kind}")
        seats.append(seat_of(branch, kind, f"{prefix}{label}", label, own_stream(branch, given), given))
    check_seats_apart(detect, seats)
    parts = tuple(seat.name for seat in seats)

    def join(params: Params | None) -> Join:
        if plain:
            return AllOf(name, parts, 0, None)
        read = replace(clause, params=params)
        radius = reach(read, "radius", 1.0) if read.has("radius") else None
        return AllOf(name, parts, read.duration("within", 0), radius)

    return Plan(tuple(replace(seat, suspects=True) for seat in seats), (join,), True)


def branches_of(clause: Clause, key: str, kind: str) -> Iterator[tuple[int, str, Clause]]:
    """Number, primitive and mapping of each branch; one that is none was reported."""
    keys = IN_ANY_OF if kind == "any_of" else IN_ALL_OF
    items = list(clause.clauses(key, keys))
    here = clause.get(key) or clause.here
    if not 2 <= len(items) <= MAX_BRANCHES and isinstance(here.node, ListNode):
        here.problem("E114", f'"{kind}" has {len(items)} branches; it takes 2 to {MAX_BRANCHES}')
    for number, item in enumerate(items, 1):
        found = next(iter(item.entries), "")
        if len(item.entries) != 1:
            written = ", ".join(item.entries) or "none"
            item.here.problem("E120", f"exactly one primitive belongs in a branch; here are: {written}")
        elif found in keys.known:
            yield number, found, item


def check_seats_apart(clause: Clause, seats: Sequence[Seat]) -> None:
    names = [seat.name for seat in seats]
    for name in sorted({name for name in names if names.count(name) > 1}):
        clause.here.problem("E126", f"{quoted(name)} is used twice: nothing could tell the two apart")


# -- sequences and pairs over several streams --------------------------------------------------------------------------


def spans(kind: str, clause: Clause) -> bool:
    """Whether it needs more than one stream or key, and so the Desk."""
    here = clause.get("steps" if kind == "sequence" else "of")
    if here is None or kind not in ("sequence", "near"):
        return False
    items = here.node.items if isinstance(here.node, ListNode) else [here.node]
    return any(isinstance(item, MapNode) and not item.entries.keys().isdisjoint(("from", "by")) for item in items)


def plan_spanning(clause: Clause, kind: str, given: Given, prefix: str, name: str) -> Plan:
    return plan_steps(clause, given, prefix, name) if kind == "sequence" else plan_pair(clause, given, prefix, name)


def plan_steps(clause: Clause, given: Given, prefix: str, name: str) -> Plan:
    steps = steps_of(clause)
    seats = [step_seat(clause, step, given, prefix) for step in steps]

    def join(params: Params | None) -> Join:
        read = tuple(
            replace(read_step(replace(step, params=params), with_params(seat.names, params), seat.name), for_us=0)
            for step, seat in zip(steps, seats, strict=True)
        )
        return InOrder(name, in_sequence(replace(clause, params=params), read))

    return Plan(tuple(seats), (join,), True)


def step_seat(clause: Clause, step: Clause, given: Given, prefix: str) -> Seat:
    stream = own_stream(step if step.has("from") else clause, given)
    names = None if stream is None else given.names(stream)
    own = step.name("as", "")

    def make(params: Params | None) -> Detect:
        gap_us = replace(clause, params=params).duration("max_gap", MAX_GAP_US, positive=True)
        held_us = replace(step, params=params).duration("for", 0)
        return Dwell(held_us, math.inf, gap_us, 1) if held_us else Event(1, gap_us)

    where = both(given.rule.expression("where", names), step.expression("where", names))
    by = read_by(step if step.has("by") else clause, given, stream)
    return Seat(f"{prefix}{own}", own, "step", stream, names, where, by, make, suspects=True)


def plan_pair(clause: Clause, given: Given, prefix: str, name: str) -> Plan:
    """Two conditions near each other: `one` is the rule's own, `other` what `of` says."""
    other = clause.clause("of", OTHER)
    assert other is not None
    seats = (
        pair_seat(clause, clause, given, prefix, PAIR[0]),
        pair_seat(clause, other, given, prefix, PAIR[1]),
    )

    def join(params: Params | None) -> Join:
        read = replace(clause, params=params)
        return NearBy(name, (seats[0].name, seats[1].name), reach(read, "within", 1.0), read.duration("for", 0))

    return Plan(seats, (join,), True)


def pair_seat(clause: Clause, own: Clause, given: Given, prefix: str, label: str) -> Seat:
    stream = own_stream(own, given)
    names = None if stream is None else given.names(stream)
    first = label == PAIR[0]
    where = both(given.rule.expression("where", names) if first else None, own.expression("where", names))

    def make(params: Params | None) -> Detect:
        return Event(1, replace(clause, params=params).duration("max_gap", MAX_GAP_US, positive=True))

    by = read_by(own, given if first else replace(given, by=None), stream)
    return Seat(f"{prefix}{label}", label, "near", stream, names, where, by, make, suspects=True)


def with_params(names: Names | None, params: Params | None) -> Names | None:
    written = {name: here.node.text for name, here in (params or {}).items()}  # type: ignore[union-attr]  # scalars
    return None if names is None else replace(names, params=written)


# -- correlate ---------------------------------------------------------------------------------------------------------


def plan_correlate(clause: Clause, given: Given, prefix: str, name: str, close: Clause | None) -> Plan:
    """`close` is the rule's, where the correlation is the whole rule."""
    items = list(clause.clauses("sources", SOURCE))
    here = clause.get("sources") or clause.here
    if clause.has("sources") and not 2 <= len(items) <= MAX_SOURCES:
        here.problem("E114", f'"sources" has {len(items)} items; it takes 2 to {MAX_SOURCES}')
    check_names_apart(items)
    read = [(item, item.name("as", ""), source_stream(item)) for item in items]
    streams = {own: stream for _, own, stream in read if stream is not None}
    closing = None if close is None else closing_source(close, given, streams)
    seats = [
        source_seat(item, own, stream, given, prefix, clause, close if own == closing else None)
        for item, own, stream in read
        if stream is None or not stream.desk
    ]

    def join(params: Params | None) -> Join:
        sources = tuple(
            read_source(replace(item, params=params), own, stream, given, prefix) for item, own, stream in read
        )
        return read_correlate(replace(clause, params=params), name, sources)

    calls = tuple(own for _, own, stream in read if stream is not None and stream.desk)
    return Plan(tuple(seats), (join,), True, calls)


def source_stream(item: Clause) -> Stream | None:
    """A Detectors' stream, or the hotline's tickets."""
    named = item.one_or_more("from")
    if len(named) == 1 and named[0][1] == TICKETS:
        return STREAMS[TICKETS]
    streams = known_streams(named)
    if len(streams) > 1:
        (item.get("from") or item.here).problem("E120", "exactly one stream belongs here", "make a source of each")
    return streams[0] if streams else None


def source_seat(
    item: Clause, own: str, stream: Stream | None, given: Given, prefix: str, clause: Clause, close: Clause | None
) -> Seat:
    names = None if stream is None else given.names(stream)
    where = item.expression("where", names)
    metric = ("metric",) if stream is not None and "metric" in stream.fields else ()
    by = () if stream is None else (stream.source, *metric)
    distinct = frozenset(text for _, text in item.one_or_more("distinct"))
    if close is not None and stream is not None:
        seat = Seat(f"{prefix}{own}", own, "hold", stream, names, where, by, plain_event, True, distinct)
        return held_source(seat, close, given)

    def make(params: Params | None) -> Detect:
        return Event(1, replace(clause, params=params).duration("within", 1, positive=True))

    return Seat(f"{prefix}{own}", own, "event", stream, names, where, by, make, True, distinct)


def plain_event(_: Params | None) -> Detect:
    return Event()


def held_source(seat: Seat, close: Clause, given: Given) -> Seat:
    """A source that `close.when` speaks of is held: what is asked of the closing fields opens it, the rest selects."""
    assert seat.stream is not None
    stream, dot = seat.stream, f"{seat.label}."
    first = close.expression("when", with_params(dotted_names(given, {seat.label: stream}), close.params))
    asked = frozenset() if first is None else frozenset(name.removeprefix(dot) for name in first.fields)
    parts = [] if seat.where is None else conjuncts(seat.where)
    opening = joined([part for part in parts if part.fields & asked])
    if first is not None and opening is None:
        hint = "ask for the same field in its where"
        close.here.problem("E319", f'"when" closes {seat.label}, and nothing of that field opens it', hint)

    def make(params: Params | None) -> Detect:
        read = replace(close, params=params)
        when = read.expression("when", with_params(dotted_names(given, {seat.label: stream}), params))
        closing = None if when is None else renamed(when, lambda name: name.removeprefix(dot))
        return Hold(min(asked, default=""), opening or ALWAYS, closing or ALWAYS, 0, read.duration("for", 0))

    where = joined([part for part in parts if not part.fields & asked])
    return replace(seat, where=where, make=make)


def joined(parts: Sequence[Checked]) -> Checked | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return compiled(All(tuple(part.tree for part in parts)), " and ".join(f"({part.text})" for part in parts))


def dotted_names(given: Given, streams: dict[str, Stream]) -> Names:
    """`source.field` of each source."""
    return given.shared.names("the sources", dotted_fields(streams))


def dotted_fields(streams: dict[str, Stream]) -> dict[str, Field]:
    return {f"{own}.{name}": field for own, stream in streams.items() for name, field in stream.fields.items()}


def closing_source(close: Clause, given: Given, streams: dict[str, Stream]) -> str | None:
    """The one source that `close.when` speaks of."""
    here = close.get("when")
    when = close.expression("when", with_params(dotted_names(given, streams), close.params))
    if when is None or here is None:
        return None
    spoken = sorted({name.partition(".")[0] for name in when.fields})
    watched = [own for own in spoken if not streams[own].desk]
    if len(spoken) == 1 and watched:
        return spoken[0]
    message = f'"when" must speak of one source that a Detector watches, not {", ".join(spoken) or "none"}'
    here.problem("E319", message, "for example gauge.value < 8cm")
    return None


def read_source(item: Clause, own: str, stream: Stream | None, given: Given, prefix: str) -> Source:
    names = None if stream is None else given.names(stream)
    distinct = item.text("distinct", None)
    here = item.get("distinct")
    if distinct is not None and here is not None and stream is not None and distinct not in stream.fields:
        hint = did_you_mean(distinct, stream.fields)
        here.problem("E202", f"{stream.topic} has no field {quoted(distinct)}", hint)
    desk = stream is not None and stream.desk
    return Source(
        own,
        "" if desk else f"{prefix}{own}",
        "" if stream is None else stream.topic,
        item.expression("where", names) or ALWAYS,
        item.number("reliability", None, 0, 1),
        distinct,
    )


def read_correlate(clause: Clause, name: str, sources: tuple[Source, ...]) -> Correlate:
    known = [source.name for source in sources]
    require_any = []
    for here, text in clause.texts("require_any"):
        require_any.append(text)
        if text not in known:
            here.problem("E214", f"source {quoted(text)} is not defined", did_you_mean(text, known))
    confidence = clause.number("confidence", None, 0, 1)
    if confidence is not None and any(source.reliability is None for source in sources):
        clause.here.problem("E112", f'{last(clause.here)} has "confidence": every source needs "reliability"')
    return Correlate(
        name,
        reach(clause, "radius", 1.0),
        clause.duration("within", 1, positive=True),
        clause.whole("need", 2, 1, MAX_NEED),
        sources,
        tuple(require_any),
        confidence,
    )
