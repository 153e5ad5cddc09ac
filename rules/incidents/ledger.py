"""The Desk's memory: every incident it keeps, how to find one, when to look again, and what has been said.

Nothing here decides. `now_us` never goes back; every change of an incident is a revision, published at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import msgspec

from models.detections import Detection, Text
from models.dispatch import HotlineReply
from models.ids import content_id
from models.incidents import Condition, Deadline, Incident, Place, State
from models.times import HOUR_US, SECOND_US, format_time
from rules.incidents.cabinet import Cabinet
from rules.incidents.dossier import FORGET, SHOWN_DETECTIONS, SHOWN_TICKETS, Dossier, Head, Part
from rules.incidents.entries import (
    VERSION,
    Gone,
    Quiet,
    Reached,
    Rest,
    Spot,
    Strays,
    TicketNote,
    Waiting,
    Witness,
    by_letter,
)
from rules.incidents.near import Near
from rules.incidents.places import Places
from rules.incidents.reasons import Reason
from rules.incidents.rendering import render
from rules.incidents.seen import Seen
from rules.incidents.shelf import Shelf
from rules.incidents.states import ENDED, ORDERED, Step, after
from rules.incidents.witnesses import Witnesses
from rules.language.model import Absent, Bundle, DispatchClause, Event, EvidenceClause, InSequence, Rule, Transition
from rules.tables import Tables

REOPEN_US = 7 * 24 * HOUR_US  # an ended incident can be reopened so long, then it leaves the memory
EARLY_US = HOUR_US  # feedback of an order not yet issued, or the end of a detection not yet seen, is kept so long
EARLY_KEPT = 10_000  # and so many of them: a flood of strays may not fill the memory
SEEN_US = 12 * HOUR_US  # ids of feedback and commands are remembered so long at least; older ones are late
POSITION_US = 24 * HOUR_US  # a vehicle silent for so long is forgotten
HEAP_SLACK = 4  # alarms in the heap for each that may be living before the stale ones are taken out: a pause, and rare
HEAP_LEAST = 64
TIMERS = 3  # that an incident has as a rule; with the slack more than the most it can have
QUIET, QUIET_END, WITNESS, REACHED = "quiet", "quiet_end", "witness", "reached"
INHERITED = "inherited"
INHERITED_US = 24 * HOUR_US  # what nobody watches any more ends after so long, where its rule says nothing


class Output(NamedTuple):
    """A record to publish: `id` is its ce_id, the same in every replay."""

    topic: str
    key: str
    value: msgspec.Struct
    id: str


AnyShelf = (
    Shelf[TicketNote]
    | Shelf[Spot]
    | Shelf[Strays]
    | Shelf[Gone]
    | Shelf[Quiet]
    | Shelf[Waiting]
    | Shelf[Witness]
    | Shelf[Reached]
)


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
        self.groups = {rule.id: name for rule in bundle.rules if (name := parent_of(rule)) is not None}
        """By rule: the property of devices whose whole falls silent as one."""
        self.silencers = {clause.rule for rule in bundle.rules for clause in rule.suppressed_by}
        self._rest_stored = b""
        self._forget_all()

    # ------------------------------------------------------------------------------------------------- memory

    def _forget_all(self) -> None:
        self.now_us = 0
        self.dossiers = Cabinet()
        self.tickets = Shelf("t", TicketNote)
        self.spots = Shelf("v", Spot)
        self.early = Shelf("e", Strays)
        """By order."""
        self.gone = Shelf("g", Gone)
        """By detection."""
        self.quiet = Shelf("q", Quiet)
        """By what `quiet_key` makes of rule, zone and key."""
        self.waiting = Shelf("w", Waiting)
        """By detection."""
        self.silenced: dict[str, dict[str, None]] = {}
        """By incident: the detections that wait for its end."""
        self.witnesses = Witnesses()
        self.reached = Shelf("o", Reached)
        """By what `witness_id` makes of rule, sequence and key."""
        self.seen_ids = Seen(SEEN_US)
        self._messages: dict[str, tuple[dict[str, Any], tuple[object, ...], Text]] = {}
        self.by_detection: dict[str, str] = {}
        self.by_order: dict[str, str] = {}
        self.by_place: dict[str, Near] = {}
        self.by_name: dict[str, dict[str, None]] = {}
        self.loads: Counter[str] = Counter()
        self.unit_spots: dict[str, Spot] = {}
        self._vehicles: dict[str, dict[str, None]] = {}
        """By unit."""
        self.heap: list[tuple[int, str, str]] = []

    @property
    def shelves(self) -> tuple[AnyShelf, ...]:
        kept = self.tickets, self.spots, self.early, self.gone, self.quiet, self.waiting
        return *kept, self.witnesses.shelf, self.reached

    def snapshot(self) -> dict[str, bytes]:
        found = {"rest": self._rest(), **self.dossiers.snapshot(), **self.seen_ids.snapshot()}
        for shelf in self.shelves:
            found.update(shelf.snapshot())
        return found

    def changes(self) -> dict[str, bytes | None]:
        found = {**self.dossiers.changes(), **self.seen_ids.changes()}
        for shelf in self.shelves:
            found.update(shelf.changes())
        rest = self._rest()
        if rest != self._rest_stored:
            self._rest_stored = found["rest"] = rest
        return found

    def _rest(self) -> bytes:
        numbers = {shelf.letter: shelf.next_number for shelf in self.shelves}
        return msgspec.msgpack.encode(
            Rest(VERSION, self.now_us, numbers, self.seen_ids.new.number, self.seen_ids.since_us)
        )

    def restore(self, entries: Mapping[str, bytes], rest: Rest) -> None:
        """The order of `entries` decides nothing, nor does that of the dossiers: whatever asks the indexes takes the
        best of what it finds."""
        self._forget_all()
        kinds = by_letter(entries)
        self.now_us = rest.now_us
        self._rest_stored = entries.get("rest", b"")
        self.seen_ids.restore(kinds["s"], rest.generation, rest.since_us)
        for shelf in self.shelves:
            shelf.restore(kinds[shelf.letter], rest.numbers.get(shelf.letter, 0))
        for _, spot in self.spots:
            self._join_unit(spot)
        for identity, blob in kinds["i"].items():
            self._find_again(self.dossiers.put_back(identity, blob))
        self.witnesses.reindex()
        for identity, waiting in self.waiting:
            if waiting.by:
                self.silenced.setdefault(waiting.by, {})[identity] = None
            else:
                self.heap.append((waiting.due_us, identity, QUIET))
        self.heap += [(witness.due_us, identity, WITNESS) for identity, witness in self.witnesses.shelf]
        self.heap += [(reached.due_us, identity, REACHED) for identity, reached in self.reached]
        self.heap += [(quiet.until_us, identity, QUIET_END) for identity, quiet in self.quiet]
        heapify(self.heap)

    def _find_again(self, head: Head) -> None:
        identity = head.incident_id
        for part in head.parts:
            self.by_detection[part] = identity
        for order_id in head.order_ids():
            self.by_order[order_id] = identity
        if head.state in ORDERED and head.unit_id is not None:
            self.loads[head.unit_id] += 1
        if head.state not in ENDED:
            self.index(head)
        for kind, due_us in head.timers.items():
            self.heap.append((due_us, identity, kind))
        if head.state not in ENDED and INHERITED not in head.timers and self._orphaned(head):
            rule = self.rule_of(head)
            timeout_us = None if rule is None else rule.base.close.timeout_us
            self.set_timer(self.to_change(identity), INHERITED, self.now_us + (timeout_us or INHERITED_US))

    def _orphaned(self, head: Head) -> bool:
        return head.rule is not None and any(self.orphan(part) for part in head.parts.values())

    def orphan(self, part: Part) -> bool:
        """Nobody watches it any more: its rule, or the part of it that told of it, is gone or another."""
        rule = self.rules.get(part.rule)
        if rule is None or rule.status != "active":
            return True
        return bool(part.fingerprint) and all(part.fingerprint != one.fingerprint for one in rule.parts or (rule,))

    def fold(self) -> None:
        """The end of a call: what is not needed any more is put away."""
        for identity in self.dossiers.fold():
            self._messages.pop(identity, None)

    def seen(self, identity: str, time_us: int) -> str | None:
        """`duplicate` or `late` (too old to know), or None: new, and now remembered."""
        if identity in self.seen_ids:
            return "duplicate"
        if time_us < self.now_us - SEEN_US:
            return "late"
        self.remember(identity)
        return None

    def remember(self, identity: str) -> None:
        """For SEEN_US at least and twice that at most."""
        self.seen_ids.add(identity, self.now_us)

    def sweep(self) -> None:
        """Forget what was kept for a bounded time. Each of these is in the order of its keeping."""
        horizon = self.now_us - EARLY_US
        while (stray := self.early.first()) is not None:
            order_id, strays = stray
            if strays.heard[0].kept_us >= horizon and len(self.early) <= EARLY_KEPT:
                break
            self.early.drop(order_id)
            self.counts["conflict"] += len(strays.heard)
        while (end := self.gone.first()) is not None:
            detection_id, gone = end
            if gone.kept_us >= horizon and len(self.gone) <= EARLY_KEPT:
                break
            self.gone.drop(detection_id)
            self.counts["unmatched"] += 1
        while (oldest := self.tickets.first()) is not None:
            ticket_id, note = oldest
            if note.heard_us >= self.now_us - REOPEN_US:
                break
            self.tickets.drop(ticket_id)
            if self.dossiers.is_open(note.incident_id or ""):  # its caller still waits for an answer
                note.heard_us = self.now_us
                self.tickets.keep(ticket_id, note)

    # ------------------------------------------------------------------------------------------------- finding

    def index(self, dossier: Head) -> None:
        """Make an open incident findable: by rule or type, and place or zone or key."""
        for group in self._groups(dossier):
            if dossier.lon is not None and dossier.lat is not None:
                near = self.by_place.get(group)
                if near is None:
                    near = self.by_place[group] = Near(self._cell_m(group))
                near.add(dossier.incident_id, dossier.lon, dossier.lat)
        for name in self._names(dossier):
            self.by_name.setdefault(name, {})[dossier.incident_id] = None

    def unindex(self, dossier: Head) -> None:
        for group in self._groups(dossier):
            if dossier.lon is not None and dossier.lat is not None and group in self.by_place:
                self.by_place[group].remove(dossier.incident_id, dossier.lon, dossier.lat)
        for name in self._names(dossier):
            ids = self.by_name.get(name)
            if ids is not None:
                ids.pop(dossier.incident_id, None)
                if not ids:
                    del self.by_name[name]

    def open_near(self, group: str, lon: float, lat: float, radius_m: float) -> Iterator[Dossier]:
        near = self.by_place.get(group)
        if near is not None:
            for identity in near.around(lon, lat, radius_m):
                yield self.read(identity)

    def open_named(self, group: str, name: str) -> Iterator[Dossier]:
        for identity in self.by_name.get(f"{group}|{name}", ()):
            yield self.read(identity)

    def read(self, identity: str) -> Dossier:
        """One that is there, to be read only."""
        found = self.dossiers.look(identity)
        assert found is not None
        return found

    def to_change(self, identity: str) -> Dossier:
        """One that is there, to be changed."""
        found = self.dossiers.change(identity)
        assert found is not None
        return found

    def _groups(self, dossier: Head) -> list[str]:
        """Its type, and its rule or that only citizens told of it."""
        return [f"type:{dossier.type}", f"told:{dossier.type}" if dossier.rule is None else f"rule:{dossier.rule}"]

    def _names(self, dossier: Head) -> list[str]:
        """Under which a rule asks for it; a type is only asked for by place."""
        if dossier.rule is None:
            return []
        names = [] if dossier.zone is None else [f"rule:{dossier.rule}|zone:{dossier.zone}"]
        if dossier.rule in self.silencers:
            names.append(f"rule:{dossier.rule}|open")
        first = next(iter(dossier.parts.values()), None)
        if first is not None:
            names.append(f"rule:{dossier.rule}|key:{key_text(first.key)}")
            group = self.group_of(dossier.rule, first.key)
            if group is not None:
                names.append(f"rule:{dossier.rule}|of:{group}")
        return names

    def group_of(self, rule_id: str, key: Mapping[str, str]) -> str | None:
        """To what whole the device of this key belongs, where the rule speaks of such; None of the whole itself."""
        name = self.groups.get(rule_id)
        device = key.get("device_id") or key.get("sensor_id")
        return None if name is None or device is None else self.places.device_property(device, name)

    def _cell_m(self, group: str) -> float:
        """By the group alone: how far a look-up reaches may not depend on which incident came first."""
        what, _, name = group.partition(":")
        rule = self.rules.get(name) if what == "rule" else None
        if rule is not None and rule.merge is not None and rule.merge.radius_m is not None:
            return rule.merge.radius_m
        kind = self.tables.type_of(name if rule is None else rule.type)
        return kind.radius_m if kind is not None else 50.0

    def rule_of(self, dossier: Head) -> Rule | None:
        return None if dossier.rule is None else self.rules.get(dossier.rule)

    def clause_of(self, dossier: Dossier) -> DispatchClause:
        rule = self.rule_of(dossier)
        return NO_CLAUSE if rule is None else rule.dispatch

    # ------------------------------------------------------------------------------------------------- timers

    def set_timer(self, dossier: Dossier, kind: str, due_us: int) -> None:
        dossier.timers[kind] = due_us
        self.set_alarm(kind, dossier.incident_id, due_us)

    def set_alarm(self, kind: str, identity: str, due_us: int) -> None:
        heappush(self.heap, (due_us, identity, kind))
        short = len(self.waiting), len(self.quiet), len(self.witnesses), len(self.reached)
        living = TIMERS * len(self.dossiers) + sum(short)
        if len(self.heap) > max(HEAP_LEAST, HEAP_SLACK * living):
            self.heap = [alarm for alarm in self.heap if self._may_be_due(*alarm)]
            heapify(self.heap)

    def _may_be_due(self, due_us: int, identity: str, kind: str) -> bool:
        if kind == QUIET:
            waiting = self.waiting.look(identity)
            return waiting is not None and waiting.due_us == due_us
        if kind == QUIET_END:
            quiet = self.quiet.look(identity)
            return quiet is not None and quiet.until_us == due_us
        if kind == WITNESS:
            witness = self.witnesses.look(identity)
            return witness is not None and witness.due_us == due_us
        if kind == REACHED:
            reached = self.reached.look(identity)
            return reached is not None and reached.due_us == due_us
        return self.dossiers.expects(identity, kind, due_us)

    def due(self, to_us: int) -> tuple[int, str, str] | None:
        """The next (due, id, kind) not after `to_us`, taken off the clock; stale ones are passed over."""
        while self.heap and self.heap[0][0] <= to_us:
            due_us, identity, kind = heappop(self.heap)
            if not self._may_be_due(due_us, identity, kind):
                continue
            if kind == QUIET_END:
                self.quiet.drop(identity)
            elif kind in (QUIET, WITNESS, REACHED):
                return due_us, identity, kind
            elif self.read(identity).timers.get(kind) == due_us:
                del self.to_change(identity).timers[kind]
                return due_us, identity, kind
        return None

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
            self.dossiers.end(dossier)
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
        self.dossiers.drop(dossier.incident_id)
        self._messages.pop(dossier.incident_id, None)
        self.counts["forgotten"] += 1

    def place_unit(self, spot: Spot) -> None:
        before = self.spots.look(spot.vehicle_id)
        if before is not None and before.unit_id != spot.unit_id:
            self._leave_unit(before)
        self.spots.keep(spot.vehicle_id, spot)
        self._join_unit(spot)
        first = self.spots.first()
        if first is not None and first[1].time_us < self.now_us - POSITION_US:
            self._leave_unit(self.spots.drop(first[0]))

    def _join_unit(self, spot: Spot) -> None:
        """Of a unit's vehicles the one heard last says where it is."""
        if spot.unit_id is None:
            return
        self._vehicles.setdefault(spot.unit_id, {})[spot.vehicle_id] = None
        known = self.unit_spots.get(spot.unit_id)
        if known is None or (known.time_us, known.vehicle_id) <= (spot.time_us, spot.vehicle_id):
            self.unit_spots[spot.unit_id] = spot

    def _leave_unit(self, spot: Spot | None) -> None:
        if spot is None or spot.unit_id is None:
            return
        del self._vehicles[spot.unit_id][spot.vehicle_id]
        if self.unit_spots[spot.unit_id] is spot:
            del self.unit_spots[spot.unit_id]
            for vehicle_id in self._vehicles[spot.unit_id]:
                other = self.spots.look(vehicle_id)
                if other is not None:
                    self._join_unit(other)
        if not self._vehicles[spot.unit_id]:
            del self._vehicles[spot.unit_id]

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
            tickets=d.tickets[-SHOWN_TICKETS:],
            merged_into=d.merged_into,
            external_refs=list(d.external_refs),
            department=d.department,
            order_id=d.order_id,
            deadline=deadline,
            count=d.count,
            evidence=list(d.evidence),
            message=self.message(d),
            attributes=self.attributes(d),
        )

    def attributes(self, d: Dossier) -> dict[str, Any]:
        """What only some incidents have to say: an override's reason, whom it silences, what pictures go with it."""
        found: dict[str, Any] = {}
        if d.variant is not None:
            found["override_reason"] = d.variant
        if d.suppressed:
            found["suppressed"] = {rule: d.suppressed[rule] for rule in sorted(d.suppressed)}
        rule = self.rule_of(d)
        if rule is not None and rule.evidence is not None:
            found["pictures"] = pictures(rule.evidence)
        return found

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
            note = self.tickets.change(ticket_id)
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


def told_by(rule: Rule, heard: Detection) -> Rule:
    """The part of the rule that told it, or the rule itself."""
    return next((part for part in rule.parts if part.part == heard.part), rule)


def never_clears(rule: Rule) -> bool:
    """Of a rule or a part of one: what it tells of has no end that a stream could show."""
    match rule.base.detect:
        case Event() | InSequence() | Transition(change="exit" | "cross"):
            return True
        case _:
            return False


def parent_of(rule: Rule) -> str | None:
    for one in rule.parts or (rule,):
        if isinstance(one.base.detect, Absent) and one.base.detect.parent is not None:
            return one.base.detect.parent
    return None


def pictures(clause: EvidenceClause) -> dict[str, Any]:
    return {
        "frames": clause.frames,
        "span_s": clause.span_us / SECOND_US,
        "mask": list(clause.mask),
        "retain_s": None if clause.retain_us is None else clause.retain_us / SECOND_US,
    }


def overall(dossier: Dossier) -> Condition:
    """Still while any part is; cleared when all are; else unknown.

    A witness that has no end (a call, a single picture) says nothing of the end where another part can; an event that
    raised the incident by itself keeps it unknown: a person verifies it.
    """
    parts = list(dossier.parts.values())
    if any(not part.never_clears for part in parts):
        parts = [part for part in parts if not (part.never_clears and part.witness)]
    conditions = [part.condition for part in parts]
    if not conditions:
        return Condition.UNKNOWN
    if Condition.STILL in conditions:
        return Condition.STILL
    return Condition.CLEARED if all(c == Condition.CLEARED for c in conditions) else Condition.UNKNOWN
