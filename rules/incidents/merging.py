"""Two incidents become one: parts, tickets, count and evidence go over, and nobody drives to the one that ends."""

from __future__ import annotations

from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import Dossier
from rules.incidents.fusion import Fusion
from rules.incidents.ledger import Ledger
from rules.incidents.reasons import Reason
from rules.incidents.states import GRACE, Step, allows


class Merging:
    def __init__(self, ledger: Ledger, dispatching: Dispatching, fusion: Fusion) -> None:
        self.ledger, self.dispatching, self.fusion = ledger, dispatching, fusion

    def together(self, dossiers: list[Dossier]) -> Dossier:
        """The one that stays: a case before a suspicion, then the oldest. One that is being checked stays apart."""
        target = min(dossiers, key=lambda d: (d.state in GRACE, d.first_us, d.incident_id))
        for dossier in dossiers:
            if dossier is not target and allows(dossier.state, Step.MERGE):
                self.into(target, dossier, Reason.MERGED)
        return target

    def into(self, target: Dossier, dossier: Dossier, reason: Reason, by: str | None = None) -> None:
        ledger = self.ledger
        self.dispatching.cancel(dossier)
        dossier.merged_into = target.incident_id
        ledger.step(dossier, Step.MERGE, reason, by)
        ledger.unindex(target)
        if target.rule is None:
            target.rule, target.zone, target.values = dossier.rule, target.zone or dossier.zone, dossier.values
        self.move_parts(target, dossier)
        ledger.index(target)
        self.move_tickets(target, dossier)
        for topic in dossier.sources:
            target.add_source(topic)
        target.add_evidence(dossier.evidence)
        target.count += dossier.count
        target.first_us = min(target.first_us, dossier.first_us)
        self.fusion.severity.raise_to(target, dossier.severity)
        target.life_safety = target.life_safety or dossier.life_safety
        ledger.revise(target, Reason.JOINED, by)
        self.fusion.reassess(target)

    def move_parts(self, target: Dossier, dossier: Dossier) -> None:
        for identity, part in dossier.parts.items():
            target.parts[identity] = part
            self.ledger.by_detection[identity] = target.incident_id
        dossier.parts = {}

    def move_tickets(self, target: Dossier, dossier: Dossier) -> None:
        for ticket_id in dossier.tickets:
            target.tickets.append(ticket_id)
            note = self.ledger.tickets.change(ticket_id)
            if note is not None:
                note.incident_id = target.incident_id
        target.callers.extend(c for c in dossier.callers if c not in target.callers)
        dossier.tickets, dossier.callers = [], []
