"""`suppressed_by`: while a graver incident says it all, what follows from it opens none. It is counted, and the
incident that silences names how many; what is still there when that one ends opens then. Life-safety is never silenced.
"""

from __future__ import annotations

from models.detections import Detection
from rules.incidents.dossier import Dossier
from rules.incidents.entries import Waiting
from rules.incidents.ledger import Ledger, never_clears, told_by
from rules.incidents.reasons import Reason
from rules.language.model import Rule


class Silence:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def silenced(self, rule: Rule, heard: Detection) -> bool:
        """A first raise under an open incident that silences it: kept until that ends; what has no end is dropped."""
        found = self.suppressor(rule, heard)
        if found is None:
            return False
        ledger = self.ledger
        ledger.counts["suppressed"] += 1
        if never_clears(told_by(rule, heard)):
            ledger.remember(f"d:{heard.detection_id}")
        else:
            ledger.waiting.keep(heard.detection_id, Waiting(0, [heard], found.incident_id))
            ledger.silenced.setdefault(found.incident_id, {})[heard.detection_id] = None
        count = found.suppressed.get(rule.id, 0) + 1
        found.suppressed = {**found.suppressed, rule.id: count}
        if count & (count - 1) == 0:  # the first, then ever fewer: a flood of them is not to be a flood of revisions
            ledger.revise(found, Reason.SUPPRESSING)
        return True

    def suppressor(self, rule: Rule, heard: Detection) -> Dossier | None:
        """The oldest open incident that silences it."""
        if not rule.suppressed_by or rule.life_safety or rule.dispatch.never_suppress:
            return None
        ledger = self.ledger
        found = [
            (dossier.first_us, dossier.incident_id)
            for clause in rule.suppressed_by
            for dossier in ledger.open_named(f"rule:{clause.rule}", "open")
            if all(agrees(dossier, heard, name) for name in clause.equal)
        ]
        return ledger.to_change(min(found)[1]) if found else None

    def released(self, dossier: Dossier) -> list[Detection]:
        """The incident has ended: what it silenced and is still there, in the order of its coming."""
        ledger = self.ledger
        kept = []
        for identity in ledger.silenced.pop(dossier.incident_id, {}):
            waiting = ledger.waiting.look(identity)
            if waiting is not None and waiting.by == dossier.incident_id:
                kept.append((waiting.number, identity, waiting.heard))
        for _, identity, _ in sorted(kept, key=lambda one: one[0]):
            ledger.waiting.drop(identity)
        return [heard for _, _, several in sorted(kept, key=lambda one: one[0]) for heard in several]


def agrees(dossier: Dossier, heard: Detection, name: str) -> bool:
    """Whether both say the same of it; what either does not know is not the same."""
    match name:
        case "zone":
            return heard.zone is not None and dossier.zone == heard.zone
        case "area":
            return dossier.area == heard.area
        case _:
            asked = heard.key.get(name)
            return asked is not None and any(part.key.get(name) == asked for part in dossier.parts.values())
