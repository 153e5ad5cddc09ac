"""What a person at the centre decides. A command the state does not allow is refused, counted, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from models.dispatch import Command
from models.incidents import Condition
from models.times import MINUTE_US, BadTime, parse_time_us
from rules.incidents.dispatching import ACCEPT, RESOLVE, Dispatching
from rules.incidents.dossier import Dossier
from rules.incidents.fusion import Bin, Fusion
from rules.incidents.ledger import Ledger
from rules.incidents.merging import Merging
from rules.incidents.reasons import Reason
from rules.incidents.severity import higher, rank
from rules.incidents.states import ENDED, ORDERED, Step, allows
from rules.incidents.verification import CLEAR, Verification
from rules.tables.model import SEVERITIES

MAY_CLOSE = frozenset({"verifier", "dispatcher", "supervisor", "admin"})
MAY_NOT = frozenset({"viewer", "auditor"})


class Refused(Exception):
    """The command changes nothing; the message says why."""


class Commanding:
    def __init__(
        self, ledger: Ledger, dispatching: Dispatching, verification: Verification, fusion: Fusion, merging: Merging
    ) -> None:
        self.ledger, self.dispatching, self.verification = ledger, dispatching, verification
        self.fusion, self.merging = fusion, merging
        self.actions: dict[str, Callable[[Dossier, Command], None]] = {
            "confirm": self.confirm,
            "withdraw": self.withdraw,
            "dispatch": self.dispatch,
            "assign": self.dispatch,
            "merge": self.merge,
            "suspend": self.suspend,
            "resume": self.resume,
            "extend": self.extend,
            "escalate": self.escalate,
            "false_alarm": self.false_alarm,
            "close": self.close,
            "reopen": self.reopen,
            "acknowledge": self.acknowledge,
        }

    def take(self, command: Command, time_us: int) -> Bin:
        ledger = self.ledger
        seen = ledger.seen(f"c:{command.command_id}", time_us)
        if seen is not None:
            return "duplicate" if seen == "duplicate" else "late"
        dossier = ledger.dossiers.change(command.incident_id)
        try:
            if dossier is None:
                raise Refused("unknown incident")
            action = self.actions.get(command.command)
            if action is None:
                raise Refused("not available")
            if command.role in MAY_NOT:
                raise Refused(f"role {command.role}")
            action(dossier, command)
        except Refused as why:
            ledger.counts["refused"] += 1
            ledger.counts[f"refused_{command.command}"] += 1
            if dossier is not None:
                dossier.note(ledger.now_us, f"refused: {command.command} ({why})", command.actor)
            return "filtered"
        return "used"

    def need(self, dossier: Dossier, step: Step) -> None:
        if not allows(dossier.state, step):
            raise Refused(f"state {dossier.state}")

    def confirm(self, dossier: Dossier, command: Command) -> None:
        self.need(dossier, Step.CONFIRM)
        self.dispatching.confirm(dossier, Reason.CONFIRMED_BY_PERSON, command.actor)

    def withdraw(self, dossier: Dossier, command: Command) -> None:
        self.need(dossier, Step.WITHDRAW)
        self.dispatching.cancel(dossier)
        self.ledger.step(dossier, Step.WITHDRAW, Reason.WITHDRAWN_BY_PERSON, command.actor)

    def false_alarm(self, dossier: Dossier, command: Command) -> None:
        self.need(dossier, Step.DISMISS)
        self.dispatching.cancel(dossier)
        self.ledger.step(dossier, Step.DISMISS, Reason.FALSE_ALARM, command.actor)

    def dispatch(self, dossier: Dossier, command: Command) -> None:
        """`args`: unit_id and/or department; neither: the table and the nearest."""
        self.need(dossier, Step.DISPATCH)
        unit_id = text(command, "unit_id") or text(command, "unit")
        department = text(command, "department")
        if unit_id is not None:
            department = self.dispatching.department_of_unit.get(unit_id)
            if department is None:
                raise Refused("unknown unit")
        elif department is not None and department not in self.ledger.tables.departments:
            raise Refused("unknown department")
        self.dispatching.send(
            dossier, Reason.ASSIGNED_BY_PERSON, department=department, unit_id=unit_id, by=command.actor
        )

    def merge(self, dossier: Dossier, command: Command) -> None:
        """Into another open incident: its parts, tickets, count and evidence go over."""
        self.need(dossier, Step.MERGE)
        target = self.ledger.dossiers.change(text(command, "into") or "")
        if target is None or target is dossier or target.state in ENDED:
            raise Refused("no open incident to merge into")
        self.merging.into(target, dossier, Reason.MERGED_BY_PERSON, command.actor)

    def suspend(self, dossier: Dossier, command: Command) -> None:
        """挂账: the order is taken back and its clocks stop; `resume` sends anew."""
        self.need(dossier, Step.SUSPEND)
        self.dispatching.cancel(dossier)
        for timer in (ACCEPT, RESOLVE, CLEAR):
            dossier.timers.pop(timer, None)
        self.ledger.step(dossier, Step.SUSPEND, Reason.SUSPENDED_BY_PERSON, command.actor)

    def resume(self, dossier: Dossier, command: Command) -> None:
        self.need(dossier, Step.RESUME)
        self.ledger.step(dossier, Step.RESUME, Reason.RESUMED_BY_PERSON, command.actor)
        if dossier.condition == Condition.CLEARED and not dossier.life_safety:
            due_us = (dossier.cleared_us or 0) + self.verification.clear_for_us(dossier)
            self.ledger.set_timer(dossier, CLEAR, max(self.ledger.now_us, due_us))
        else:
            self.dispatching.send(dossier, Reason.UNIT_ASSIGNED)

    def extend(self, dossier: Dossier, command: Command) -> None:
        """`args`: resolve_by (a time) or minutes."""
        if dossier.state not in ORDERED or dossier.resolve_by_us is None:
            raise Refused(f"state {dossier.state}")
        minutes, stamp = command.args.get("minutes"), command.args.get("resolve_by")
        try:
            if isinstance(minutes, int) and not isinstance(minutes, bool) and 0 < minutes <= 60 * 24 * 30:
                due_us = dossier.resolve_by_us + minutes * MINUTE_US
            elif isinstance(stamp, int | str) and not isinstance(stamp, bool):
                due_us = parse_time_us(stamp)
            else:
                raise Refused("neither minutes nor resolve_by")
        except BadTime:
            raise Refused("resolve_by is no time") from None
        if due_us <= dossier.resolve_by_us:
            raise Refused("not later than it was")
        dossier.resolve_by_us = due_us
        self.ledger.set_timer(dossier, RESOLVE, due_us)
        self.ledger.revise(dossier, Reason.EXTENDED_BY_PERSON, command.actor)

    def escalate(self, dossier: Dossier, command: Command) -> None:
        """`args`: severity; absent: one step up."""
        if dossier.state in ENDED:
            raise Refused(f"state {dossier.state}")
        severity = text(command, "severity") or higher(dossier.severity)
        if severity not in SEVERITIES or rank(severity) <= rank(dossier.severity):
            raise Refused("not higher")
        self.fusion.severity.raise_to(dossier, severity)
        self.ledger.revise(dossier, Reason.ESCALATED_BY_PERSON, command.actor)

    def close(self, dossier: Dossier, command: Command) -> None:
        """Only what has been handled: never straight from a returned order."""
        self.need(dossier, Step.CLOSE)
        if command.role not in MAY_CLOSE:
            raise Refused(f"role {command.role}")
        self.verification.close_by_person(dossier, command.actor)

    def reopen(self, dossier: Dossier, command: Command) -> None:
        """A person says it is not over, so what the streams said before counts no more."""
        self.need(dossier, Step.REOPEN)
        dossier.condition, dossier.cleared_us = Condition.UNKNOWN, None
        dossier.accept_retried, dossier.inconclusive, dossier.passed = False, False, False
        self.ledger.step(dossier, Step.REOPEN, Reason.REOPENED_BY_PERSON, command.actor)
        self.dispatching.send(dossier, Reason.UNIT_ASSIGNED)

    def acknowledge(self, dossier: Dossier, command: Command) -> None:
        if dossier.state in ENDED:
            raise Refused(f"state {dossier.state}")
        self.ledger.revise(dossier, Reason.ACKNOWLEDGED, command.actor)


def text(command: Command, name: str) -> str | None:
    value = command.args.get(name)
    return value if isinstance(value, str) and value else None
