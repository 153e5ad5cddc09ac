"""Is it gone? The streams that raised it must show it; else a person looks. Life-safety never closes by itself."""

from __future__ import annotations

from typing import Literal

from models.dispatch import VerificationResult
from models.ids import content_id
from models.incidents import Condition, State
from models.times import SECOND_US
from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import Dossier, Part
from rules.incidents.ledger import Ledger, Output, overall
from rules.incidents.reasons import Reason
from rules.incidents.states import ENDED, GRACE, Step, allows
from rules.language.model import Dwell, Hold, Rule

Verdict = Literal["passed", "failed", "inconclusive"]
CLEAR, SETTLE, TIMEOUT = "clear", "settle", "timeout"
AGAIN_US = 60 * SECOND_US  # how often an incident past its time-out is asked whether it is still there
CLEAR_FOR_US = 60 * SECOND_US  # where a rule says nothing
LISTEN_US = 60 * SECOND_US  # two `still` reports (every 30 s) must have had their chance before "no data" is said
SAME_STREAM, PERSON = "same_stream", "person"


class Verification:
    def __init__(self, ledger: Ledger, dispatching: Dispatching) -> None:
        self.ledger, self.dispatching = ledger, dispatching

    def clear_for_us(self, dossier: Dossier) -> int:
        clear_for = self.ledger.clause_of(dossier).clear_for_us
        return CLEAR_FOR_US if clear_for is None else clear_for

    def settle_us(self, dossier: Dossier) -> int:
        """How long after the handling the stream may still report: it needs its own time to say "cleared"."""
        rule = self.ledger.rule_of(dossier)
        tellers = () if rule is None else rule.parts or (rule,)
        return self.clear_for_us(dossier) + max((goes_within_us(one) for one in tellers), default=0)

    def conditions_changed(self, dossier: Dossier, before: Condition) -> None:
        """The overall condition is another than `before`, and the dossier says so already."""
        ledger = self.ledger
        if dossier.condition == Condition.CLEARED:
            if dossier.state in GRACE and not dossier.life_safety and not self.may_be_confirmed(dossier):
                ledger.step(dossier, Step.LEAVE, Reason.LEFT_IN_GRACE)
                return
            if dossier.state not in GRACE:
                assert dossier.cleared_us is not None
                ledger.set_timer(dossier, CLEAR, dossier.cleared_us + self.clear_for_us(dossier))
        elif before == Condition.CLEARED:
            dossier.timers.pop(CLEAR, None)
            dossier.passed = False
        ledger.revise(dossier, Reason.CONDITION_CHANGED)

    def may_be_confirmed(self, dossier: Dossier) -> bool:
        """A suspicion that a join may still confirm, though what was suspected has gone meanwhile."""
        rule = self.ledger.rule_of(dossier)
        parts = dossier.parts.values()
        return rule is not None and bool(rule.joins) and all(part.witness for part in parts)

    def time_out(self, rule: Rule, dossier: Dossier) -> None:
        """Of a rule with parts the Desk itself sees to `close.timeout`: some of them never clear."""
        if rule.parts and rule.base.close.timeout_us is not None:
            self.ledger.set_timer(dossier, TIMEOUT, dossier.opened_us + rule.base.close.timeout_us)

    def timeout_due(self, dossier: Dossier) -> None:
        """Nobody says that it is still there, and it has been open for so long: it counts as gone, unseen."""
        if dossier.state in ENDED or dossier.condition == Condition.CLEARED:
            return
        if dossier.condition == Condition.STILL:
            self.ledger.set_timer(dossier, TIMEOUT, self.ledger.now_us + AGAIN_US)
            return
        self.count_as_gone(dossier, list(dossier.parts.values()), unseen=True)

    def inherited_due(self, dossier: Dossier) -> None:
        """What nobody watches any more counts as gone; with nothing else there it ends, danger to life by a person."""
        if dossier.state in ENDED:
            return
        self.count_as_gone(dossier, [p for p in dossier.parts.values() if self.ledger.orphan(p)], unseen=False)
        if dossier.state in ENDED or dossier.condition != Condition.CLEARED:
            return
        dossier.timers.pop(CLEAR, None)
        if dossier.life_safety or not allows(dossier.state, Step.RESOLVE):
            self.ledger.revise(dossier, Reason.PERSON_MUST_CLOSE)
            return
        self.dispatching.cancel(dossier)
        self.ledger.step(dossier, Step.RESOLVE, Reason.INHERITED)

    def count_as_gone(self, dossier: Dossier, parts: list[Part], *, unseen: bool) -> None:
        now_us = self.ledger.now_us
        for part in (one for one in parts if one.condition != Condition.CLEARED):
            part.condition, part.cleared_us = Condition.CLEARED, now_us
            part.unseen, part.never_clears = unseen, False
        before, dossier.condition = dossier.condition, overall(dossier)
        if dossier.condition == Condition.CLEARED:
            dossier.cleared_us = now_us
        if dossier.condition != before:
            self.conditions_changed(dossier, before)

    def clear_due(self, dossier: Dossier) -> None:
        """The condition has stayed cleared for long enough."""
        if dossier.condition != Condition.CLEARED or dossier.passed:
            return
        if any(part.unseen for part in dossier.parts.values()):
            self.inconclusive(dossier)
            return
        ledger = self.ledger
        if dossier.state == State.VERIFYING:
            self.verdict(dossier, "passed", SAME_STREAM)
            dossier.passed = True
            if dossier.life_safety:
                ledger.revise(dossier, Reason.PERSON_MUST_CLOSE)
            else:
                ledger.step(dossier, Step.PASS, Reason.VERIFIED)
        elif allows(dossier.state, Step.RESOLVE):
            if dossier.life_safety:
                dossier.passed = True
                ledger.revise(dossier, Reason.PERSON_MUST_CLOSE)
                return
            self.dispatching.cancel(dossier)
            self.verdict(dossier, "passed", SAME_STREAM)
            ledger.step(dossier, Step.RESOLVE, Reason.SELF_RESOLVED)

    def start(self, dossier: Dossier, handled_us: int) -> None:
        """The unit says it is done; `handled_us` the event time of that."""
        ledger = self.ledger
        dossier.handled_us, dossier.inconclusive, dossier.passed = handled_us, False, False
        ledger.step(dossier, Step.VERIFY, Reason.VERIFICATION_STARTED)
        if dossier.condition == Condition.CLEARED:
            assert dossier.cleared_us is not None
            due_us = dossier.cleared_us + self.clear_for_us(dossier)
            if due_us <= ledger.now_us:
                dossier.timers.pop(CLEAR, None)
                self.clear_due(dossier)
            else:
                ledger.set_timer(dossier, CLEAR, due_us)
        elif all(part.never_clears for part in dossier.parts.values()):
            self.inconclusive(dossier)
        else:
            ledger.set_timer(dossier, SETTLE, handled_us + self.settle_us(dossier) + LISTEN_US)

    def settle_due(self, dossier: Dossier) -> None:
        """Neither cleared nor reported still: nobody's data says, so a person must."""
        if dossier.state == State.VERIFYING and dossier.condition != Condition.CLEARED:
            self.inconclusive(dossier)

    def inconclusive(self, dossier: Dossier) -> None:
        if not dossier.inconclusive:
            dossier.inconclusive = True
            self.verdict(dossier, "inconclusive", PERSON)
            self.ledger.revise(dossier, Reason.VERIFICATION_INCONCLUSIVE)

    def seen_still(self, dossier: Dossier, at_us: int) -> None:
        """The stream reports the condition at `at_us`, after it should have gone: back to the same unit."""
        if dossier.state != State.VERIFYING or dossier.handled_us is None:
            return
        if at_us <= dossier.handled_us + self.settle_us(dossier):
            return
        self.verdict(dossier, "failed", SAME_STREAM)
        dossier.timers.pop(SETTLE, None)
        dossier.reworks += 1
        self.ledger.step(dossier, Step.FAIL, Reason.VERIFICATION_FAILED)
        self.dispatching.send(dossier, Reason.SAME_UNIT_AGAIN, unit_id=dossier.unit_id)

    def close_by_person(self, dossier: Dossier, by: str) -> None:
        self.verdict(dossier, "passed", PERSON)
        self.ledger.step(dossier, Step.CLOSE, Reason.VERIFIED_BY_PERSON, by)

    def verdict(self, dossier: Dossier, verdict: Verdict, method: str) -> None:
        ledger = self.ledger
        identity = content_id("v", dossier.incident_id, dossier.revision, verdict)
        assert dossier.state not in ENDED
        value = VerificationResult(
            verification_id=identity,
            incident_id=dossier.incident_id,
            verdict=verdict,
            method=method,
            coverage=dossier.coverage if method == SAME_STREAM else None,
            evidence=list(dossier.evidence),
            at=ledger.time(ledger.now_us),
        )
        ledger.outputs.append(Output("verification.results", dossier.incident_id, value, identity))


def goes_within_us(rule: Rule) -> int:
    """How long a Detector waits before it says that a condition of this rule, or part of one, has gone."""
    match rule.base.detect:
        case Dwell():
            return rule.base.close.absent_for_us or 0
        case Hold(close_for_us=close_for_us):
            return close_for_us
        case _:
            return rule.base.close.for_us
