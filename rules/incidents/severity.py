"""How grave: what raises it, what takes that back. It never falls below what anything else still says."""

from __future__ import annotations

from collections.abc import Mapping

from models.columns import Scalar
from models.detections import Detection
from models.incidents import Condition
from models.times import parse_rfc3339_us
from rules.incidents.dossier import Dossier
from rules.incidents.ledger import Ledger
from rules.incidents.reasons import Reason
from rules.incidents.states import ENDED
from rules.language.model import Escalation, Rule
from rules.tables.model import SEVERITIES

ESCALATE, EASE = "escalate", "ease"


class Severity:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def raise_to(self, dossier: Dossier, severity: str) -> bool:
        """For good. False: it was as grave already."""
        dossier.floor = graver(dossier.floor, severity)
        before, dossier.severity = dossier.severity, graver(dossier.severity, severity)
        return dossier.severity != before

    def count_up(self, dossier: Dossier) -> None:
        """One more report; from so many on it is graver."""
        dossier.count += 1
        kind = self.ledger.tables.type_of(dossier.type)
        raise_at = None if kind is None else kind.raise_at
        if raise_at is not None and dossier.count >= raise_at and not dossier.raised_by_count:
            dossier.raised_by_count = True
            self.raise_to(dossier, higher(dossier.severity))

    # ------------------------------------------------------------------------------------------------- with time

    def time_escalations(self, rule: Rule, dossier: Dossier) -> None:
        """The next timed escalation."""
        timed = [e for e in rule.escalate if e.after_us is not None]
        if dossier.escalated < len(timed):
            after_us = timed[dossier.escalated].after_us
            assert after_us is not None
            self.ledger.set_timer(dossier, ESCALATE, dossier.first_us + after_us)

    def escalate_due(self, dossier: Dossier) -> None:
        rule = self.ledger.rule_of(dossier)
        if rule is None or dossier.state in ENDED:
            return
        timed = [e for e in rule.escalate if e.after_us is not None]
        if dossier.escalated < len(timed):
            found = timed[dossier.escalated]
            dossier.escalated += 1
            if dossier.condition != Condition.CLEARED and self.raise_to(dossier, found.severity):
                self.ledger.revise(dossier, Reason.SEVERITY_RAISED)
            self.time_escalations(rule, dossier)

    # ------------------------------------------------------------------------------------------------- by values

    def escalate_when(self, rule: Rule, dossier: Dossier, heard: Detection) -> None:
        """What the newest values say. Of a value that the detection does not carry they say nothing."""
        if not any(escalation.when is not None for escalation in rule.escalate):
            return
        fields, at_us = asked(heard), parse_rfc3339_us(heard.event_time)
        for number, escalation in enumerate(rule.escalate):
            holds = None if escalation.when is None else escalation.when.value(fields)
            if holds is True:
                self.lift(dossier, number, escalation)
            elif holds is False and dossier.lifted.get(number) == 0:
                dossier.lifted[number] = at_us
                self.look_when_to_ease(rule, dossier)

    def lift(self, dossier: Dossier, number: int, escalation: Escalation) -> None:
        before = dossier.severity
        if escalation.down_after_us is None:
            self.raise_to(dossier, escalation.severity)
        else:
            dossier.lifted[number] = 0
            dossier.severity = graver(dossier.severity, escalation.severity)
        if dossier.severity != before:
            self.ledger.revise(dossier, Reason.SEVERITY_RAISED)

    def look_when_to_ease(self, rule: Rule, dossier: Dossier) -> None:
        due = [due_us for number in dossier.lifted if (due_us := eases_at(rule, dossier, number)) is not None]
        if due:
            self.ledger.set_timer(dossier, EASE, max(min(due), self.ledger.now_us))

    def ease_due(self, dossier: Dossier) -> None:
        """What has not held for long enough counts no more."""
        rule = self.ledger.rule_of(dossier)
        if rule is None or dossier.state in ENDED:
            return
        for number in list(dossier.lifted):
            due_us = eases_at(rule, dossier, number)
            if due_us is not None and due_us <= self.ledger.now_us:
                del dossier.lifted[number]
        said = dossier.floor
        for number in dossier.lifted:
            said = graver(said, rule.escalate[number].severity)
        if rank(said) < rank(dossier.severity):
            dossier.severity = said
            self.ledger.revise(dossier, Reason.SEVERITY_LOWERED)
        self.look_when_to_ease(rule, dossier)


def eases_at(rule: Rule, dossier: Dossier, number: int) -> int | None:
    """When this escalation stops counting; None: it holds. One that the rule no longer has stops at once."""
    since_us = dossier.lifted[number]
    down_us = rule.escalate[number].down_after_us if number < len(rule.escalate) else None
    if down_us is None:
        return 0
    return since_us + down_us if since_us else None


def rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def graver(a: str, b: str) -> str:
    return b if not a or rank(b) > rank(a) else a


def higher(severity: str) -> str:
    return SEVERITIES[min(rank(severity) + 1, len(SEVERITIES) - 1)]


def asked(heard: Detection) -> dict[str, Scalar]:
    """What an escalation may ask of a detection: its fields, and those of a part also behind the part's name; of what a
    join is made of only so, for each source has fields of its own kinds."""
    fields = scalars(heard)
    if heard.part is None:
        return fields
    name = heard.part.rpartition(".")[2]
    named = {f"{name}.{field}": value for field, value in fields.items()}
    return named if heard.suspected else fields | named


def scalars(heard: Detection) -> dict[str, Scalar]:
    """What an expression may ask of a detection; a tokenised field is its token. `time_us` is for hour and weekday."""
    found: dict[str, Scalar] = {**heard.key, "time_us": parse_rfc3339_us(heard.event_time)}
    for name, value in heard.attributes.items():
        if isinstance(value, Mapping):
            token = value.get("token")
            found[name] = token if isinstance(token, str) else None
        elif value is None or isinstance(value, float | int | bool | str):
            found[name] = value
    value = heard.value
    found["value"] = value
    return found
