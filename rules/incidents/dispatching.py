"""Who goes: type × place × time → department, then a unit on duty, least load first, then nearest."""

from __future__ import annotations

from typing import NamedTuple

from geo.distance import distance_m
from models.detections import Text
from models.dispatch import DispatchOrder, RecognitionRequest
from models.ids import content_id
from models.incidents import State
from models.times import MINUTE_US
from rules.incidents.clocks import deadline_us, of_day_us
from rules.incidents.dossier import Dossier
from rules.incidents.ledger import Ledger, Output
from rules.incidents.places import Unit
from rules.incidents.reasons import Reason
from rules.incidents.states import ORDERED, Step
from rules.tables import MissingYear
from rules.tables.model import Clock

ACCEPT, RESOLVE = "accept", "resolve"
SPOT_OLD_US = 30 * MINUTE_US  # a position older than this says less than the base of the unit
FAR_M = 1e9  # of an incident without a place: load and id decide


class Choice(NamedTuple):
    unit_id: str | None
    reason: Reason


class Dispatching:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.units: dict[str, list[Unit]] = {}
        for unit in sorted(ledger.places.units, key=lambda u: u.id):
            self.units.setdefault(unit.department, []).append(unit)
        self.department_of_unit = {u.id: name for name, units in self.units.items() for u in units}

    def confirm(self, dossier: Dossier, reason: Reason, by: str | None = None) -> None:
        """Make it a case and send somebody."""
        self.ledger.step(dossier, Step.CONFIRM, reason, by)
        self.ask_pictures(dossier)
        self.send(dossier, Reason.UNIT_ASSIGNED)

    def ask_pictures(self, dossier: Dossier) -> None:
        """Where the rule wants evidence: whoever keeps pictures is asked; which, the incident says (`pictures`)."""
        ledger, rule = self.ledger, self.ledger.rule_of(dossier)
        if rule is None or rule.evidence is None:
            return
        first = next(iter(dossier.parts.values()), None)
        identity = content_id("q", dossier.incident_id, dossier.revision, "evidence")
        request = RecognitionRequest(
            request_id=identity,
            incident_id=dossier.incident_id,
            sensor_id=None if first is None else first.key.get("sensor_id"),
            lon=dossier.lon,
            lat=dossier.lat,
            not_before=ledger.time(dossier.first_us - rule.evidence.span_us),
            want="evidence",
            at=ledger.time(ledger.now_us),
        )
        ledger.outputs.append(Output("recognition.requests", dossier.incident_id, request, identity))

    def send(
        self,
        dossier: Dossier,
        why: Reason,
        *,
        department: str | None = None,
        unit_id: str | None = None,
        avoid: str | None = None,
        by: str | None = None,
    ) -> bool:
        """Issue the next order. False when nobody can be found: the incident says so and stays where it is."""
        ledger = self.ledger
        department = department or self.department(dossier)
        if department is None:
            ledger.counts["unassigned"] += 1
            ledger.revise(dossier, Reason.UNASSIGNED, by)
            return False
        choice = Choice(unit_id, why) if unit_id else self.choose(dossier, department, avoid)
        if choice is None:
            ledger.counts["unassigned"] += 1
            ledger.revise(dossier, Reason.NO_UNIT_LEFT, by)
            return False
        self.cancel(dossier)
        self.issue(dossier, department, choice, why, by)
        return True

    def department(self, dossier: Dossier) -> str | None:
        clause = self.ledger.clause_of(dossier)
        if dossier.department is not None:
            return dossier.department
        if clause.department is not None:
            return clause.department
        of_day = of_day_us(self.ledger.now_us, self.ledger.zone)
        return self.ledger.tables.department_of(dossier.type, dossier.area, of_day)

    def choose(self, dossier: Dossier, department: str, avoid: str | None = None) -> Choice | None:
        """The best unit of the department that has not returned it; the department itself where it has no unit."""
        loads, closed = self.ledger.loads, {*dossier.returned_by, avoid}
        free = [unit for unit in self.units.get(department, ()) if unit.id not in closed and self.on_duty(unit)]
        if not free:
            if f"department:{department}" in closed or avoid is not None:
                return None
            return Choice(None, Reason.DEPARTMENT_ONLY)
        kind = self.ledger.tables.type_of(dossier.type)
        if kind is not None and kind.skill is not None:
            free = [unit for unit in free if kind.skill in unit.skills] or free
        burdens = [loads[unit.id] / max(1, unit.capacity) for unit in free]
        least = min(burdens)
        idle = [unit for unit, burden in zip(free, burdens, strict=True) if burden == least]
        nearest = min(idle, key=lambda unit: (self.distance_m(unit, dossier), unit.id))
        if least >= 1:
            return Choice(nearest.id, Reason.OVER_CAPACITY)
        return Choice(nearest.id, Reason.LEAST_LOADED if least else Reason.NEAREST_ON_DUTY)

    def on_duty(self, unit: Unit) -> bool:
        spot = self.ledger.unit_spots.get(unit.id)
        return spot is None or spot.on_duty is not False

    def distance_m(self, unit: Unit, dossier: Dossier) -> float:
        if dossier.lon is None or dossier.lat is None:
            return FAR_M
        spot = self.ledger.unit_spots.get(unit.id)
        lon, lat = unit.lon, unit.lat
        fresh = spot is not None and spot.time_us >= self.ledger.now_us - SPOT_OLD_US
        if fresh and spot is not None and spot.lon is not None and spot.lat is not None:
            lon, lat = spot.lon, spot.lat
        return round(distance_m(lon, lat, dossier.lon, dossier.lat), 1)

    def issue(self, dossier: Dossier, department: str, choice: Choice, why: Reason, by: str | None) -> None:
        ledger = self.ledger
        ledger.take(dossier, Step.DISPATCH)
        self.reload(dossier, choice.unit_id)
        dossier.department = department
        dossier.order_seq += 1
        dossier.order_id = content_id("o", dossier.incident_id, dossier.order_seq)
        dossier.order_reason = choice.reason
        dossier.issued_us = ledger.now_us
        dossier.handled_us, dossier.inconclusive, dossier.passed = None, False, False
        self.set_deadlines(dossier)
        ledger.by_order[dossier.order_id] = dossier.incident_id
        ledger.unheard.append(dossier.order_id)
        ledger.revise(dossier, why, by)
        self.publish(dossier, cancelled=False)

    def reload(self, dossier: Dossier, unit_id: str | None) -> None:
        """Hand the incident's load (it is held by a unit now) from one unit to another."""
        if dossier.unit_id is not None:
            self.ledger.loads[dossier.unit_id] -= 1
        dossier.unit_id = unit_id
        if unit_id is not None:
            self.ledger.loads[unit_id] += 1

    def set_deadlines(self, dossier: Dossier) -> None:
        """Limits of the rule, else of the table; on the type's clock, life-safety always on the urgent one."""
        tables = self.ledger.tables
        clause, kind = self.ledger.clause_of(dossier), tables.type_of(dossier.type)
        row = tables.deadline_of(dossier.type, dossier.severity)
        clock: Clock = row.clock if row is not None else kind.clock if kind is not None else "urgent"
        if dossier.life_safety:
            clock = "urgent"
        dossier.clock = clock
        accept_us = clause.accept_within_us or (row.accept_us if row is not None else None)
        resolve_us = clause.resolve_within_us or (row.resolve_us if row is not None else None)
        dossier.accept_by_us = self.limit(dossier, ACCEPT, accept_us, clock)
        dossier.resolve_by_us = self.limit(dossier, RESOLVE, resolve_us, clock)

    def limit(self, dossier: Dossier, timer: str, limit_us: int | None, clock: Clock) -> int | None:
        dossier.timers.pop(timer, None)
        if limit_us is None:
            return None
        ledger = self.ledger
        try:
            due_us = deadline_us(ledger.now_us, limit_us, clock, ledger.tables.working, ledger.zone)
        except MissingYear:
            ledger.counts["no_calendar"] += 1
            return None
        ledger.set_timer(dossier, timer, due_us)
        return due_us

    def cancel(self, dossier: Dossier) -> None:
        """Tell the unit that holds the order to stop."""
        if dossier.state in ORDERED and dossier.order_id is not None:
            self.publish(dossier, cancelled=True)

    def publish(self, dossier: Dossier, *, cancelled: bool) -> None:
        ledger = self.ledger
        assert dossier.order_id is not None
        assert dossier.department is not None
        message = ledger.message(dossier)
        order = DispatchOrder(
            order_id=dossier.order_id,
            incident_id=dossier.incident_id,
            department=dossier.department,
            unit_id=dossier.unit_id,
            reason=Reason.ORDER_CANCELLED if cancelled else dossier.order_reason,
            issued_at=ledger.time(dossier.issued_us),
            accept_by=ledger.time_or_none(dossier.accept_by_us),
            resolve_by=ledger.time_or_none(dossier.resolve_by_us),
            clock=dossier.clock,
            task=Text(f"前往处置：{message.zh}", f"Please attend: {message.en}"),
            cancelled=cancelled,
        )
        identity = f"{dossier.order_id}/cancelled" if cancelled else dossier.order_id
        ledger.outputs.append(Output("dispatch.orders", dossier.incident_id, order, identity))

    # ------------------------------------------------------------------------------------------------- timers

    def accept_due(self, dossier: Dossier) -> None:
        """Nobody has accepted in time: say so, and once send the next-best instead."""
        if dossier.state != State.DISPATCHED:
            return
        self.ledger.revise(dossier, Reason.ACCEPT_OVERDUE)
        if dossier.accept_retried or dossier.department is None:
            return
        dossier.accept_retried = True
        choice = self.choose(dossier, dossier.department, avoid=dossier.unit_id)
        if choice is not None and choice.unit_id is not None:
            self.cancel(dossier)
            self.issue(dossier, dossier.department, choice, Reason.REASSIGNED, None)

    def resolve_due(self, dossier: Dossier) -> None:
        if dossier.state in ORDERED:
            self.ledger.revise(dossier, Reason.RESOLVE_OVERDUE)

    def given_back(self, dossier: Dossier, reason: Reason, by: str) -> None:
        """The unit returned or rejected it: the next-best, never again this one."""
        dossier.returned_by.append(dossier.unit_id or f"department:{dossier.department}")
        self.ledger.step(dossier, Step.RETURN, reason, by)
        self.send(dossier, Reason.REASSIGNED)
