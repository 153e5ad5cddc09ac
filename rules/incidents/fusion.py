"""Transitions of conditions to incidents: what opens one, what joins one, what an end of a condition means for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from geo.distance import distance_m
from models.detections import Detection, Text
from models.dispatch import Notice, RecognitionRequest
from models.ids import content_id
from models.incidents import Condition, State
from models.privacy import mask_name
from models.times import parse_rfc3339_us
from rules.incidents.dispatching import Dispatching
from rules.incidents.dossier import KEPT_PARTS, Dossier, Part
from rules.incidents.entries import Gone, Quiet, Waiting
from rules.incidents.ledger import QUIET, QUIET_END, Ledger, Output, key_text, never_clears, overall, told_by
from rules.incidents.reasons import Reason
from rules.incidents.severity import Severity, scalars
from rules.incidents.silence import Silence
from rules.incidents.states import ENDED, GRACE, Step
from rules.incidents.verification import Verification
from rules.language.model import Rule, Stage, Variant
from rules.language.zones import zone_matches

Bin = Literal["used", "duplicate", "filtered", "late"]


class Fusion:
    def __init__(self, ledger: Ledger, dispatching: Dispatching, verification: Verification) -> None:
        self.ledger, self.dispatching, self.verification = ledger, dispatching, verification
        self.severity = Severity(ledger)
        self.silence = Silence(ledger)

    # ------------------------------------------------------------------------------------------------- the four kinds

    def take(self, heard: Detection, into: Dossier | None = None) -> Bin:
        """One transition. Doubled ones are known by what the incident already holds, at any distance. `into`: the open
        incident that a first one belongs to, where a join knows."""
        ledger = self.ledger
        rule = ledger.rules.get(heard.rule)
        if rule is None or rule.status != "active":
            ledger.counts["shadow" if rule is not None else "unknown_rule"] += 1
            return "filtered"
        at_us = parse_rfc3339_us(heard.event_time)
        identity = heard.detection_id
        if identity in ledger.waiting:
            return self.wait(rule, heard)
        dossier = ledger.dossiers.change(ledger.by_detection.get(identity, ""))
        if dossier is None:
            return self.first_heard(rule, heard, at_us, into)
        return self.heard_again(rule, dossier, dossier.parts[identity], heard, at_us)

    def first_heard(self, rule: Rule, heard: Detection, at_us: int, into: Dossier | None) -> Bin:
        ledger = self.ledger
        over = f"d:{heard.detection_id}" in ledger.seen_ids
        if heard.kind == "cleared":
            if over or heard.detection_id in ledger.gone:
                return "duplicate"
            ledger.gone.keep(heard.detection_id, Gone(ledger.now_us, heard))
            return "used"
        if heard.kind not in ("raised", "stage"):
            ledger.counts["unmatched"] += 1
            return "filtered"
        if over:
            return "duplicate"
        if self.keeps_quiet(rule, heard) or self.silence.silenced(rule, heard):
            return "filtered" if never_clears(told_by(rule, heard)) else "used"
        self.admit(rule, heard, at_us, into)
        gone = ledger.gone.drop(heard.detection_id)
        if gone is not None:
            self.take(gone.heard)
        return "used"

    def admit(self, rule: Rule, heard: Detection, at_us: int, into: Dossier | None) -> None:
        """The first transition of a detection: into an open incident, or a new one."""
        part = self.part(rule, heard, at_us)
        dossier = into or self.whole(rule, heard) or self.match(rule, heard, part)
        if dossier is None:
            self.open(rule, heard, part, at_us)
        else:
            self.join(rule, dossier, heard, part, at_us)

    def heard_again(self, rule: Rule, dossier: Dossier, part: Part, heard: Detection, at_us: int) -> Bin:
        match heard.kind:
            case "raised":
                if stage_of(heard) in part.stages or heard.stage is None:
                    return "duplicate"
                return self.reached(rule, dossier, part, heard, at_us)
            case "stage":
                return self.reached(rule, dossier, part, heard, at_us)
            case "still" | "unknown":
                if part.cleared_us is not None:
                    return "filtered"
                if not newer(heard, part, at_us):
                    return "duplicate"
                self.say(rule, dossier, part, heard, at_us)
                return "used"
            case "cleared":
                if part.cleared_us is not None:
                    return "duplicate"
                part.cleared_us = at_us
                part.unseen = self.timed_out(rule, heard)
                self.say(rule, dossier, part, heard, at_us)
                return "used"

    def reached(self, rule: Rule, dossier: Dossier, part: Part, heard: Detection, at_us: int) -> Bin:
        """A further stage, each once."""
        if stage_of(heard) in part.stages:
            return "duplicate"
        part.stages.append(stage_of(heard))
        dossier.add_evidence(heard.evidence)
        if part.cleared_us is None and newer(heard, part, at_us):
            self.say(rule, dossier, part, heard, at_us)
        self.do_stage(rule, dossier, heard)
        return "used"

    def say(self, rule: Rule, dossier: Dossier, part: Part, heard: Detection, at_us: int) -> None:
        """What the transition tells of the condition, and what follows from it."""
        part.last_us = max(part.last_us, at_us)
        part.condition = told(heard, part)
        part.coverage = heard.coverage
        if dossier.state in ENDED:
            return
        if heard.kind != "cleared":
            self.refresh(dossier, part, heard)
        self.reassess(dossier)
        if part.condition == Condition.STILL:
            self.verification.seen_still(dossier, at_us)
        if heard.kind != "cleared" and dossier.state not in ENDED:
            self.severity.escalate_when(rule, dossier, heard)

    def timed_out(self, rule: Rule, heard: Detection) -> bool:
        """It ended by its rule's time-out, and its source was silent for more of its time than the rule allows."""
        close = self.variant(rule, heard).close
        if close.timeout_us is None or heard.coverage >= close.min_coverage:
            return False
        return parse_rfc3339_us(heard.event_time) - parse_rfc3339_us(heard.opened_event_time) >= close.timeout_us

    def reassess(self, dossier: Dossier) -> None:
        """The condition of the whole from that of its parts; a change has its consequences at once."""
        before = dossier.condition
        dossier.condition = overall(dossier)
        dossier.coverage = min((part.coverage for part in dossier.parts.values()), default=None)
        dossier.cleared_us = None
        if dossier.condition == Condition.CLEARED:
            dossier.cleared_us = max(part.cleared_us or 0 for part in dossier.parts.values())
        if dossier.condition != before:
            self.verification.conditions_changed(dossier, before)

    # ------------------------------------------------------------------------------------------------- opening

    def open(self, rule: Rule, heard: Detection, part: Part, at_us: int) -> None:
        ledger = self.ledger
        place = self.place_text(heard)
        dossier = Dossier(
            incident_id=content_id("i", heard.detection_id),
            type=heard.type,
            severity=heard.severity,
            life_safety=rule.life_safety,
            rule=rule.id,
            zone=heard.zone,
            area=heard.area,
            lon=heard.lon,
            lat=heard.lat,
            error_m=heard.error_m,
            place_zh=place.zh,
            place_en=place.en,
            opened_us=at_us,
            first_us=part.opened_us,
            condition=part.condition,
            count=1,
            coverage=part.coverage,
            sources=list(heard.sources),
            floor=heard.severity,
            variant=self.variant(rule, heard).reason,
        )
        dossier.parts[part.detection_id] = part
        dossier.add_evidence(heard.evidence)
        self.refresh(dossier, part, heard)
        ledger.dossiers.add(dossier)
        ledger.by_detection[part.detection_id] = dossier.incident_id
        ledger.index(dossier)
        self.severity.time_escalations(rule, dossier)
        self.verification.time_out(rule, dossier)
        if heard.suspected or (told_by(rule, heard).base.stages and heard.stage is None):
            ledger.revise(dossier, Reason.DETECTED)
        else:
            self.do_stage(rule, dossier, heard)
        self.severity.escalate_when(rule, dossier, heard)

    def part(self, rule: Rule, heard: Detection, at_us: int) -> Part:
        teller = told_by(rule, heard)
        forever = never_clears(teller)
        return Part(
            detection_id=heard.detection_id,
            rule=rule.id,
            zone=heard.zone,
            key=dict(heard.key),
            opened_us=parse_rfc3339_us(heard.opened_event_time),
            last_us=at_us,
            condition=Condition.UNKNOWN if forever else Condition.STILL,
            never_clears=forever,
            coverage=heard.coverage,
            stages=[stage_of(heard)],
            witness=heard.suspected,
            fingerprint=teller.fingerprint,
        )

    def refresh(self, dossier: Dossier, part: Part, heard: Detection) -> None:
        """The opening detection's newest values, for the message."""
        if next(iter(dossier.parts)) != part.detection_id:
            return
        zone = heard.zone and self.ledger.places.zone_name(heard.zone)
        named = {
            **heard.key,
            "value": heard.value,
            "unit": heard.unit,
            "held": heard.held_s,
            "coverage": heard.coverage,
            "area": heard.area,
            **heard.attributes,
            "zone.name": both(zone, heard.zone),
            "zone.id": heard.zone,
        }
        segment = heard.key.get("segment_id")
        if segment is not None:
            named["segment.name"] = both(self.ledger.places.segment_name(segment), segment)
        device = heard.key.get("device_id") or heard.key.get("sensor_id")
        person = None if device is None else self.ledger.places.device_owner(device)
        if person is not None:
            named["device.owner"] = {"mask": mask_name(person)}
        dossier.values = named

    def place_text(self, heard: Detection) -> Text:
        places = self.ledger.places
        if heard.zone is not None and (name := places.zone_name(heard.zone)) is not None:
            return name
        segment = heard.key.get("segment_id")
        if segment is not None and (name := places.segment_name(segment)) is not None:
            return name
        if heard.zone is not None:
            return Text(heard.zone, heard.zone)
        if heard.lon is not None and heard.lat is not None:
            point = f"{heard.lon:.5f}, {heard.lat:.5f}"
            return places.around(heard.lon, heard.lat) or Text(point, point)
        key = " ".join(heard.key[name] for name in sorted(heard.key)) or heard.area
        return Text(key, key)

    # ------------------------------------------------------------------------------------------------- joining

    def match(self, rule: Rule, heard: Detection, part: Part) -> Dossier | None:
        """The open incident this raise belongs to: nearest first, then the oldest."""
        best: tuple[float, int, str] | None = None
        for distance, dossier in self.candidates(rule, heard):
            if self.fits(rule, dossier, part):
                score = (distance, dossier.first_us, dossier.incident_id)
                if best is None or score < best:
                    best = score
        return None if best is None else self.ledger.to_change(best[2])

    def candidates(self, rule: Rule, heard: Detection) -> Iterator[tuple[float, Dossier]]:
        """(metres, open incident) of the rule as near as its `merge` says, or of the type while only citizens told."""
        ledger = self.ledger
        for other in self.downstream(rule, heard):
            key = key_text({**heard.key, "segment_id": other})
            for dossier in ledger.open_named(f"rule:{rule.id}", f"key:{key}"):
                yield 0.0, dossier
        kind = ledger.tables.type_of(heard.type)
        type_radius_m = kind.radius_m if kind is not None else 0.0
        merge = rule.merge
        radius_m = type_radius_m if merge is None else merge.radius_m
        group = f"rule:{rule.id}"
        if merge is not None and radius_m is None:
            name = f"zone:{heard.zone}" if merge.same_zone and heard.zone else f"key:{key_text(heard.key)}"
            for dossier in ledger.open_named(group, name):
                yield 0.0, dossier
        elif heard.lon is not None and heard.lat is not None:
            assert radius_m is not None
            for dossier in ledger.open_near(group, heard.lon, heard.lat, radius_m):
                assert dossier.lon is not None
                assert dossier.lat is not None
                metres = distance_m(heard.lon, heard.lat, dossier.lon, dossier.lat)
                if metres <= radius_m and not (merge is not None and merge.same_zone and dossier.zone != heard.zone):
                    yield metres, dossier
        else:
            for dossier in ledger.open_named(group, f"key:{key_text(heard.key)}"):
                if dossier.zone == heard.zone:
                    yield 0.0, dossier
        if heard.lon is not None and heard.lat is not None:
            for dossier in ledger.open_near(f"told:{heard.type}", heard.lon, heard.lat, type_radius_m):
                if dossier.lon is not None and dossier.lat is not None:
                    metres = distance_m(heard.lon, heard.lat, dossier.lon, dossier.lat)
                    if metres <= type_radius_m + (dossier.error_m or 0.0):
                        yield metres, dossier

    def whole(self, rule: Rule, heard: Detection) -> Dossier | None:
        """The open incident of the whole that its device belongs to, e.g. of its gateway, whenever that began."""
        ledger = self.ledger
        group = ledger.group_of(rule.id, heard.key)
        if group is None:
            return None
        name = f"key:{key_text({ledger.groups[rule.id]: group})}"
        found = [d for d in ledger.open_named(f"rule:{rule.id}", name) if d.condition != Condition.CLEARED]
        return ledger.to_change(min(found, key=lambda d: (d.first_us, d.incident_id)).incident_id) if found else None

    def downstream(self, rule: Rule, heard: Detection) -> Iterator[str]:
        """The segments its traffic goes to, as many on as the rule says, the nearest first."""
        segment = heard.key.get("segment_id")
        newest = [] if segment is None else [segment]
        known = set(newest)
        for _ in range(rule.upstream_segments):
            following = dict.fromkeys(s for one in newest for s in self.ledger.places.downstream(one))
            newest = [s for s in following if s not in known]
            known.update(newest)
            yield from newest

    def fits(self, rule: Rule, dossier: Dossier, part: Part) -> bool:
        """Within the window of its first opening, and opened before the incident's condition had cleared."""
        kind = self.ledger.tables.type_of(dossier.type)
        window_us = rule.merge.window_us if rule.merge is not None else kind.window_us if kind is not None else 0
        if abs(part.opened_us - dossier.first_us) > window_us:
            return False
        return dossier.cleared_us is None or part.opened_us <= dossier.cleared_us + rule.cooldown_us

    def join(self, rule: Rule, dossier: Dossier, heard: Detection, part: Part, at_us: int) -> None:
        ledger = self.ledger
        adopted = dossier.rule is None
        ledger.unindex(dossier)
        if adopted:
            dossier.rule = rule.id
            dossier.zone = dossier.zone or heard.zone
            dossier.area = dossier.area or heard.area
            dossier.life_safety = dossier.life_safety or rule.life_safety
        dossier.parts[part.detection_id] = part
        self.bound_parts(dossier)
        ledger.index(dossier)
        ledger.by_detection[part.detection_id] = dossier.incident_id
        if adopted:
            self.severity.time_escalations(rule, dossier)
            self.refresh(dossier, part, heard)
        dossier.first_us = min(dossier.first_us, part.opened_us)
        dossier.add_evidence(heard.evidence)
        self.severity.raise_to(dossier, heard.severity)
        known = len(dossier.sources)
        for topic in heard.sources:
            dossier.add_source(topic)
        another = len(dossier.sources) > known
        self.severity.count_up(dossier)
        before = dossier.condition
        dossier.condition = overall(dossier)
        dossier.coverage = min(p.coverage for p in dossier.parts.values())
        if before == Condition.CLEARED:
            dossier.cleared_us, dossier.passed = None, False
            dossier.timers.pop("clear", None)
        ledger.revise(dossier, Reason.JOINED)
        if another and dossier.state == State.SUSPECTED and not (heard.suspected and rule.joins):
            self.dispatching.confirm(dossier, Reason.CORRELATED)
        elif not heard.suspected and not (told_by(rule, heard).base.stages and heard.stage is None):
            self.do_stage(rule, dossier, heard)
        self.verification.seen_still(dossier, part.opened_us if part.never_clears else at_us)
        self.severity.escalate_when(rule, dossier, heard)

    def bound_parts(self, dossier: Dossier) -> None:
        if len(dossier.parts) <= KEPT_PARTS:
            return
        first = next(iter(dossier.parts))
        for identity, part in dossier.parts.items():
            if identity != first and (part.condition == Condition.CLEARED or part.never_clears):
                del dossier.parts[identity]
                self.ledger.by_detection.pop(identity, None)
                self.ledger.counts["parts_forgotten"] += 1
                return

    # ------------------------------------------------------------------------------------------------- stages

    def do_stage(self, rule: Rule, dossier: Dossier, heard: Detection) -> None:
        if dossier.state in ENDED:
            return
        do = heard.stage if told_by(rule, heard).base.stages else "open_case"
        match do:
            case "remind_owner":
                if dossier.state == State.SUSPECTED:
                    self.ledger.step(dossier, Step.NOTIFY, Reason.OWNER_REMINDED)
                self.remind(rule, dossier, heard)
            case "second_look":
                if dossier.revision == 0 or dossier.state in GRACE:
                    self.ledger.revise(dossier, Reason.SECOND_LOOK)
                self.look_again(dossier, heard)
            case _:
                if dossier.state in GRACE:
                    self.dispatching.confirm(dossier, Reason.CASE_OPENED)

    def remind(self, rule: Rule, dossier: Dossier, heard: Detection) -> None:
        ledger = self.ledger
        case = next((s for s in self.stages(rule, heard) if s.do == "open_case"), None)
        began_us = parse_rfc3339_us(heard.event_time) - round(heard.held_s * 1e6)
        message = ledger.message(dossier)
        identity = content_id("n", dossier.incident_id, heard.detection_id)
        notice = Notice(
            notice_id=identity,
            incident_id=dossier.incident_id,
            to=owner(heard.attributes),
            channel="owner",
            text=Text(f"{message.zh}，请尽快自行整改。", f"{message.en}. Please put it right soon."),
            grace_until=None if case is None else ledger.time(began_us + case.at_us),
            at=ledger.time(ledger.now_us),
        )
        ledger.outputs.append(Output("notices", dossier.incident_id, notice, identity))

    def look_again(self, dossier: Dossier, heard: Detection) -> None:
        ledger = self.ledger
        identity = content_id("q", dossier.incident_id, heard.detection_id)
        request = RecognitionRequest(
            request_id=identity,
            incident_id=dossier.incident_id,
            sensor_id=heard.key.get("sensor_id"),
            lon=heard.lon,
            lat=heard.lat,
            not_before=heard.event_time,
            want="second_look",
            at=ledger.time(ledger.now_us),
        )
        ledger.outputs.append(Output("recognition.requests", dossier.incident_id, request, identity))

    def stages(self, rule: Rule, heard: Detection) -> tuple[Stage, ...]:
        """Of the variant that held: a detection does not name it, so it is found as the Detector found it."""
        return self.variant(rule, heard).stages

    def variant(self, rule: Rule, heard: Detection) -> Variant:
        rule = told_by(rule, heard)
        opened_us = parse_rfc3339_us(heard.opened_event_time)
        for variant in rule.variants[:-1]:
            applies = variant.applies
            if applies is None:
                return variant
            if applies.zones is not None and not any(zone_matches(z, heard.zone or "") for z in applies.zones):
                continue
            if applies.calendar is not None and not applies.calendar.covers(opened_us):
                continue
            if applies.where is not None and applies.where.value(scalars(heard)) is not True:
                continue
            return variant
        return rule.base

    # ------------------------------------------------------------------------------------------------- quiet time

    def keeps_quiet(self, rule: Rule, heard: Detection) -> bool:
        """In the rule's quiet time a raise waits; an event, which has no end to wait for, is counted and dropped."""
        if not rule.cooldown_us or rule.life_safety or rule.dispatch.never_suppress:
            return False
        ledger = self.ledger
        quiet = ledger.quiet.look(quiet_key(rule.id, heard.zone, heard.key))
        if quiet is None or max(ledger.now_us, parse_rfc3339_us(heard.opened_event_time)) >= quiet.until_us:
            return False
        ledger.counts["quieted"] += 1
        if never_clears(told_by(rule, heard)):
            ledger.remember(f"d:{heard.detection_id}")
        else:
            ledger.waiting.keep(heard.detection_id, Waiting(quiet.until_us, [heard]))
            ledger.set_alarm(QUIET, heard.detection_id, quiet.until_us)
        return True

    def wait(self, rule: Rule, heard: Detection) -> Bin:
        shelf = self.ledger.waiting
        if heard.kind == "cleared":
            shelf.drop(heard.detection_id)
            self.ledger.remember(f"d:{heard.detection_id}")
            return "used"
        if heard.kind == "stage":
            waiting = shelf.look(heard.detection_id)
            if waiting is None or any(h.kind == "stage" and h.stage == heard.stage for h in waiting.heard):
                return "duplicate"
            shelf.keep(heard.detection_id, Waiting(waiting.due_us, [*waiting.heard, heard], waiting.by))
            return "used"
        return "duplicate" if heard.kind == "raised" else "used"

    def quiet_over(self, detection_id: str) -> list[Detection]:
        """The quiet time is over and it is still there: what is to be taken now."""
        waiting = self.ledger.waiting.drop(detection_id)
        return [] if waiting is None else waiting.heard

    def ended(self, dossier: Dossier) -> None:
        """The incident has ended: its rule keeps quiet about the same things for a while."""
        rule = self.ledger.rule_of(dossier)
        if rule is None or not rule.cooldown_us or dossier.state == State.MERGED:
            return
        until_us = (dossier.cleared_us or self.ledger.now_us) + rule.cooldown_us
        for part in dossier.parts.values():
            key = quiet_key(part.rule, part.zone, part.key)
            known = self.ledger.quiet.look(key)
            if until_us > self.ledger.now_us and (known is None or until_us > known.until_us):
                self.ledger.quiet.keep(key, Quiet(until_us))
                self.ledger.set_alarm(QUIET_END, key, until_us)


def told(heard: Detection, part: Part) -> Condition:
    match heard.kind:
        case "cleared":
            return Condition.CLEARED
        case "unknown":
            return Condition.UNKNOWN
        case _:
            return Condition.UNKNOWN if part.never_clears else Condition.STILL


def newer(heard: Detection, part: Part, at_us: int) -> bool:
    """Whether it tells more than is known; of the same moment, loss of data outweighs a sighting."""
    if at_us == part.last_us:
        return heard.kind == "unknown" and part.condition == Condition.STILL
    return at_us > part.last_us


def stage_of(heard: Detection) -> str:
    return heard.stage or ""


def owner(attributes: Mapping[str, Any]) -> dict[str, str] | None:
    plate = attributes.get("plate")
    if not isinstance(plate, Mapping) or "token" not in plate:
        return None
    return {"token": str(plate["token"]), "mask": str(plate.get("mask", ""))}


def both(name: Text | str | None, otherwise: str | None) -> dict[str, str | None]:
    if isinstance(name, Text):
        return {"zh": name.zh, "en": name.en}
    return {"zh": otherwise, "en": otherwise}


def quiet_key(rule_id: str, zone: str | None, key: Mapping[str, str]) -> str:
    return content_id("q", rule_id, zone, key_text(dict(key)))
