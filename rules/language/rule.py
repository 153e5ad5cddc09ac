"""One rule: its clauses read, its params and overrides worked into variants."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta, tzinfo

from models.detections import Text
from models.streams import DETECTOR_TOPICS, STREAMS, Field, Stream
from models.times import instant_us
from rules.language.calendars import WeekCalendar
from rules.language.checking import Names
from rules.language.clauses import Clause, Here, Params, shown
from rules.language.detect import ALWAYS, Primitive, find_primitive, read_detect
from rules.language.expressions import Checked
from rules.language.findings import did_you_mean, quoted
from rules.language.messages import EXTRA, FILTERS, BadTemplate, Holder, Part, parse_template, parts
from rules.language.model import (
    WATCHED_ENOUGH,
    Applies,
    Close,
    Detect,
    DispatchClause,
    Dwell,
    Escalation,
    Event,
    Exemption,
    Hold,
    Merge,
    Message,
    Neighbours,
    Rule,
    Stage,
    Variant,
    ZoneSelector,
)
from rules.language.neighbours import kinds, read_neighbours
from rules.language.schema import (
    CLOSE,
    DISPATCH,
    ESCALATE,
    EXEMPT,
    LATER_TOPICS,
    MERGE,
    NO_DATA,
    OVERRIDE,
    RULE,
    SEVERITIES,
    STAGE,
    STATUSES,
    STEPS,
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
MAX_MERGE_M = 5000.0  # across a district; each open incident within it is looked at whenever the rule raises


def read_rule(here: Here, shared: Shared) -> Rule | None:
    """The rule, or None where it is none at all. It counts only when its file has no error."""
    node = here.node
    params = read_params(here)
    rule = Clause.read(here, RULE, params)
    if not isinstance(node, MapNode):
        return None
    plain = Clause(here, RULE, None, node.entries)
    primitive = find_primitive(rule)
    stream = read_from(plain, primitive)
    names = None if stream is None else shared.names(stream.topic, stream.fields)
    zones = read_zones(plain, shared)
    severity, code, life_safety = read_type(plain, shared)
    variants = read_variants(rule, primitive, names, shared, severity)
    where = plain.expression("where", names)
    by = read_by(plain, primitive, stream)
    neighbours = read_neighbours(plain, primitive, stream, names, variants)
    made = variants[-1].detect
    id_node = node.entries["id"].value if "id" in node.entries else node
    return Rule(
        id=plain.name("id", ""),
        revision=plain.whole("revision", 1, 1, MAX_REVISION),
        name=read_texts(plain, "name"),
        owner=read_rule_owner(plain, shared),
        status=plain.choice("status", STATUSES, "draft"),  # type: ignore[arg-type]  # one of STATUSES
        type=code,
        severity=severity,
        life_safety=life_safety,
        topic="" if stream is None else stream.topic,
        where=where,
        zones=zones,
        by=by,
        neighbours=neighbours,
        active=read_calendar_name(plain, "active", shared),
        variants=variants,
        no_data=plain.choice("no_data", NO_DATA, "unknown"),  # type: ignore[arg-type]  # one of NO_DATA
        exempt=read_exemptions(plain, names, shared.zone),
        merge=read_merge(plain),
        escalate=read_escalations(plain, primitive, stream, made, shared),
        dispatch=read_dispatch(plain, shared),
        message=read_message(plain, primitive, stream, made),
        cooldown_us=plain.duration("cooldown", 0),
        fingerprint=fingerprint(stream, where, zones, by, primitive, made, neighbours),
        place=here.file.place(span(id_node)),
    )


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


def read_from(rule: Clause, primitive: Primitive) -> Stream | None:
    """The stream a rule reads; None where it is unknown or its primitive is not built."""
    if not rule.has("from"):
        if primitive.built:
            rule.missing("from")
        return None
    topics = rule.texts("from")
    if len(topics) > 1:
        topics[1][0].problem("E190", "`from` with several streams is not built yet")
    if not topics:
        return None
    here, topic = topics[0]
    stream = STREAMS.get(topic)
    if topic in DETECTOR_TOPICS and len(topics) == 1:
        return stream
    if topic in LATER_TOPICS or (stream is not None and stream.fields and topic not in DETECTOR_TOPICS):
        here.problem("E190", f"`from: [{topic}]` is not built yet")
    elif topic not in DETECTOR_TOPICS:
        here.problem("E201", f"stream {quoted(topic)} is not defined", did_you_mean(topic, DETECTOR_TOPICS))
    return None


def read_by(rule: Clause, primitive: Primitive, stream: Stream | None) -> tuple[str, ...]:
    if not rule.has("by"):
        if primitive.built:
            rule.missing("by")
        return ()
    names = rule.texts("by")
    for here, name in names:
        if name == "zone":
            if not rule.has("zones"):
                here.problem("E307", '"zone" tells nothing apart: the rule has no zones')
        elif stream is not None:
            check_key_field(here, name, stream)
    return tuple(name for _, name in names)


def check_key_field(here: Here, name: str, stream: Stream) -> None:
    if name not in stream.fields:
        hint = did_you_mean(name, (*stream.fields, "zone"))
        here.problem("E202", f"{stream.topic} has no field {quoted(name)}", hint)
    elif stream.fields[name].kind != "text":
        here.problem("E132", f"{name} is no text, and only texts tell one entity from another")


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


def read_variants(
    rule: Clause, primitive: Primitive, names: Names | None, shared: Shared, severity: str
) -> tuple[Variant, ...]:
    """One for each override, then the base; each with its params worked in and typed anew."""
    params = rule.params or {}
    found = []
    for clause in Clause(rule.here, RULE, None, rule.entries).clauses("overrides", OVERRIDE):
        changed = read_changes(clause, params)
        grade = clause.choice("severity", SEVERITIES, severity)
        applies = read_applies(clause, names, shared)
        reason = clause.text("reason", None)
        found.append(read_variant(rule, {**params, **changed}, primitive, names, applies, reason, grade))
    return (*found, read_variant(rule, params, primitive, names, None, None, severity))


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


def read_applies(clause: Clause, names: Names | None, shared: Shared) -> Applies:
    if not any(clause.has(key) for key in ("zones", "where", "calendar")):
        clause.here.problem("E112", "the override needs zones, where or calendar: without them it always applies")
    zones = read_patterns(clause, "zones", shared) if clause.has("zones") else None
    where = clause.expression("where", names)
    return Applies(zones, where, read_calendar_name(clause, "calendar", shared))


def read_variant(
    rule: Clause,
    params: Params,
    primitive: Primitive,
    names: Names | None,
    applies: Applies | None,
    reason: str | None,
    severity: str,
) -> Variant:
    clause = Clause(rule.here, RULE, params, rule.entries)
    detect: Detect = read_detect(clause, primitive, names) if primitive.built else Event()
    return Variant(applies, reason, severity, detect, read_stages(clause, detect), read_close(clause))


def read_stages(rule: Clause, detect: Detect) -> tuple[Stage, ...]:
    earliest = detect.for_us if isinstance(detect, Dwell | Hold) else 0
    found: list[Stage] = []
    for clause in rule.clauses("stages", STAGE):
        at_us = clause.duration("at", earliest)
        here = clause.quantity("at") or clause.here
        if at_us < earliest:
            here.problem("E302", f"the stage is due {shown(here.node)} in, and the condition is raised only later")
        elif found and at_us < found[-1].at_us:
            here.problem("E306", f"the stage is due {shown(here.node)} in, before the one above it")
        step = clause.choice("do", STEPS, STEPS[-1])
        found.append(Stage(at_us, step))  # type: ignore[arg-type]  # one of STEPS
    return tuple(found)


def read_close(rule: Clause) -> Close:
    clause = rule.clause("close", CLOSE)
    if clause is None:
        return Close()
    return Close(
        clause.duration("absent_for", None, positive=True),
        clause.share("min_coverage", WATCHED_ENOUGH),
        clause.duration("timeout", None, positive=True),
    )


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


def read_merge(rule: Clause) -> Merge | None:
    clause = rule.clause("merge", MERGE)
    if clause is None:
        return None
    if not clause.has("upstream_segments"):
        if not clause.has("window"):
            clause.missing("window")
        if not clause.has("radius") and not clause.has("same_zone"):
            clause.here.problem("E112", 'merge needs "same_zone", "radius" or both: it would merge everything')
    return Merge(clause.flag("same_zone", False), merge_radius(clause), clause.duration("window", 0, positive=True))


def merge_radius(clause: Clause) -> float | None:
    metres = clause.length("radius", None)
    here = clause.get("radius")
    if metres is None or here is None or metres <= MAX_MERGE_M:
        return metres
    hint = "to merge all of one zone, or of one key, write same_zone: true without a radius"
    here.problem("E316", f"a radius is at most {MAX_MERGE_M / 1000:g}km, not {shown(here.node)}", hint)
    return None


def read_escalations(
    rule: Clause, primitive: Primitive, stream: Stream | None, detect: Detect, shared: Shared
) -> tuple[Escalation, ...]:
    names = None
    if stream is not None and primitive.built:
        names = shared.names(stream.topic, detection_fields(stream, detect))
    found = []
    for clause in rule.clauses("escalate", ESCALATE):
        if clause.has("after") == clause.has("when"):
            clause.here.problem("E112", 'escalate needs either "after" or "when"')
        found.append(
            Escalation(
                clause.choice("severity", SEVERITIES, SEVERITIES[0]),
                clause.duration("after", None, positive=True),
                clause.expression("when", names),
            )
        )
    return tuple(found)


def detection_fields(stream: Stream, detect: Detect) -> dict[str, Field]:
    """What a detection of the stream tells: its fields, and `value`: what is held, or for how long it stood."""
    match detect:
        case Hold(value_field=name) if name in stream.fields:
            return {**stream.fields, "value": stream.fields[name]}
        case Dwell():
            return {**stream.fields, "value": Field("number", "s")}
        case _:
            return dict(stream.fields)


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


def read_message(rule: Clause, primitive: Primitive, stream: Stream | None, detect: Detect) -> Message:
    clause = rule.clause("message", TEXTS)
    if clause is None:
        return Message((), (), frozenset())
    known = None
    if stream is not None and primitive.built:
        known = detection_fields(stream, detect)
    read = {key: read_template(clause, key, known, rule.has("zones")) for key in ("zh", "en")}
    names = {p[0].partition(".")[0] for found in read.values() for p in found if isinstance(p, tuple)}
    return Message(read["zh"], read["en"], frozenset(names))


def read_template(clause: Clause, key: str, known: dict[str, Field] | None, zones: bool) -> tuple[Part, ...]:
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
                check_holder(here, holder, known, zones)
    return parts(template)


def check_filters(here: Here, holder: Holder) -> None:
    for name in holder.filters:
        if name not in FILTERS:
            hint = did_you_mean(name, FILTERS)
            here.problem_inside("E211", f"filter {quoted(name)} is not defined", (holder.start, holder.end), hint)


def check_holder(here: Here, holder: Holder, known: dict[str, Field], zones: bool) -> None:
    at, path, filters = (holder.start, holder.end), holder.path, holder.filters
    kind: Kind
    if path in known:
        of = known[path]
        kind, unit = of.kind, of.unit
        if of.tokenised and "mask" not in filters:
            here.problem_inside("E305", f"{path} names a person: it would go out in clear", at, f"{{{path}|mask}}")
    elif path in EXTRA:
        kind, unit, needs = EXTRA[path]
        if needs == "zones" and not zones:
            here.problem_inside("E307", f"{path} is always empty: the rule has no zones", at)
        elif needs not in (None, "zones") and needs not in known:
            here.problem_inside("E202", f"{path} is not known here: the stream has no {needs}", at)
        elif path == "device.owner" and "mask" not in filters:
            here.problem_inside("W801", "a device's owner may be a person", at, "{device.owner|mask}")
    else:
        hint = did_you_mean(path, (*known, *EXTRA))
        here.problem_inside("E202", f"nothing called {quoted(path)} is known in this message", at, hint)
        return
    check_filter_kinds(here, holder, kind, unit)


def check_filter_kinds(here: Here, holder: Holder, kind: Kind, unit: str | None) -> None:
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


def fingerprint(
    stream: Stream | None,
    where: Checked | None,
    zones: ZoneSelector | None,
    by: tuple[str, ...],
    primitive: Primitive,
    detect: Detect,
    neighbours: Neighbours | None,
) -> str:
    """Of what shapes the state: a rule with other thresholds or texts keeps it, and its windows."""
    shape = {
        "language": 1,
        "topic": "" if stream is None else stream.topic,
        "where": None if where is None else where.canonical,
        "zones": None if zones is None else [sorted(zones.include), sorted(zones.exclude)],
        "by": list(by),
        "kind": primitive.kind,
        "value": detect.value_field if isinstance(detect, Hold) else None,
    }
    if neighbours is not None:
        shape["neighbours"] = kinds(neighbours)
    written = json.dumps(shape, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(written.encode(), digest_size=16).hexdigest()
