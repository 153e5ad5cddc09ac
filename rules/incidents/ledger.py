"""The Desk's memory: every incident it keeps, how to find one, when to look again, and what has been said.

Nothing here decides. `now_us` never goes back; every change of an incident is a revision, published at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import tzinfo
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import msgspec

from models.detections import Detection, Text
from models.dispatch import Feedback, HotlineReply
from models.ids import content_id
from models.incidents import Condition, Deadline, Incident, Place, State
from models.times import HOUR_US, format_time
from rules.incidents.dossier import SHOWN_DETECTIONS, Dossier
from rules.incidents.near import Near
from rules.incidents.places import Places
from rules.incidents.reasons import Reason
from rules.incidents.rendering import render
from rules.incidents.states import ENDED, ORDERED, Step, after
from rules.language.model import Bundle, DispatchClause, Event, Rule
from rules.tables import Tables

REOPEN_US = 7 * 24 * HOUR_US  # an ended incident can be reopened so long, then it leaves the memory
EARLY_US = HOUR_US  # feedback of an order not yet issued, or the end of a detection not yet seen, is kept so long
EARLY_KEPT = 10_000  # and so many of them: a flood of strays may not fill the memory
SEEN_US = 12 * HOUR_US  # ids of feedback and commands are remembered so long at least; older ones are late
POSITION_US = 24 * HOUR_US  # a vehicle silent for so long is forgotten
HEAP_SLACK = 4  # stale entries per living one before the heap is built anew


class Output(NamedTuple):
    """A record to publish: `id` is its ce_id, the same in every replay."""

    topic: str
    key: str
    value: msgspec.Struct
    id: str


class TicketNote(msgspec.Struct):
    """What became of a ticket. `last_us` its newest call time."""

    ticket_id: str
    last_us: int
    heard_us: int
    incident_id: str | None = None
    replies: int = 0


class Spot(msgspec.Struct):
    """A unit's last known place."""

    vehicle_id: str
    time_us: int
    unit_id: str | None
    lon: float | None
    lat: float | None
    on_duty: bool | None


class Early(msgspec.Struct):
    """Feedback before its order."""

    kept_us: int
    time_us: int
    feedback: Feedback


class Waiting(msgspec.Struct):
    """A detection inside a rule's quiet time: it opens when that ends, unless it has cleared by then."""

    due_us: int
    heard: list[Detection]


class Memory(msgspec.Struct):
    """What a snapshot holds; everything else is derived from it."""

    version: int
    now_us: int
    dossiers: list[Dossier]
    tickets: dict[str, TicketNote]
    spots: dict[str, Spot]
    early: dict[str, list[Early]]
    """By order."""
    gone: dict[str, tuple[int, Detection]]
    """The end of a detection whose raise has not come yet: (when it was heard, the transition)."""
    quiet: dict[str, int]
    """Rule, zone and key → until when further raises keep quiet."""
    waiting: dict[str, Waiting]
    seen_new: dict[str, int]
    seen_old: dict[str, int]
    seen_since_us: int


VERSION = 1
QUIET, QUIET_END = "quiet", "quiet_end"
FORGET = "forget"


class Ledger:
    def __init__(self, bundle: Bundle, tables: Tables, places: Places, zone: tzinfo) -> None:
        self.rules: dict[str, Rule] = {rule.id: rule for rule in bundle.rules}
        self.tables, self.places, self.zone = tables, places, zone
        self.outputs: list[Output] = []
        self.counts: Counter[str] = Counter()
        self.unheard: list[str] = []
        """Orders issued in this step: feedback that came before them is due."""
        self.just_ended: list[Dossier] = []
        """Incidents that ended in this step: their rules keep quiet from now on."""
        self.load(Memory(VERSION, 0, [], {}, {}, {}, {}, {}, {}, {}, {}, 0))

    # ------------------------------------------------------------------------------------------------- memory

    def load(self, memory: Memory) -> None:
        self.now_us = memory.now_us
        self.dossiers = {d.incident_id: d for d in memory.dossiers}
        self.tickets, self.spots = memory.tickets, memory.spots
        self.early, self.gone = memory.early, memory.gone
        self.quiet, self.waiting = memory.quiet, memory.waiting
        self.seen_new, self.seen_old, self.seen_since_us = memory.seen_new, memory.seen_old, memory.seen_since_us
        self._messages: dict[str, tuple[dict[str, Any], tuple[object, ...], Text]] = {}
        self.by_detection: dict[str, str] = {}
        self.by_order: dict[str, str] = {}
        self.by_place: dict[str, Near] = {}
        self.by_name: dict[str, dict[str, None]] = {}
        self.loads: Counter[str] = Counter()
        self.unit_spots: dict[str, Spot] = {}
        for dossier in memory.dossiers:
            for part in dossier.parts:
                self.by_detection[part] = dossier.incident_id
            for order_id in dossier.order_ids():
                self.by_order[order_id] = dossier.incident_id
            if dossier.state in ORDERED and dossier.unit_id is not None:
                self.loads[dossier.unit_id] += 1
            if dossier.state not in ENDED:
                self.index(dossier)
        for spot in self.spots.values():
            self._spot_of_unit(spot)
        self._build_heap()

    def save(self) -> Memory:
        return Memory(
            VERSION,
            self.now_us,
            list(self.dossiers.values()),
            self.tickets,
            self.spots,
            self.early,
            self.gone,
            self.quiet,
            self.waiting,
            self.seen_new,
            self.seen_old,
            self.seen_since_us,
        )

    def seen(self, identity: str, time_us: int) -> str | None:
        """`duplicate` or `late` (too old to know), or None: new, and now remembered."""
        if self.was_seen(identity):
            return "duplicate"
        if time_us < self.now_us - SEEN_US:
            return "late"
        self.remember(identity)
        return None

    def was_seen(self, identity: str) -> bool:
        return identity in self.seen_new or identity in self.seen_old

    def remember(self, identity: str) -> None:
        """For SEEN_US at least and twice that at most: two generations, the older one dropped whole."""
        if self.now_us - self.seen_since_us >= SEEN_US:
            self.seen_old, self.seen_new, self.seen_since_us = self.seen_new, {}, self.now_us
        self.seen_new[identity] = self.now_us

    def sweep(self) -> None:
        """Forget what was kept for a bounded time. Each of these is in the order of its keeping."""
        horizon = self.now_us - EARLY_US
        while self.early:
            first = next(iter(self.early))
            if self.early[first][0].kept_us >= horizon and len(self.early) <= EARLY_KEPT:
                break
            self.counts["conflict"] += len(self.early.pop(first))
        while self.gone:
            first = next(iter(self.gone))
            if self.gone[first][0] >= horizon and len(self.gone) <= EARLY_KEPT:
                break
            del self.gone[first]
            self.counts["unmatched"] += 1
        while self.tickets:
            note = self.tickets[next(iter(self.tickets))]
            if note.heard_us >= self.now_us - REOPEN_US:
                break
            del self.tickets[note.ticket_id]
            kept = self.dossiers.get(note.incident_id or "")
            if kept is not None and kept.state not in ENDED:  # its caller still waits for an answer
                note.heard_us = self.now_us
                self.tickets[note.ticket_id] = note

    # ------------------------------------------------------------------------------------------------- finding

    def index(self, dossier: Dossier) -> None:
        """Make an open incident findable: by rule or type, and place or zone or key."""
        for group in self._groups(dossier):
            if dossier.lon is not None and dossier.lat is not None:
                near = self.by_place.get(group)
                if near is None:
                    near = self.by_place[group] = Near(self._cell_m(dossier))
                near.add(dossier.incident_id, dossier.lon, dossier.lat)
            for name in self._names(dossier):
                self.by_name.setdefault(f"{group}|{name}", {})[dossier.incident_id] = None

    def unindex(self, dossier: Dossier) -> None:
        for group in self._groups(dossier):
            if dossier.lon is not None and dossier.lat is not None and group in self.by_place:
                self.by_place[group].remove(dossier.incident_id, dossier.lon, dossier.lat)
            for name in self._names(dossier):
                ids = self.by_name.get(f"{group}|{name}")
                if ids is not None:
                    ids.pop(dossier.incident_id, None)
                    if not ids:
                        del self.by_name[f"{group}|{name}"]

    def open_near(self, group: str, lon: float, lat: float, radius_m: float) -> Iterator[Dossier]:
        near = self.by_place.get(group)
        if near is not None:
            for identity in near.around(lon, lat, radius_m):
                yield self.dossiers[identity]

    def open_named(self, group: str, name: str) -> Iterator[Dossier]:
        for identity in self.by_name.get(f"{group}|{name}", ()):
            yield self.dossiers[identity]

    def _groups(self, dossier: Dossier) -> list[str]:
        groups = [f"type:{dossier.type}"]
        if dossier.rule is not None:
            groups.append(f"rule:{dossier.rule}")
        return groups

    def _names(self, dossier: Dossier) -> list[str]:
        names = [] if dossier.zone is None else [f"zone:{dossier.zone}"]
        first = next(iter(dossier.parts.values()), None)
        if first is not None:
            names.append(f"key:{key_text(first.key)}")
        return names

    def _cell_m(self, dossier: Dossier) -> float:
        rule = self.rule_of(dossier)
        if rule is not None and rule.merge is not None and rule.merge.radius_m is not None:
            return rule.merge.radius_m
        kind = self.tables.type_of(dossier.type)
        return kind.radius_m if kind is not None else 50.0

    def rule_of(self, dossier: Dossier) -> Rule | None:
        return None if dossier.rule is None else self.rules.get(dossier.rule)

    def clause_of(self, dossier: Dossier) -> DispatchClause:
        rule = self.rule_of(dossier)
        return NO_CLAUSE if rule is None else rule.dispatch

    # ------------------------------------------------------------------------------------------------- timers

    def set_timer(self, dossier: Dossier, kind: str, due_us: int) -> None:
        dossier.timers[kind] = due_us
        heappush(self.heap, (due_us, dossier.incident_id, kind))
        if len(self.heap) > 64 and len(self.heap) > HEAP_SLACK * (len(self.dossiers) * 2 + len(self.waiting)):
            self._build_heap()

    def set_alarm(self, kind: str, identity: str, due_us: int) -> None:
        heappush(self.heap, (due_us, identity, kind))

    def due(self, to_us: int) -> tuple[int, str, str] | None:
        """The next (due, id, kind) not after `to_us`, taken off the clock; stale ones are passed over."""
        while self.heap and self.heap[0][0] <= to_us:
            due_us, identity, kind = heappop(self.heap)
            if kind == QUIET:
                if identity in self.waiting and self.waiting[identity].due_us == due_us:
                    return due_us, identity, kind
            elif kind == QUIET_END:
                if self.quiet.get(identity) == due_us:
                    del self.quiet[identity]
            else:
                dossier = self.dossiers.get(identity)
                if dossier is not None and dossier.timers.get(kind) == due_us:
                    del dossier.timers[kind]
                    return due_us, identity, kind
        return None

    def _build_heap(self) -> None:
        self.heap = [(due, d.incident_id, kind) for d in self.dossiers.values() for kind, due in d.timers.items()]
        self.heap += [(w.due_us, identity, QUIET) for identity, w in self.waiting.items()]
        self.heap += [(due, identity, QUIET_END) for identity, due in self.quiet.items()]
        heapify(self.heap)

    # ------------------------------------------------------------------------------------------------- changing

    def take(self, dossier: Dossier, step: Step) -> None:
        """Step to another state, with the unit's load and the indexes kept right. IllegalStep changes nothing."""
        to = after(dossier.state, step)
        if dossier.unit_id is not None:
            if dossier.state in ORDERED and to not in ORDERED:
                self.loads[dossier.unit_id] -= 1
            elif dossier.state not in ORDERED and to in ORDERED:
                self.loads[dossier.unit_id] += 1
        if to in ENDED and dossier.state not in ENDED:
            self.unindex(dossier)
            dossier.timers.clear()
            dossier.ended_us = self.now_us
            self.just_ended.append(dossier)
            self.set_timer(dossier, FORGET, self.now_us + REOPEN_US)
        elif dossier.state in ENDED and to not in ENDED:
            dossier.timers.clear()
            dossier.ended_us = None
            self.index(dossier)
        dossier.state = to

    def revise(self, dossier: Dossier, reason: Reason, by: str | None = None) -> None:
        """A new revision, with its reason, in the history and on `incidents`."""
        dossier.revision += 1
        dossier.reason = reason
        dossier.changed_us = self.now_us
        dossier.note(self.now_us, reason, by)
        identity = dossier.incident_id
        self.outputs.append(Output("incidents", identity, self.published(dossier), f"{identity}/{dossier.revision}"))
        if dossier.state in ENDED and dossier.tickets:
            self.answer(dossier)

    def step(self, dossier: Dossier, step: Step, reason: Reason, by: str | None = None) -> None:
        self.take(dossier, step)
        self.revise(dossier, reason, by)

    def forget(self, dossier: Dossier) -> None:
        for part in dossier.parts:
            if self.by_detection.get(part) == dossier.incident_id:
                del self.by_detection[part]
        for order_id in dossier.order_ids():
            self.by_order.pop(order_id, None)
        del self.dossiers[dossier.incident_id]
        self._messages.pop(dossier.incident_id, None)
        self.counts["forgotten"] += 1

    def place_unit(self, spot: Spot) -> None:
        self.spots.pop(spot.vehicle_id, None)
        self.spots[spot.vehicle_id] = spot
        self._spot_of_unit(spot)
        oldest = self.spots[next(iter(self.spots))]
        if oldest.time_us < self.now_us - POSITION_US:
            del self.spots[oldest.vehicle_id]
            if oldest.unit_id is not None and self.unit_spots.get(oldest.unit_id) is oldest:
                del self.unit_spots[oldest.unit_id]

    def _spot_of_unit(self, spot: Spot) -> None:
        if spot.unit_id is None:
            return
        known = self.unit_spots.get(spot.unit_id)
        if known is None or (known.time_us, known.vehicle_id) <= (spot.time_us, spot.vehicle_id):
            self.unit_spots[spot.unit_id] = spot

    # ------------------------------------------------------------------------------------------------- saying

    def time(self, time_us: int) -> str:
        return format_time(time_us, self.zone)

    def published(self, d: Dossier) -> Incident:
        deadline = None
        if d.order_id is not None and d.state in ORDERED:
            deadline = Deadline(self.time_or_none(d.accept_by_us), self.time_or_none(d.resolve_by_us), d.clock)
        return Incident(
            incident_id=d.incident_id,
            revision=d.revision,
            state=d.state,
            reason=d.reason,
            type=d.type,
            severity=d.severity,
            life_safety=d.life_safety,
            exercise=d.exercise,
            rule=d.rule,
            zone=d.zone,
            area=d.area,
            grid=None,
            place=Place(d.lon, d.lat, d.error_m, Text(d.place_zh, d.place_en)),
            opened_at=self.time(d.opened_us),
            changed_at=self.time(d.changed_us),
            condition=d.condition,
            sources=list(d.sources),
            detections=list(d.parts)[-SHOWN_DETECTIONS:],
            tickets=list(d.tickets),
            merged_into=d.merged_into,
            external_refs=list(d.external_refs),
            department=d.department,
            order_id=d.order_id,
            deadline=deadline,
            count=d.count,
            evidence=list(d.evidence),
            message=self.message(d),
        )

    def message(self, d: Dossier) -> Text:
        """Rendered anew only when something it may name has changed."""
        known = self._messages.get(d.incident_id)
        state = (d.severity, d.count, len(d.sources), d.rule)
        if known is not None and known[0] is d.values and known[1] == state:
            return known[2]
        made = self._render(d)
        self._messages[d.incident_id] = (d.values, state, made)
        return made

    def _render(self, d: Dossier) -> Text:
        rule = self.rule_of(d)
        kind = self.tables.type_of(d.type)
        name = kind.name if kind is not None else Text(d.type, d.type)
        if rule is None:
            return Text(f"{d.place_zh} {name.zh}", f"{name.en} at {d.place_en}")
        values = {
            **d.values,
            "place": {"zh": d.place_zh, "en": d.place_en},
            "sources": d.sources,
            "severity": d.severity,
            "count": d.count,
            "type": {"zh": name.zh, "en": name.en},
        }
        return Text(render(rule.message.zh, values, "zh"), render(rule.message.en, values, "en"))

    def time_or_none(self, time_us: int | None) -> str | None:
        return None if time_us is None else self.time(time_us)

    def answer(self, dossier: Dossier) -> None:
        """Every ticket of the incident hears of it."""
        for ticket_id in dossier.tickets:
            note = self.tickets.get(ticket_id)
            if note is not None:
                self.reply(note, dossier, dossier.state, *ANSWERS.get(dossier.state, ANSWERS[State.CONFIRMED]))

    def reply(self, note: TicketNote, dossier: Dossier | None, state: str, zh: str, en: str) -> None:
        note.replies += 1
        identity = content_id("h", note.ticket_id, note.replies)
        value = HotlineReply(
            reply_id=identity,
            ticket_id=note.ticket_id,
            incident_id=None if dossier is None else dossier.incident_id,
            state=state,
            text=Text(zh, en),
            at=self.time(self.now_us),
        )
        self.outputs.append(Output("hotline.replies", note.ticket_id, value, identity))


NO_CLAUSE = DispatchClause()
ANSWERS = {
    State.CONFIRMED: ("您反映的问题已受理，正在派遣处置。", "Your report has been filed and is being dispatched."),
    State.CLOSED: ("您反映的问题已处置完毕并核查结案。", "The matter you reported has been dealt with and checked."),
    State.FALSE_ALARM: ("经核实，现场未发现您反映的问题。", "On checking, the matter you reported was not found."),
    State.WITHDRAWN: ("经核实，您反映的问题不予立案。", "On checking, no case was opened for your report."),
    State.MERGED: ("您反映的问题已并入同一事件处置。", "Your report has been joined to another of the same matter."),
}


def key_text(key: dict[str, str]) -> str:
    return "\x1f".join(f"{name}={key[name]}" for name in sorted(key))


def never_clears(rule: Rule) -> bool:
    return isinstance(rule.base.detect, Event)


def overall(dossier: Dossier) -> Condition:
    """Still while any part is; cleared when all are; else unknown."""
    conditions = [part.condition for part in dossier.parts.values()]
    if not conditions:
        return Condition.UNKNOWN
    if Condition.STILL in conditions:
        return Condition.STILL
    return Condition.CLEARED if all(c == Condition.CLEARED for c in conditions) else Condition.UNKNOWN
