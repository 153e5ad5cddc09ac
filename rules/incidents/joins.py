"""Rules that put several sources together: who has said what, and whether it is enough.

A source of a `correlate` opens a suspicion by itself, which the others confirm; what belongs to an `all_of`, a `near`
or a `sequence` is no incident before all of it is there. Decided by event times alone: a witness stands for what is
known of its span and only ever says more, so the order of coming changes nothing within `WAIT_US`. Steps of a sequence,
whose order does matter, wait that long before they count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import nsmallest

import msgspec

from geo.distance import distance_m
from models.detections import Detection
from models.incidents import Condition, State
from models.times import SECOND_US, parse_rfc3339_us
from rules.incidents.agreement import MOST_ERROR_M, agreeing, longest_reach_m, longest_us
from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import Dossier
from rules.incidents.entries import Reached, Witness
from rules.incidents.fusion import Bin, Fusion
from rules.incidents.inputs import Ticket
from rules.incidents.ledger import REACHED, WITNESS, Ledger, key_text
from rules.incidents.merging import Merging
from rules.incidents.reasons import Reason
from rules.incidents.states import ENDED, GRACE, Step, allows
from rules.incidents.tickets import TOPIC, Tickets
from rules.incidents.witnesses import id_of, witness_id
from rules.language.model import AllOf, Correlate, InOrder, Join, NearBy, Rule, Source
from rules.patterns.sequence import Match, Progress, Sequence, Sighting

UNCONFIRMED = "unconfirmed"
WAIT_US = 60 * SECOND_US  # how far one partition may be behind another; two `still` reports come in that time
MOST_AROUND = 64  # witnesses looked at around one: who is confirmed by so many needs no more
NOWHERE = float("nan")


class Joins:
    def __init__(
        self, ledger: Ledger, dispatching: Dispatching, fusion: Fusion, tickets: Tickets, merging: Merging
    ) -> None:
        self.ledger, self.dispatching, self.fusion = ledger, dispatching, fusion
        self.tickets, self.merging = tickets, merging
        active = [rule for rule in ledger.rules.values() if rule.status == "active"]
        self.by_part: dict[tuple[str, str], list[Join]] = {}
        for rule in active:
            for join in rule.joins:
                for part in parts_of(join):
                    self.by_part.setdefault((rule.id, part), []).append(join)
        self.by_name = {(rule.id, join.name): join for rule in active for join in rule.joins}
        self.callers = list(callers_of(active))
        ordered = [(name, join) for name, join in self.by_name.items() if isinstance(join, InOrder)]
        self.sequences = {name: Sequence(join.sequence) for name, join in ordered}

    # ------------------------------------------------------------------------------------------------- what comes in

    def take(self, heard: Detection) -> Bin:
        """A transition: a rule's own, or what a part of it tells a join."""
        rule = self.ledger.rules.get(heard.rule)
        joins = self.by_part.get((heard.rule, heard.part or ""), []) if heard.suspected else []
        if rule is None or not joins:
            found = self.fusion.take(heard)
            self.gather(heard)
            return found
        said = [(join, witness) for join in joins if (witness := self.note(rule, join, heard)) is not None]
        known = heard.detection_id in self.ledger.by_detection
        if known or any(isinstance(join, Correlate) for join in joins):
            found = self.fusion.take(heard, None if known else self.incident_of(rule, said))
        elif heard.kind == "cleared" and any(isinstance(join, InOrder) for join in joins):
            found = self.fusion.take(heard)  # kept until its sequence is complete
        else:
            found = "used" if said else "duplicate"
        for join, witness in said:
            self.conclude(rule, join, witness)
        self.await_others(heard.detection_id)
        return found

    def call(self, ticket: Ticket) -> Bin:
        """A ticket: a citizen's own matter, and perhaps a witness."""
        said = []
        for rule, join, source in self.callers:
            if source.where.value(ticket.fields()) is True:
                witness = self.note_call(rule, join, source, ticket)
                if witness is not None:
                    said.append((rule, join, witness))
        into = next((d for rule, join, w in said if (d := self.incident_of(rule, [(join, w)])) is not None), None)
        found = self.tickets.take(ticket, into)
        for rule, join, witness in said:
            self.conclude(rule, join, witness)
        return found

    # ------------------------------------------------------------------------------------------------- witnesses

    def note(self, rule: Rule, join: Join, heard: Detection) -> Witness | None:
        """What it tells that was not known; None: nothing."""
        if heard.kind == "unknown":
            return None
        source = source_of(join, heard.part or "")
        witness = Witness(
            rule=rule.id,
            join=join.name,
            source=source.name if isinstance(source, Source) else source,
            who=who(heard, source.distinct if isinstance(source, Source) else None),
            identity=heard.detection_id,
            first_us=parse_rfc3339_us(heard.opened_event_time),
            last_us=parse_rfc3339_us(heard.event_time),
            due_us=0,
            key=join_key(rule, join, heard),
            lon=heard.lon,
            lat=heard.lat,
            error_m=min(heard.error_m or 0.0, MOST_ERROR_M),
        )
        if isinstance(join, InOrder):
            return self.step(witness, heard)
        if not isinstance(join, Correlate):
            witness.heard = opening(heard)
            witness.ended = heard if heard.kind == "cleared" else None
        return self.keep(join, witness)

    def note_call(self, rule: Rule, join: Correlate, source: Source, ticket: Ticket) -> Witness | None:
        if ticket.lon is None or ticket.lat is None or (ticket.error_m or 0.0) > MOST_ERROR_M:
            self.ledger.counts["witness_without_place"] += 1
            return None
        asked = ticket.fields().get(source.distinct or "caller")
        witness = Witness(
            rule=rule.id,
            join=join.name,
            source=source.name,
            who="" if asked is None else str(asked),
            identity=ticket.ticket_id,
            first_us=ticket.time_us,
            last_us=ticket.time_us,
            due_us=0,
            key="",
            lon=ticket.lon,
            lat=ticket.lat,
            error_m=ticket.error_m or 0.0,
            call=ticket._replace(text=None),
        )
        return self.keep(join, witness)

    def keep(self, join: Join, said: Witness) -> Witness | None:
        """Beside what it has said before, which it can only make longer."""
        ledger = self.ledger
        known = ledger.witnesses.look(id_of(said))
        if known is not None:
            news = said.last_us > known.last_us or said.first_us < known.first_us
            if not news and (said.ended is None or known.ended is not None):
                return None
            said.first_us = min(said.first_us, known.first_us)
            said.last_us = max(said.last_us, known.last_us)
            said.ended = said.ended or known.ended
            said.lon, said.lat, said.key, said.heard = known.lon, known.lat, known.key, known.heard
        said.due_us = said.last_us + longest_us(join) + WAIT_US
        if said.due_us <= ledger.now_us:
            ledger.counts["late_witness"] += 1
            return None
        self.put(said, said.due_us)
        return said

    def put(self, said: Witness, due_us: int) -> None:
        if not self.ledger.witnesses.keep(said):
            self.ledger.counts["witnesses_forgotten"] += 1
        self.ledger.set_alarm(WITNESS, id_of(said), due_us)

    def witness_due(self, identity: str) -> None:
        """Its time is over; that of a step has come."""
        witness = self.ledger.witnesses.drop(identity)
        if witness is not None and (witness.rule, witness.join) in self.sequences:
            self.reach(witness)

    # ------------------------------------------------------------------------------------------------- deciding

    def agreed(self, rule: Rule, join: Join, witness: Witness) -> list[Witness]:
        others = [one for one in self.around(rule, join, witness) if not self.dismissed(one)]
        return agreeing(join, witness, others)

    def around(self, rule: Rule, join: Join, witness: Witness) -> list[Witness]:
        """The others that it may agree with; of very many the nearest."""
        ledger = self.ledger
        reach_m = longest_reach_m(join, witness)
        if reach_m is None:
            found = list(ledger.witnesses.keyed(rule.id, join.name, witness.key))
        elif witness.lon is None or witness.lat is None:
            return []
        else:
            found = list(ledger.witnesses.around(rule.id, join.name, witness.lon, witness.lat, reach_m))
        mine = witness.source, witness.identity
        others = [one for one in found if (one.source, one.identity) != mine and one.due_us > ledger.now_us]
        if len(others) <= MOST_AROUND:
            return others
        ledger.counts["witnesses_passed_over"] += len(others) - MOST_AROUND
        return nsmallest(MOST_AROUND, others, key=lambda one: (metres(witness, one), one.identity, one.source))

    def dismissed(self, witness: Witness) -> bool:
        """What it spoke of has ended, or a person has said that it is not so."""
        dossier = self.dossier_of(witness)
        return dossier is not None and dossier.state in ENDED

    def dossier_of(self, witness: Witness) -> Dossier | None:
        ledger = self.ledger
        if witness.call is None:
            return ledger.dossiers.look(ledger.by_detection.get(witness.identity, ""))
        note = ledger.tickets.look(witness.identity)
        return None if note is None else ledger.dossiers.look(note.incident_id or "")

    def open_among(self, agreed: Iterable[Witness]) -> list[Dossier]:
        """The open incidents of these witnesses, to be changed."""
        found: dict[str, None] = {}
        for witness in agreed:
            dossier = self.dossier_of(witness)
            if dossier is not None and dossier.state not in ENDED:
                found[dossier.incident_id] = None
        return [self.ledger.to_change(identity) for identity in found]

    def incident_of(self, rule: Rule, said: list[tuple[Join, Witness]]) -> Dossier | None:
        """Where something new belongs that agrees with what is known; None: by its own place and time."""
        for join, witness in said:
            dossiers = self.open_among(self.agreed(rule, join, witness))
            if dossiers:
                return self.merging.together(dossiers)
        return None

    def conclude(self, rule: Rule, join: Join, witness: Witness) -> None:
        """What agrees becomes one incident, and a case."""
        if isinstance(join, InOrder) or self.dismissed(witness) or self.settled(rule, join, witness):
            return
        agreed = self.agreed(rule, join, witness)
        if agreed:
            self.bring_together(rule, agreed)

    def settled(self, rule: Rule, join: Join, witness: Witness) -> bool:
        """Of a case already, and so are all around it."""
        dossier = self.dossier_of(witness)
        if dossier is None or dossier.state in GRACE:
            return False
        return all(self.dossier_of(one) is dossier for one in self.around(rule, join, witness))

    def bring_together(self, rule: Rule, agreed: list[Witness]) -> None:
        dossiers = self.open_among(agreed)
        target = self.merging.together(dossiers) if dossiers else None
        for witness in agreed:
            if self.dossier_of(witness) is None:
                target = self.attach(rule, target, witness)
        if target is not None and target.state in GRACE:
            self.dispatching.confirm(target, Reason.CORRELATED)

    def attach(self, rule: Rule, target: Dossier | None, witness: Witness) -> Dossier | None:
        """A witness that no incident knows of yet joins the incident, or opens it."""
        if witness.call is not None:
            return self.attach_call(rule, target, witness.call)
        if witness.heard is None:
            return target  # its raise is still to come, or waits for the end of a quiet time
        for heard in (witness.heard, witness.ended):
            if heard is not None:
                self.fusion.take(heard, target)
        found = self.ledger.dossiers.change(self.ledger.by_detection.get(witness.identity, ""))
        return target if found is None else found

    def attach_call(self, rule: Rule, target: Dossier | None, call: Ticket) -> Dossier | None:
        kind, note = self.ledger.tables.type_of(rule.type), self.ledger.tickets.change(call.ticket_id)
        if kind is None or note is None:
            return target
        if target is None:
            return self.tickets.open(call, note, kind, rule)
        self.tickets.join(call, note, kind, target)
        return target

    def gather(self, heard: Detection) -> None:
        """A whole has fallen silent: what its devices had opened before is its incident."""
        ledger = self.ledger
        whole = heard.key.get(ledger.groups.get(heard.rule, ""))
        target = ledger.dossiers.look(ledger.by_detection.get(heard.detection_id, ""))
        if whole is None or target is None or target.state in ENDED or heard.kind == "cleared":
            return
        members = [d.incident_id for d in ledger.open_named(f"rule:{heard.rule}", f"of:{whole}")]
        for identity in members:
            self.absorb(ledger.to_change(target.incident_id), ledger.to_change(identity))

    def absorb(self, target: Dossier, member: Dossier) -> None:
        if member is target or not allows(member.state, Step.MERGE):
            return
        case = member.state not in GRACE
        self.merging.into(target, member, Reason.MERGED)
        if case and target.state in GRACE:
            self.dispatching.confirm(target, Reason.CASE_OPENED)

    # ------------------------------------------------------------------------------------------------- unconfirmed

    def await_others(self, detection_id: str) -> None:
        """A suspicion waits as long as another source may still confirm it."""
        ledger = self.ledger
        dossier = ledger.dossiers.look(ledger.by_detection.get(detection_id, ""))
        if dossier is None or dossier.state != State.SUSPECTED:
            return
        if self.fusion.verification.may_be_confirmed(dossier):
            ledger.set_timer(ledger.to_change(dossier.incident_id), UNCONFIRMED, self.waits_until(dossier))

    def waits_until(self, dossier: Dossier) -> int:
        joins = self.ledger.rules[dossier.rule or ""].joins
        longest = max(longest_us(join) for join in joins)
        return max(part.last_us for part in dossier.parts.values()) + longest + WAIT_US

    def unconfirmed_due(self, dossier: Dossier) -> None:
        """Nobody confirmed it. What is still there, or may be, stays; a suspicion of danger to life is for a person."""
        if dossier.state != State.SUSPECTED or dossier.inconclusive:
            return
        parts = dossier.parts.values()
        if any(not part.never_clears and part.condition != Condition.CLEARED for part in parts):
            return
        if dossier.life_safety:
            dossier.inconclusive = True
            self.ledger.revise(dossier, Reason.PERSON_MUST_CLOSE)
        else:
            self.ledger.step(dossier, Step.WITHDRAW, Reason.NOT_CONFIRMED)

    # ------------------------------------------------------------------------------------------------- in order

    def step(self, witness: Witness, heard: Detection) -> Witness | None:
        """A step waits until none can come that was before it."""
        if heard.kind == "cleared":
            return None
        ledger = self.ledger
        witness.identity = f"{heard.detection_id}@{witness.last_us}"
        witness.due_us = witness.last_us + WAIT_US
        if ledger.witnesses.look(id_of(witness)) is not None:
            return None
        if witness.due_us <= ledger.now_us:
            ledger.counts["late_witness"] += 1
            return None
        witness.heard = heard
        self.put(witness, witness.due_us)
        return witness

    def reach(self, witness: Witness) -> None:
        """The next step, in order of time."""
        assert witness.heard is not None
        sequence = self.sequences[witness.rule, witness.join]
        shape = shape_of(sequence)
        identity = witness_id(witness.rule, witness.join, shape, witness.key)
        known = self.ledger.reached.look(identity)
        reached = known or Reached(witness.rule, witness.join, 0, Progress(), [], shape=shape)
        names = [step.name for step in sequence.steps if step.part == witness.source]
        seen = Sighting(witness.last_us, *spot(witness), witness.identity)
        if all(one.detection_id != witness.heard.detection_id for one in reached.seen):
            reached.seen = [*reached.seen, witness.heard]
        self.matched(reached, sequence.feed(reached.progress, names, seen))
        self.store_reached(identity, reached, sequence)

    def reached_due(self, identity: str) -> None:
        """The time of a sequence is over: a last step that must not come has not come, or nothing came of it."""
        reached = self.ledger.reached.look(identity)
        assert reached is not None
        sequence = self.sequences.get((reached.rule, reached.join))
        if sequence is None or shape_of(sequence) != reached.shape:
            self.ledger.reached.drop(identity)
            return
        self.matched(reached, sequence.advance(reached.progress, self.ledger.now_us - WAIT_US))
        self.store_reached(identity, reached, sequence)

    def store_reached(self, identity: str, reached: Reached, sequence: Sequence) -> None:
        ledger = self.ledger
        ends_us, forget_us = sequence.due_us(reached.progress), sequence.forgettable_us(reached.progress)
        if forget_us + WAIT_US <= ledger.now_us:
            ledger.reached.drop(identity)
            return
        used = {str(one.ref).partition("@")[0] for one in reached.progress.reached}
        used |= {str(held.first.ref).partition("@")[0] for held in reached.progress.held.values()}
        reached.seen = [one for one in reached.seen if one.detection_id in used]
        reached.due_us = (forget_us if ends_us is None else ends_us) + WAIT_US
        ledger.reached.keep(identity, reached)
        ledger.set_alarm(REACHED, identity, reached.due_us)

    def matched(self, reached: Reached, matches: list[Match]) -> None:
        """All steps are one incident of the rule."""
        rule = self.ledger.rules[reached.rule]
        for match in matches:
            refs = [str(one.ref).partition("@")[0] for one in match.reached]
            target: Dossier | None = None
            for heard in sorted(reached.seen, key=lambda one: (one.opened_event_time, one.detection_id)):
                if heard.detection_id in refs:
                    self.fusion.take(opening(heard), target)
                    found = self.ledger.dossiers.change(self.ledger.by_detection.get(heard.detection_id, ""))
                    if found is not None and found.state not in ENDED:  # what has ended takes no further step in
                        target = found
            if target is not None and target.state in GRACE:
                self.dispatching.confirm(target, Reason.CORRELATED)
            self.ledger.counts[f"matched_{rule.id}"] += 1


def shape_of(sequence: Sequence) -> str:
    """A sequence whose steps were edited begins anew."""
    return ",".join(f"-{step.part}" if step.negated else step.part for step in sequence.steps)


def parts_of(join: Join) -> list[str]:
    match join:
        case Correlate(sources=sources):
            return [source.part for source in sources if source.topic != TOPIC]
        case InOrder(sequence=sequence):
            return list(dict.fromkeys(step.part for step in sequence.steps))
        case AllOf(parts=parts) | NearBy(parts=parts):
            return list(parts)


def callers_of(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Correlate, Source]]:
    for rule in rules:
        for join in rule.joins:
            if isinstance(join, Correlate):
                for source in join.sources:
                    if source.topic == TOPIC:
                        yield rule, join, source


def source_of(join: Join, part: str) -> Source | str:
    """What the join calls this part."""
    if isinstance(join, Correlate):
        return next(source for source in join.sources if source.part == part)
    return part


def who(heard: Detection, distinct: str | None) -> str:
    """What tells one witness from another. Two that do not know are the same."""
    if distinct is not None:
        asked = heard.key.get(distinct, heard.attributes.get(distinct))
        return str(asked.get("token", "")) if isinstance(asked, dict) else "" if asked is None else str(asked)
    return heard.key.get("device_id") or heard.key.get("sensor_id") or key_text(heard.key)


def join_key(rule: Rule, join: Join, heard: Detection) -> str:
    """By what parts of different streams are of the same thing: the rule's `by`, else all of a part's key."""
    if isinstance(join, InOrder) and not rule.by:
        return ""
    names = [name for name in rule.by if name != "zone"]
    key = {name: heard.key.get(name, "") for name in names} if rule.by else heard.key
    return key_text({**key, "zone": heard.zone or ""} if "zone" in rule.by else key)


def opening(heard: Detection) -> Detection:
    """What it opened with, as far as a later word of it says."""
    return msgspec.structs.replace(heard, kind="raised", event_time=heard.opened_event_time)


def spot(witness: Witness) -> tuple[float, float]:
    return (NOWHERE if witness.lon is None else witness.lon), (NOWHERE if witness.lat is None else witness.lat)


def metres(a: Witness, b: Witness) -> float:
    if a.lon is None or a.lat is None or b.lon is None or b.lat is None:
        return 0.0
    return distance_m(a.lon, a.lat, b.lon, b.lat)
