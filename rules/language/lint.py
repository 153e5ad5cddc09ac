"""What loads, and is probably not what was meant: of one rule, when all of it has been read."""

from __future__ import annotations

import re
from datetime import datetime

from models.times import HOUR_US, MINUTE_US, SECOND_US, instant_us
from rules.language.clauses import Clause, Keys, shown
from rules.language.model import Applies, Correlate, Count, Dwell, Hold, Rule, Variant
from rules.language.schema import COUNT, DETECT, DWELL, EVIDENCE, EXEMPT, OVERRIDE, SUPPRESSED
from rules.language.shared import Shared
from rules.language.zones import zone_matches

USUAL_US = {"camera.tracks": SECOND_US, "traffic.measurements": MINUTE_US, "traffic.states": MINUTE_US}
"""How often a stream usually tells of one thing."""
RETAIN_US = 90 * 24 * HOUR_US
"""Pictures of people are kept no longer."""
MOST_SLIDES = 1000  # buckets kept for each key
DENSE_M = 2000.0
LONG_US = HOUR_US
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def lint(clause: Clause, rule: Rule, shared: Shared) -> None:
    """Notes what is doubtful about a rule, at its place."""
    watched = rule.parts or (rule,)
    plain = Clause(clause.here, clause.keys, None, clause.entries)
    check_dwells(clause, watched)
    check_count(clause, rule)
    check_cost(clause, rule, watched)
    check_overrides(plain, rule)
    check_exemptions(plain, rule, shared)
    check_texts(plain, rule)
    check_evidence(plain, rule)
    check_equal(plain, watched)


def check_dwells(clause: Clause, watched: tuple[Rule, ...]) -> None:
    """A dwell must last, and may pause, for as long as its stream usually takes between two observations."""
    for part in watched:
        usual_us = USUAL_US.get(part.topic, 0)
        for variant in part.variants:
            dwell = variant.detect
            if isinstance(dwell, Dwell) and min(dwell.for_us, dwell.max_gap_us) < usual_us:
                own = own_clause(clause, "dwell", DWELL)
                key = "for" if dwell.for_us < usual_us else "max_gap"
                here = (own.quantity(key) if own is not None else None) or clause.here
                message = f'"{key}" is shorter than {part.topic} usually takes: {usual_us // SECOND_US}s'
                here.problem("E323", message)


def own_clause(clause: Clause, kind: str, keys: Keys) -> Clause | None:
    """The primitive's clause where it is the whole rule."""
    detect = clause.clause("detect", DETECT)
    return None if detect is None else detect.clause(kind, keys)


def check_count(clause: Clause, rule: Rule) -> None:
    if isinstance(rule.base.detect, Count) and not rule.cooldown_us and not rule.base.close.for_us:
        own = own_clause(clause, "count", COUNT)
        here = own.here if own is not None else clause.here
        here.problem(
            "W405", "a count at its limit raises and clears with every look",
            "give it a cooldown, or close: {below: …, for: …}",
        )  # fmt: skip


def check_cost(clause: Clause, rule: Rule, watched: tuple[Rule, ...]) -> None:
    here = clause.get("detect") or clause.here
    for part in watched:
        match part.base.detect:
            case Count(window_us=window_us, slide_us=slide_us):
                slides = window_us // slide_us
            case Hold(over=over) if over is not None:
                slides = over.window_us // over.slide_us
            case _:
                slides = 0
        if slides > MOST_SLIDES:
            here.problem(
                "W601", f"{slides} pieces of a window are kept for each key", "a longer slide, a shorter window"
            )
    for join in rule.joins:
        if isinstance(join, Correlate) and join.radius_m > DENSE_M and join.within_us > LONG_US:
            message = f"everything of {join.radius_m / 1000:g}km and {join.within_us // MINUTE_US}min is held together"
            here.problem("W601", message, "what belongs together is nearer, or sooner")


# -- overrides and exemptions ------------------------------------------------------------------------------------------


def check_overrides(clause: Clause, rule: Rule) -> None:
    variants = (rule.parts[0] if rule.parts else rule).variants[:-1]
    for number, item in enumerate(clause.clauses("overrides", OVERRIDE)):
        for earlier, before in enumerate(variants[:number], 1):
            if covered(before, variants[number]):
                message = f"it never applies: override #{earlier} above holds wherever this one does"
                item.here.problem("W501", message, "put the narrower one first")
                break


def covered(first: Variant, second: Variant) -> bool:
    a, b = first.applies, second.applies
    return a is not None and b is not None and zones_covered(a, b) and same_where(a, b) and same_calendar(a, b)


def zones_covered(a: Applies, b: Applies) -> bool:
    if a.zones is None:
        return True
    return b.zones is not None and all(any(zone_matches(wide, narrow) for wide in a.zones) for narrow in b.zones)


def same_where(a: Applies, b: Applies) -> bool:
    return a.where is None or a.where == b.where


def same_calendar(a: Applies, b: Applies) -> bool:
    return a.calendar is None or (b.calendar is not None and a.calendar.name == b.calendar.name)


def check_exemptions(clause: Clause, rule: Rule, shared: Shared) -> None:
    today = shared.context.today
    if today is None:
        return
    begun_us = instant_us(datetime(today.year, today.month, today.day, tzinfo=shared.zone))
    for exemption, item in zip(rule.exempt, clause.clauses("exempt", EXEMPT), strict=False):
        here = item.get("until")
        if exemption.until_us is not None and exemption.until_us <= begun_us and here is not None:
            here.problem("W502", f"the exemption ended with {shown(here.node)}: it exempts nothing", "take it out")


# -- texts and pictures ------------------------------------------------------------------------------------------------


def check_texts(clause: Clause, rule: Rule) -> None:
    here = clause.get("name")
    if rule.name.zh and not CHINESE.search(rule.name.zh) and here is not None:
        here.problem("W702", f'the Chinese name is "{rule.name.zh}": the dispatch centre reads Chinese')
    here = clause.get("message")
    literal = "".join(part for part in rule.message.zh if isinstance(part, str))
    if any(c.isalpha() for c in literal) and not CHINESE.search(literal) and here is not None:
        here.problem("W702", "the Chinese message has no Chinese in it: the dispatch centre reads Chinese")


def check_evidence(clause: Clause, rule: Rule) -> None:
    evidence = clause.clause("evidence", EVIDENCE)
    if evidence is None or rule.evidence is None:
        return
    if not rule.evidence.mask:
        evidence.here.problem("W802", "pictures go out with faces and plates in clear", "mask: [face, plate]")
    here = evidence.get("retain")
    if here is not None and (rule.evidence.retain_us or 0) > RETAIN_US:
        days = RETAIN_US // (24 * HOUR_US)
        here.problem("W803", f"pictures are kept for {shown(here.node)}, and the policy is {days}d", f"retain: {days}d")


def check_equal(clause: Clause, watched: tuple[Rule, ...]) -> None:
    """What must be equal must be told by every raise of this rule."""
    known = {"zone", "area"}.union(*(part.by for part in watched))
    for item in clause.clauses("suppressed_by", SUPPRESSED):
        for here, name in item.texts("equal"):
            if name not in known:
                here.problem("E202", f'"{name}" is neither zone nor area nor part of the key')
