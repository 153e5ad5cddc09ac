"""What becomes of raises: merging, flapping, suppression, and the pictures that go with an incident."""

from __future__ import annotations

from rules.language.clauses import Clause, shown
from rules.language.model import EvidenceClause, Flap, Merge, Suppression
from rules.language.schema import EVIDENCE, FLAP, MASKS, MERGE, SUPPRESSED
from rules.language.shared import Shared

MAX_MERGE_M = 5000.0  # across a district; each open incident within it is looked at whenever the rule raises
MAX_UPSTREAM = 20  # segments: more is another road
MAX_CHANGES = 1000
MAX_FRAMES = 20


def read_merge(rule: Clause) -> Merge | None:
    """None also where upstream segments alone are merged."""
    clause = rule.clause("merge", MERGE)
    if clause is None:
        return None
    near = clause.has("radius") or clause.has("same_zone")
    if clause.has("upstream_segments") and not near and not clause.has("window"):
        return None
    if not clause.has("window"):
        clause.missing("window")
    if not near:
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


def read_upstream(rule: Clause) -> int:
    clause = rule.clause("merge", MERGE)
    return 0 if clause is None else clause.whole("upstream_segments", 0, 1, MAX_UPSTREAM)


def read_flap(rule: Clause) -> Flap | None:
    clause = rule.clause("flap", FLAP)
    if clause is None:
        return None
    return Flap(clause.whole("max_changes", 2, 2, MAX_CHANGES), clause.duration("within", 1, positive=True))


def read_suppressions(rule: Clause, life_safety: bool, shared: Shared) -> tuple[Suppression, ...]:
    """Whether the rules named are there is checked across files."""
    own = rule.text("id", "")
    found = []
    for clause in rule.clauses("suppressed_by", SUPPRESSED):
        if life_safety:
            clause.here.problem("E325", "a rule about life and safety is never silenced by another", "leave it out")
        equal = tuple(name for _, name in clause.texts("equal"))
        if clause.has("equal") and not equal:
            here = clause.get("equal") or clause.here
            here.problem("E112", '"equal" is empty: an incident anywhere would silence this rule everywhere')
        by, named = clause.text("rule", ""), clause.get("rule")
        if named is not None:
            shared.silenced.append((own, by, named))
        found.append(Suppression(by, equal))
    return tuple(found)


def read_evidence(rule: Clause) -> EvidenceClause | None:
    clause = rule.clause("evidence", EVIDENCE)
    if clause is None:
        return None
    masks = []
    for here, word in clause.texts("mask"):
        if word not in MASKS:
            here.problem("E114", f'"mask" takes {" and ".join(MASKS)}, not {shown(here.node)}')
        masks.append(word)
    return EvidenceClause(
        clause.whole("frames", 1, 1, MAX_FRAMES),
        clause.duration("span", 0),
        tuple(masks),  # type: ignore[arg-type]  # of MASKS
        clause.duration("retain", None, positive=True),
    )
