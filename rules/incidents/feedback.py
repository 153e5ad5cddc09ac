"""What units say of their orders. What does not fit is a conflict: in the history, counted, and nothing changes."""

from __future__ import annotations

from models.detections import Evidence
from models.dispatch import Feedback
from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import Dossier
from rules.incidents.entries import Early, Strays
from rules.incidents.fusion import Bin
from rules.incidents.ledger import Ledger
from rules.incidents.reasons import Reason
from rules.incidents.states import ORDERED, Step, allows
from rules.incidents.verification import Verification

TOPIC = "dispatch.feedback"
STEPS = {
    "accepted": (Step.ACCEPT, Reason.UNIT_ACCEPTED),
    "arrived": (Step.ARRIVE, Reason.UNIT_ARRIVED),
    "handled": (Step.HANDLE, Reason.UNIT_HANDLED),
    "returned": (Step.RETURN, Reason.UNIT_RETURNED),
    "rejected": (Step.RETURN, Reason.UNIT_REJECTED),
}
NOTES = {"note": Reason.NOTE_ADDED, "extension_requested": Reason.EXTENSION_REQUESTED}


class FeedbackDesk:
    def __init__(self, ledger: Ledger, dispatching: Dispatching, verification: Verification) -> None:
        self.ledger, self.dispatching, self.verification = ledger, dispatching, verification

    def take(self, said: Feedback, time_us: int) -> Bin:
        ledger = self.ledger
        seen = ledger.seen(f"f:{said.feedback_id}", time_us)
        if seen is not None:
            return "duplicate" if seen == "duplicate" else "late"
        if said.order_id not in ledger.by_order:
            self.keep(Early(ledger.now_us, time_us, said))
            return "used"
        return self.apply(said, time_us)

    def keep(self, early: Early) -> None:
        """Until its order is issued."""
        strays = self.ledger.early.change(early.feedback.order_id)
        if strays is None:
            self.ledger.early.keep(early.feedback.order_id, Strays([early]))
        else:
            strays.heard.append(early)

    def heard_early(self, order_id: str) -> None:
        """An order was issued: what was said of it before, in the order of its time."""
        strays = self.ledger.early.drop(order_id)
        if strays is not None:
            for early in sorted(strays.heard, key=lambda e: (e.time_us, e.feedback.feedback_id)):
                self.apply(early.feedback, early.time_us)

    def apply(self, said: Feedback, time_us: int) -> Bin:
        dossier = self.ledger.dossiers.change(self.ledger.by_order[said.order_id])
        if dossier is None or dossier.incident_id != said.incident_id:
            self.ledger.counts["conflict"] += 1
            return "filtered"
        if said.action in NOTES and dossier.order_id == said.order_id:
            self.attach(dossier, said)
            self.ledger.revise(dossier, NOTES[said.action], said.actor)
            return "used"
        if said.action not in STEPS or dossier.order_id != said.order_id or dossier.state not in ORDERED:
            return self.conflict(dossier, said)
        step, reason = STEPS[said.action]
        if not allows(dossier.state, step):
            return self.conflict(dossier, said)
        self.attach(dossier, said)
        if step == Step.RETURN:
            self.dispatching.given_back(dossier, reason, said.actor)
            return "used"
        self.ledger.step(dossier, step, reason, said.actor)
        if step == Step.HANDLE:
            self.verification.start(dossier, time_us)
        return "used"

    def attach(self, dossier: Dossier, said: Feedback) -> None:
        """Photographs and papers by reference; what was said, in the history."""
        dossier.add_evidence([Evidence(TOPIC, 0, 0, ref) for ref in said.evidence])
        if said.note:
            dossier.note(self.ledger.now_us, f"{said.action}: {said.note}", said.actor)

    def conflict(self, dossier: Dossier, said: Feedback) -> Bin:
        self.ledger.counts["conflict"] += 1
        dossier.note(self.ledger.now_us, f"conflict: {said.action} of {said.order_id}", said.actor)
        return "filtered"
