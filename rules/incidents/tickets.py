"""Citizens' calls: each one joins an open incident, opens one, or goes to the grid worker, and each one is answered."""

from __future__ import annotations

from geo.distance import distance_m
from models.detections import Text
from models.ids import content_id
from models.incidents import State
from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import Dossier
from rules.incidents.entries import TicketNote
from rules.incidents.fusion import Bin, Fusion
from rules.incidents.inputs import Ticket
from rules.incidents.ledger import ANSWERS, Ledger
from rules.incidents.reasons import Reason
from rules.incidents.severity import higher
from rules.incidents.states import ENDED
from rules.language.model import Rule
from rules.tables.model import IncidentType

TOPIC = "hotline.tickets"
RECEIVED = ("您的来电已登记，已转网格员现场核实。", "Your call is registered; a grid worker will look into it.")
JOINED = ("您反映的问题已有人反映，正在处置。", "The matter you report is known and being dealt with.")


class Tickets:
    def __init__(self, ledger: Ledger, dispatching: Dispatching, fusion: Fusion) -> None:
        self.ledger, self.dispatching, self.fusion = ledger, dispatching, fusion

    def take(self, ticket: Ticket, into: Dossier | None = None) -> Bin:
        """`into`: the open incident that it belongs to, where a join knows."""
        ledger = self.ledger
        note = ledger.tickets.look(ticket.ticket_id)
        if note is None:
            note = TicketNote(ticket.ticket_id, ticket.time_us, ledger.now_us)
            ledger.tickets.keep(ticket.ticket_id, note)
            self.place(ticket, note, into)
            return "used"
        if ticket.time_us <= note.last_us:
            return "duplicate"
        note.last_us = ticket.time_us
        note.heard_us = ledger.now_us
        ledger.tickets.keep(ticket.ticket_id, note)
        self.update(ticket, note, into)
        return "used"

    def place(self, ticket: Ticket, note: TicketNote, into: Dossier | None) -> None:
        """Into an open incident, a new one, or to the grid worker."""
        if into is not None and (known := self.ledger.tables.type_of(into.type)) is not None:
            self.join(ticket, note, known, into)
            return
        code = self.ledger.tables.categories.get(ticket.category or "")
        kind = None if code is None else self.ledger.tables.type_of(code)
        if code is None or kind is None or ticket.lon is None or ticket.lat is None:
            self.ledger.counts["to_grid_worker"] += 1
            self.ledger.reply(note, None, "received", *RECEIVED)
            return
        dossier = self.match(ticket, kind)
        if dossier is None:
            self.open(ticket, note, kind)
        else:
            self.join(ticket, note, kind, dossier)

    def update(self, ticket: Ticket, note: TicketNote, into: Dossier | None) -> None:
        """A later word on a known ticket: it may bring the place that was missing."""
        dossier = self.ledger.dossiers.change(note.incident_id or "")
        if dossier is None:
            self.place(ticket, note, into)
        elif dossier.state in ENDED:
            self.ledger.answer(dossier)
        else:
            self.ledger.revise(dossier, Reason.REPORTED_AGAIN, by=ticket.ticket_id)

    def match(self, ticket: Ticket, kind: IncidentType) -> Dossier | None:
        """The open incident of the type within its radius and the caller's error: nearest first, then the oldest."""
        assert ticket.lon is not None
        assert ticket.lat is not None
        reach_m = kind.radius_m + (ticket.error_m or 0.0)
        best: tuple[float, int, str] | None = None
        for dossier in self.ledger.open_near(f"type:{kind.code}", ticket.lon, ticket.lat, reach_m):
            assert dossier.lon is not None
            assert dossier.lat is not None
            metres = distance_m(ticket.lon, ticket.lat, dossier.lon, dossier.lat)
            if metres <= reach_m and abs(ticket.time_us - dossier.first_us) <= kind.window_us:
                score = (metres, dossier.first_us, dossier.incident_id)
                if best is None or score < best:
                    best = score
        return None if best is None else self.ledger.to_change(best[2])

    def join(self, ticket: Ticket, note: TicketNote, kind: IncidentType, dossier: Dossier) -> None:
        ledger = self.ledger
        note.incident_id = dossier.incident_id
        dossier.tickets.append(ticket.ticket_id)
        self.fusion.severity.raise_to(dossier, severity_of(ticket, kind))
        again = ticket.caller is not None and ticket.caller in dossier.callers
        if ticket.caller is not None and not again:
            dossier.callers.append(ticket.caller)
        another = dossier.add_source(TOPIC)
        if again:
            ledger.revise(dossier, Reason.REPORTED_AGAIN, by=ticket.ticket_id)
        else:
            self.fusion.severity.count_up(dossier)
            ledger.revise(dossier, Reason.TICKET_JOINED, by=ticket.ticket_id)
        ledger.reply(note, dossier, dossier.state, *JOINED)
        if another and dossier.state == State.SUSPECTED:
            self.dispatching.confirm(dossier, Reason.CORRELATED)

    def open(self, ticket: Ticket, note: TicketNote, kind: IncidentType, rule: Rule | None = None) -> Dossier:
        """A case; `rule`: whose join the ticket belongs to."""
        ledger = self.ledger
        assert ticket.lon is not None
        assert ticket.lat is not None
        point = f"{ticket.lon:.5f}, {ticket.lat:.5f}"
        place = ledger.places.around(ticket.lon, ticket.lat) or Text(point, point)
        dossier = Dossier(
            incident_id=content_id("i", ticket.ticket_id),
            type=kind.code,
            severity=severity_of(ticket, kind),
            floor=severity_of(ticket, kind),
            life_safety=kind.life_safety,
            rule=None if rule is None else rule.id,
            zone=None,
            area=ticket.area,
            lon=ticket.lon,
            lat=ticket.lat,
            error_m=ticket.error_m,
            place_zh=ticket.address or place.zh,
            place_en=ticket.address or place.en,
            opened_us=ticket.time_us,
            first_us=ticket.time_us,
            count=1,
            sources=[TOPIC],
            tickets=[ticket.ticket_id],
            callers=[] if ticket.caller is None else [ticket.caller],
        )
        ledger.dossiers.add(dossier)
        ledger.index(dossier)
        note.incident_id = dossier.incident_id
        ledger.reply(note, dossier, State.CONFIRMED, *ANSWERS[State.CONFIRMED])
        self.dispatching.confirm(dossier, Reason.TICKET if rule is None else Reason.CORRELATED)
        return dossier


def severity_of(ticket: Ticket, kind: IncidentType) -> str:
    """An urgent call is one step graver than its type."""
    return higher(kind.severity) if ticket.urgency == "urgent" else kind.severity
