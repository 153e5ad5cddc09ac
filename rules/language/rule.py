"""One rule: its clauses read, its params and overrides worked into variants."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo
from typing import Literal

from models.detections import Text
from models.streams import STREAMS, Field, Stream
from models.times import instant_us
from rules.language.afterwards import read_evidence, read_flap, read_merge, read_suppressions, read_upstream
from rules.language.calendars import WeekCalendar
from rules.language.checking import Names
from rules.language.clauses import Clause, Here, Params, shown
from rules.language.closing import read_close, read_stages
from rules.language.composition import TICKETS, Given, Plan, Seat, plan_of, read_streams, refuse_own
from rules.language.detect import Primitive, find_primitive
from rules.language.expressions import ALWAYS, Checked
from rules.language.findings import did_you_mean, quoted
from rules.language.holds import UNITLESS
from rules.language.lint import lint
from rules.language.messages import EXTRA, FILTERS, BadTemplate, Holder, Part, parse_template, parts
from rules.language.model import (
    Absent,
    Aggregate,
    Applies,
    Change,
    Count,
    Detect,
    DispatchClause,
    Dwell,
    Escalation,
    Event,
    Exemption,
    Expression,
    Hold,
    InSequence,
    Join,
    Message,
    Near,
    Neighbours,
    Rule,
    Transition,
    Variant,
    ZoneSelector,
)
from rules.language.neighbours import kinds, read_neighbours
from rules.language.schema import (
    DISPATCH,
    ESCALATE,
    EXEMPT,
    NO_DATA,
    OVERRIDE,
    RULE,
    SEVERITIES,
    STATUSES,
    TEXTS,
    TYPE,
    VERIFY,
    ZONES,
)
from rules.language.shared import Shared, read_department, read_owner
from rules.language.source import MapNode, ScalarNode, span
from rules.language.typed import Kind
from rules.language.zones import ZoneBook, is_pattern

MAX_REVISION = 1_000_000


def read_rule(here: Here, shared: Shared) -> Rule | None:
    """The rule, or None where it is none at all. It counts only when its file has no error."""
    node = here.node
    params = read_params(here)
    rule = Clause.read(here, RULE, params)
    if not isinstance(node, MapNode):
        return None
    plain = Clause(here, RULE, None, node.entries)
    primitive = find_primitive(rule)
    severity, code, life_safety = read_type(plain, shared)
    zones = read_zones(plain, shared)
    given = Given(rule, shared, read_streams(plain), tuple(plain.texts("by")) if plain.has("by") else None)
    plan = plan_of(given, primitive) if primitive.built else Plan()
    settings = read_settings(rule, severity, shared)
    id_node = node.entries["id"].value if "id" in node.entries else node
    common = Rule(
        id=plain.name("id", ""),
        revision=plain.whole("revision", 1, 1, MAX_REVISION),
        name=read_texts(plain, "name"),
        owner=read_rule_owner(plain, shared),
        status=plain.choice("status", STATUSES, "draft"),  # type: ignore[arg-type]  # one of STATUSES
        type=code,
        severity=severity,
        life_safety=life_safety,
        topic="",
        where=None,
        zones=zones,
        by=(),
        neighbours=None,
        active=read_calendar_name(plain, "active", shared),
        variants=(),
        no_data=plain.choice("no_data", NO_DATA, "unknown"),  # type: ignore[arg-type]  # one of NO_DATA
        exempt=(),
        merge=read_merge(plain),
        escalate=(),
        dispatch=read_dispatch(plain, shared),
        message=Message((), (), frozenset()),
        cooldown_us=plain.duration("cooldown", 0),
        fingerprint="",
        place=here.file.place(span(id_node)),
        flap=read_flap(plain),
        suppressed_by=read_suppressions(plain, life_safety, shared),
        evidence=read_evidence(plain),
        upstream_segments=read_upstream(plain),
    )
    found = Reading(rule, plain, shared, primitive, plan, settings).finished(common)
    if primitive.built:
        lint(rule, found, shared)
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule whose seats are known: what is left speaks of their fields."""

    rule: Clause
    plain: Clause
    shared: Shared
    primitive: Primitive
    plan: Plan
    settings: tuple[Setting, ...]

    def finished(self, common: Rule) -> Rule:
        known = self.known()
        escalate = read_escalations(self.rule, self.shared, known)
        message = read_message(self.plain, known, self.plan.composed and bool(self.plan.joins))
        whole = replace(common, escalate=escalate, message=message)
        seats = self.plan.seats
        if not self.plan.composed:
            return self.watched(whole, seats[0]) if seats else replace(whole, variants=self.variants_of_none())
        refuse_own(self.plain, ("neighbours",), "it looks around in one stream")
        parts = tuple(self.watched(whole, seat) for seat in seats)
        return replace(
            whole,
            variants=self.variants_of_whole(parts),
            joins=self.joins(),
            parts=parts,
            exempt=parts[0].exempt if parts else (),
            fingerprint=fingerprint_of_whole(self.primitive.kind, parts),
        )

    def watched(self, whole: Rule, seat: Seat) -> Rule:
        """The rule as one seat watches it."""
        variants = tuple(self.variant(setting, seat) for setting in self.settings)
        stream = seat.stream
        single = not self.plan.composed
        neighbours = read_neighbours(self.plain, self.primitive, stream, seat.names, variants) if single else None
        part = replace(
            whole,
            topic="" if stream is None else stream.topic,
            where=seat.where,
            by=seat.by,
            neighbours=neighbours,
            variants=variants,
            exempt=read_exemptions(self.plain, seat.names, self.shared.zone),
            part=seat.name,
            suspects=seat.suspects,
            fingerprint=fingerprint(seat, whole.zones, variants[-1].detect, neighbours),
        )
        return self.carrying(part, seat) if seat.suspects else part

    def carrying(self, part: Rule, seat: Seat) -> Rule:
        """A suspected part tells the fields that its join, and what is made of it, ask for."""
        dot = f"{seat.label}."
        spoken = part.message.fields.union(*(e.when.fields for e in part.escalate if e.when is not None))
        asked = frozenset(name.removeprefix(dot) for name in spoken if name.startswith(dot))
        return replace(part, escalate=(), message=Message((), (), asked | seat.wanted), flap=None, suppressed_by=())

    def variant(self, setting: Setting, seat: Seat) -> Variant:
        clause = Clause(self.rule.here, RULE, setting.params, self.rule.entries)
        detect = seat.make(setting.params)
        applies = setting.applies(seat.names, self.shared)
        if seat.suspects:
            close = read_close(clause, "part", None)
            return Variant(applies, setting.reason, setting.severity, detect, (), close)
        stages = read_stages(clause, seat.kind, detect)
        kind = "any_of" if self.plan.composed else seat.kind
        return Variant(applies, setting.reason, setting.severity, detect, stages, read_close(clause, kind, seat.names))

    def variants_of_whole(self, parts: tuple[Rule, ...]) -> tuple[Variant, ...]:
        """Of a rule with parts: what the Desk goes by; the conditions are the parts'."""
        names = self.when_names()
        found = []
        for number, setting in enumerate(self.settings):
            clause = Clause(self.rule.here, RULE, setting.params, self.rule.entries)
            applies = parts[0].variants[number].applies if parts else setting.applies(None, self.shared)
            stages = read_stages(clause, self.primitive.kind, Event(), joined=bool(self.plan.joins))
            close = read_close(clause, self.primitive.kind, names)
            found.append(Variant(applies, setting.reason, setting.severity, Event(), stages, close))
        return tuple(found)

    def variants_of_none(self) -> tuple[Variant, ...]:
        """Where the primitive was reported: the clauses that lean on it are still read, as far as they can be."""
        found = []
        for setting in self.settings:
            clause = Clause(self.rule.here, RULE, setting.params, self.rule.entries)
            applies = setting.applies(None, self.shared)
            stages, close = read_stages(clause, "", Event()), read_close(clause, "", None)
            found.append(Variant(applies, setting.reason, setting.severity, Event(), stages, close))
        return tuple(found)

    def when_names(self) -> Names | None:
        return None if self.primitive.kind != "correlate" else self.shared.names("the sources", self.dotted())

    def joins(self) -> tuple[Join, ...]:
        """Of the base; an override that would change one is told, for none can."""
        base = tuple(join(self.settings[-1].params) for join in self.plan.joins)
        for setting in self.settings[:-1]:
            if tuple(join(setting.params) for join in self.plan.joins) != base and setting.clause is not None:
                message = "the override changes what is put together of several streams, where it cannot apply"
                setting.clause.here.problem("E320", message, "change a condition's own numbers, or the severity")
        return base

    # -- what is known of a detection ----------------------------------------------------------------------------------

    def known(self) -> dict[str, Field] | None:
        """The fields that escalate and message may speak of; None where a stream is unknown."""
        if not self.plan.seats or any(seat.stream is None for seat in self.plan.seats):
            return None
        found: dict[str, Field] = {}
        for seat in self.plan.seats:
            if not seat.suspects and seat.stream is not None:
                agree(found, detection_fields(seat.stream, seat.make(self.settings[-1].params)))
        return {**self.dotted(), **found}

    def dotted(self) -> dict[str, Field]:
        """`source.field` of what a join is made of."""
        found: dict[str, Field] = {}
        for seat in self.plan.seats:
            if seat.suspects and seat.stream is not None:
                params = self.settings[-1].params
                fields = detection_fields(seat.stream, seat.make(params))
                found |= {f"{seat.label}.{name}": field for name, field in fields.items()}
        for call in self.plan.calls:
            found |= {f"{call}.{name}": field for name, field in STREAMS[TICKETS].fields.items()}
        return found


def agree(found: dict[str, Field], more: dict[str, Field]) -> None:
    """Fields of several branches: one that means something else in each is known in none."""
    for name, field in more.items():
        if found.setdefault(name, field) != field:
            found[name] = Field("mixed")


# -- who and what ------------------------------------------------------------------------------------------------------


def read_params(here: Here) -> Params:
    """Names and their values where they are written; what they mean is decided where they are used."""
    entry = here.node.entries.get("params") if isinstance(here.node, MapNode) else None
    if entry is None:
        return {}
    return quantities(here.at(entry.value, "params"), "params")


def quantities(here: Here, key: str) -> dict[str, Here]:
    if not isinstance(here.node, MapNode):
        here.problem("E113", f'"{key}" must be a mapping of names, not {shown(here.node)}')
        return {}
    found = {}
    for name, (_, value) in here.node.entries.items():
        written = value.value if isinstance(value, ScalarNode) else None
        if written is None or isinstance(written, bool) or (isinstance(written, str) and written.startswith("$")):
            here.at(value, name).problem("E113", f'"{name}" must be a number or a quantity, not {shown(value)}')
        else:
            found[name] = here.at(value, name)
    return found


def read_texts(rule: Clause, key: str) -> Text:
    clause = rule.clause(key, TEXTS)
    return Text("", "") if clause is None else Text(clause.text("zh", ""), clause.text("en", ""))


def read_rule_owner(rule: Clause, shared: Shared) -> str:
    owner = read_owner(rule, shared.context) or shared.owner
    if not owner and not rule.has("owner"):
        rule.here.problem("W403", "nobody answers for this rule", "set owner, or defaults > owner for the whole file")
    return owner


def read_type(rule: Clause, shared: Shared) -> tuple[str, str, bool]:
    """Severity, code, life_safety."""
    clause = rule.clause("type", TYPE)
    if clause is None:
        return SEVERITIES[0], "", False
    code = clause.text("code", "")
    known = shared.context.types
    if code and known is not None and code not in known:
        here = clause.get("code")
        assert here is not None
        here.problem("E208", f"type code {quoted(code)} is not in rules/tables/types.yaml", did_you_mean(code, known))
    severity = clause.choice("severity", SEVERITIES, SEVERITIES[0])
    return severity, code, clause.flag("life_safety", False)


def read_calendar_name(clause: Clause, key: str, shared: Shared) -> WeekCalendar | None:
    name = clause.text(key, None)
    if name is None:
        return None
    if name not in shared.calendars:
        here = clause.get(key)
        assert here is not None
        here.problem("E205", f"calendar {quoted(name)} is not defined", did_you_mean(name, shared.calendars))
    return shared.calendars.get(name)


def read_zones(rule: Clause, shared: Shared) -> ZoneSelector | None:
    clause = rule.clause("zones", ZONES)
    if clause is None:
        return None
    return ZoneSelector(
        read_patterns(clause, "in", shared), read_patterns(clause, "not_in", shared), clause.length("edge_buffer", 0.0)
    )


def read_patterns(clause: Clause, key: str, shared: Shared) -> tuple[str, ...]:
    found = []
    for here, pattern in clause.texts(key):
        if is_pattern(pattern):
            found.append(pattern)
            check_selects(here, pattern, shared.zones)
        else:
            here.problem("E123", f"{quoted(pattern)} is no zone pattern", 'for example "no-parking/*"')
    return tuple(found)


def check_selects(here: Here, pattern: str, zones: ZoneBook | None) -> None:
    if zones is None or zones.has(pattern):
        return
    if "*" not in pattern:
        here.problem("E207", f"zone {quoted(pattern)} is not defined", did_you_mean(pattern, zones.names))
        return
    kinds = [f"{kind}/*" for kind in zones.kinds]
    here.problem("E207", f"no zone fits {quoted(pattern)}", did_you_mean(pattern, kinds))


# -- variants ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """What one override, or none, sets. `clause` None: the base."""

    clause: Clause | None
    params: Params
    reason: str | None
    severity: str
    zones: tuple[str, ...] | None = None
    calendar: WeekCalendar | None = None

    def applies(self, names: Names | None, shared: Shared) -> Applies | None:
        """Where it holds, over one stream."""
        if self.clause is None:
            return None
        return Applies(self.zones, self.clause.expression("where", names), self.calendar)


def read_settings(rule: Clause, severity: str, shared: Shared) -> tuple[Setting, ...]:
    """One for each override, then the base."""
    params = rule.params or {}
    found = []
    for clause in Clause(rule.here, RULE, None, rule.entries).clauses("overrides", OVERRIDE):
        changed = read_changes(clause, params)
        if not any(clause.has(key) for key in ("zones", "where", "calendar")):
            clause.here.problem("E112", "the override needs zones, where or calendar: without them it always applies")
        found.append(
            Setting(
                clause,
                {**params, **changed},
                clause.text("reason", None),
                clause.choice("severity", SEVERITIES, severity),
                read_patterns(clause, "zones", shared) if clause.has("zones") else None,
                read_calendar_name(clause, "calendar", shared),
            )
        )
    return (*found, Setting(None, params, None, severity))


def read_changes(clause: Clause, params: Params) -> Params:
    here = clause.get("set")
    if here is None:
        if not clause.has("severity"):
            clause.here.problem("E309", "the override changes nothing", "give it set, severity or both")
        return {}
    changed = quantities(here, "set")
    for name in changed:
        if name not in params:
            at = here.at(here.node.entries[name].key) if isinstance(here.node, MapNode) else here
            at.problem("E206", f"param {quoted(name)} is not defined", did_you_mean(name, params))
    return changed


# -- exceptions and what happens ---------------------------------------------------------------------------------------


def read_exemptions(rule: Clause, names: Names | None, zone: tzinfo) -> tuple[Exemption, ...]:
    return tuple(
        Exemption(clause.expression("where", names) or ALWAYS, clause.text("reason", ""), read_until(clause, zone))
        for clause in rule.clauses("exempt", EXEMPT)
    )


def read_until(clause: Clause, zone: tzinfo) -> int | None:
    """The midnight that ends the day; None for never."""
    text = clause.text("until", "never")
    if text == "never":
        return None
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
        if day is not None:
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=1)
            return instant_us(midnight)
    except (ValueError, OverflowError):
        pass
    here = clause.get("until")
    assert here is not None
    here.problem("E124", f"{quoted(text)} is no date", 'write "2026-12-31" (that day included) or never')
    return None


def read_escalations(rule: Clause, shared: Shared, known: dict[str, Field] | None) -> tuple[Escalation, ...]:
    names = None if known is None else shared.names("a detection of this rule", known)
    found = []
    for clause in Clause(rule.here, RULE, None, rule.entries).clauses("escalate", ESCALATE):
        if clause.has("after") == clause.has("when"):
            clause.here.problem("E112", 'escalate needs either "after" or "when"')
        if clause.has("down_after") and not clause.has("when"):
            clause.here.problem("E112", '"down_after" needs "when": how long it has been open never goes back')
        found.append(
            Escalation(
                clause.choice("severity", SEVERITIES, SEVERITIES[0]),
                clause.duration("after", None, positive=True),
                clause.expression("when", names),
                clause.duration("down_after", None, positive=True),
            )
        )
    return tuple(found)


def detection_fields(stream: Stream, detect: Detect) -> dict[str, Field]:
    """What a detection of the stream tells: its fields, and `value`: what is held or counted, or how long it stood."""
    return {**stream.fields, **value_of(stream, detect)}


def value_of(stream: Stream, detect: Detect) -> dict[str, Field]:
    match detect:
        case Hold(value_field=name, over=over):
            of = stream.fields.get(name, Field("number"))
            if over is not None:
                of = Field("number", None if over.fn in UNITLESS else of.unit)
            return {"value": of} if name in stream.fields or over is not None else {}
        case Change(field=name) if name in stream.fields:
            return {"value": Field("number", stream.fields[name].unit)}
        case Dwell():
            return {"value": Field("number", "s")}
        case Count():
            return {"value": Field("number")}
        case _:
            return {}


def read_dispatch(rule: Clause, shared: Shared) -> DispatchClause:
    clause = rule.clause("dispatch", DISPATCH)
    if clause is None:
        return DispatchClause()
    verify = clause.clause("verify", VERIFY)
    clear_for_us = None
    if verify is not None:
        clear_for_us = verify.duration("clear_for", None, positive=True)
        verify.choice("else", ("person",), "person")
    return DispatchClause(
        department=read_department(clause, shared.context),
        plan=clause.name("plan", None),
        accept_within_us=clause.duration("accept_within", None, positive=True),
        resolve_within_us=clause.duration("resolve_within", None, positive=True),
        never_suppress=clause.flag("never_suppress", False),
        clear_for_us=clear_for_us,
    )


# -- message -----------------------------------------------------------------------------------------------------------


def read_message(rule: Clause, known: dict[str, Field] | None, joined: bool) -> Message:
    clause = rule.clause("message", TEXTS)
    if clause is None:
        return Message((), (), frozenset())
    read = {key: read_template(clause, key, known, rule.has("zones"), joined) for key in ("zh", "en")}
    paths = {p[0] for found in read.values() for p in found if isinstance(p, tuple)}
    names = {path if path in (known or {}) else path.partition(".")[0] for path in paths}
    return Message(read["zh"], read["en"], frozenset(names))


def read_template(
    clause: Clause, key: str, known: dict[str, Field] | None, zones: bool, joined: bool
) -> tuple[Part, ...]:
    here = clause.get(key)
    text = clause.text(key, "")
    if here is None:
        return ()
    try:
        template = parse_template(text)
    except BadTemplate as why:
        here.problem_inside("E140", why.message, (why.start, why.end))
        return ()
    for holder in template:
        if isinstance(holder, Holder):
            check_filters(here, holder)
            if known is not None:
                check_holder(here, holder, known, zones, joined)
    return parts(template)


def check_filters(here: Here, holder: Holder) -> None:
    for name in holder.filters:
        if name not in FILTERS:
            hint = did_you_mean(name, FILTERS)
            here.problem_inside("E211", f"filter {quoted(name)} is not defined", (holder.start, holder.end), hint)


def check_holder(here: Here, holder: Holder, known: dict[str, Field], zones: bool, joined: bool) -> None:
    at, path, filters = (holder.start, holder.end), holder.path, holder.filters
    kind: Kind | Literal["list"]
    if path in known:
        of = known[path]
        kind, unit = of.kind, of.unit
        if of.tokenised and "mask" not in filters:
            here.problem_inside("E305", f"{path} names a person: it would go out in clear", at, f"{{{path}|mask}}")
    elif path in EXTRA:
        kind, unit, needs = EXTRA[path]
        if needs == "zones" and not zones:
            here.problem_inside("E307", f"{path} is always empty: the rule has no zones", at)
        elif needs == "joins" and not joined:
            here.problem_inside("E202", f"{path} is known only where several sources are put together", at)
        elif needs not in (None, "zones", "joins") and not joined and needs not in known:
            here.problem_inside("E202", f"{path} is not known here: the stream has no {needs}", at)
        elif path == "device.owner" and "mask" not in filters:
            here.problem_inside("W801", "a device's owner may be a person", at, "{device.owner|mask}")
    else:
        hint = did_you_mean(path, (*known, *EXTRA))
        here.problem_inside("E202", f"nothing called {quoted(path)} is known in this message", at, hint)
        return
    check_filter_kinds(here, holder, kind, unit)


def check_filter_kinds(here: Here, holder: Holder, kind: Kind | Literal["list"], unit: str | None) -> None:
    """The first filter must fit the field; the others get what it gives."""
    name = holder.filters[0] if holder.filters else None
    takes = FILTERS.get(name) if name is not None else None
    if takes is None:
        return
    if kind not in takes:
        here.problem_inside("E132", f'"{name}" does not fit: {holder.path} is {kind}', (holder.start, holder.end))
    elif name in ("minutes", "seconds", "hours") and unit != "s":
        here.problem_inside("E133", f'"{name}" takes seconds: {holder.path} is none', (holder.start, holder.end))


# -- fingerprint -------------------------------------------------------------------------------------------------------


def fingerprint(seat: Seat, zones: ZoneSelector | None, detect: Detect, neighbours: Neighbours | None) -> str:
    """Of what shapes the state: a rule with other thresholds or texts keeps it, and its windows."""
    shape: dict[str, object] = {
        "language": 1,
        "topic": "" if seat.stream is None else seat.stream.topic,
        "where": None if seat.where is None else seat.where.canonical,
        "zones": None if zones is None else [sorted(zones.include), sorted(zones.exclude)],
        "by": list(seat.by),
        "kind": seat.kind,
        "value": detect.value_field if isinstance(detect, Hold) else None,
    }
    if neighbours is not None:
        shape["neighbours"] = kinds(neighbours)
    if seat.name:
        shape["part"] = seat.name
    shape |= shape_of(detect)
    return hashed(shape)


def shape_of(detect: Detect) -> dict[str, object]:
    """Of a primitive what its state is made by: windows and steps, not what is compared with stored times."""
    match detect:
        case Hold(over=Aggregate(fn, window_us, slide_us)):
            return {"window": [fn, window_us, slide_us]}
        case Count():
            return {"distinct": list(detect.distinct), "window": [detect.window_us, detect.slide_us]}
        case Transition():
            return {"change": detect.change}
        case Absent():
            return {"listed": detect.listed, "parent": detect.parent}
        case Change():
            return {"field": detect.field, "over": detect.over_us}
        case Near():
            return {"of": canonical(detect.of)}
        case InSequence():
            return {"steps": [[step.name, canonical(step.where), step.negated] for step in detect.steps]}
        case _:
            return {}


def canonical(expression: Expression) -> str:
    return expression.canonical if isinstance(expression, Checked) else expression.text


def fingerprint_of_whole(kind: str, parts: tuple[Rule, ...]) -> str:
    """Of a rule with parts: of all of theirs."""
    return hashed({"language": 1, "kind": kind, "parts": {part.part: part.fingerprint for part in parts}})


def hashed(shape: dict[str, object]) -> str:
    written = json.dumps(shape, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(written.encode(), digest_size=16).hexdigest()
