"""A replay that is followed: what the Detectors decided of some keys, and what the Desk made of what they told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import msgspec

from models.detections import Detection
from models.incidents import Incident
from models.times import parse_rfc3339_us
from rules.crews import Crews
from rules.detection.detector import Detector
from rules.explaining.raised import Raised, raised
from rules.explaining.tracing import FollowedLane, Lost, Trace, Wanted, follow
from rules.explaining.whynot import Answer, Verdict, why_not
from rules.incidents.desk import DeskOutcome
from rules.language.model import Rule
from streams.city import City
from streams.publishing import Message
from streams.recording import RecordedLine
from streams.replay import Fed, Replay

Lines = Callable[[], Iterable[RecordedLine]]
"""Reads the recording from its start."""

AHEAD_MS = 10 * 60 * 1000
"""How far beyond the time asked about a recording is run: what was raised so much later is told as later."""


class Heard(NamedTuple):
    """A detection as the Desk took it: what it counted, and the revisions of incidents that came of it."""

    detection: Detection
    counts: Mapping[str, int]
    incidents: tuple[Incident, ...]


class FollowedReplay(Replay):
    """`wanted` says whose decisions are followed, on the lanes of `topics`; with none it only listens to the Desk."""

    def __init__(
        self,
        city: City,
        *,
        partitions: int,
        crews: Crews | None = None,
        wanted: Wanted | None = None,
        topics: Sequence[str] = (),
        zone: str | None = None,
    ) -> None:
        self.wanted, self.topics, self.followed_zone = wanted, topics, zone
        self.lanes: list[FollowedLane] = []
        self.heard: list[Heard] = []
        self.lives: dict[str, list[Incident]] = {}
        self._outcome = DeskOutcome()
        super().__init__(city, partitions=partitions, crews=crews)

    def new_detector(self, partition: int) -> Detector:
        detector = super().new_detector(partition)
        if self.wanted is not None:
            city = self.city
            self.lanes += follow(
                detector, self.topics, self.wanted, city.atlas, city.decoder,
                zone=self.followed_zone, accept_unregistered=city.accept_unregistered,
            )  # fmt: skip
        return detector

    def through(self, lines: Iterable[RecordedLine], *, drain_ms: int) -> None:
        """Run it for what is noted on the way."""
        for _ in self.run(lines, drain_ms=drain_ms):
            pass

    def _feed_desk(self, topic: str, records: list[Fed], *, recorded: bool = False) -> list[Message]:
        if topic != "detections":
            return super()._feed_desk(topic, records, recorded=recorded)
        messages: list[Message] = []
        for record in records:
            messages += super()._feed_desk(topic, [record], recorded=recorded)
            incidents = tuple(o.value for o in self._outcome.outputs if isinstance(o.value, Incident))
            detection = msgspec.json.decode(record.value or b"", type=Detection)
            self.heard.append(Heard(detection, self._outcome.counts, incidents))
        return messages

    def _desk(self, outcome: DeskOutcome) -> list[Message]:
        self._outcome = outcome
        for output in outcome.outputs:
            if isinstance(output.value, Incident):
                life = self.lives.setdefault(output.value.incident_id, [])
                if not life or life[-1].revision < output.value.revision:
                    life.append(output.value)
        return super()._desk(outcome)

    @property
    def traces(self) -> list[Trace]:
        return [trace for lane in self.lanes for trace in lane.traces]

    def lost_of(self, trace: Trace) -> list[Lost]:
        return [
            lost
            for lane in self.lanes
            if lane.topic == trace.rule.topic and lane.partition == trace.partition
            for lost in lane.lost
        ]


# ------------------------------------------------------------------------------------------------- why not


def answers(
    city: City, lines: Lines, *, partitions: int, rule_id: str, key: Mapping[str, str], at_us: int, drain_ms: int,
    crews: Crews | None = None,
) -> list[Answer]:  # fmt: skip
    """Of every part of a rule, on the partition that knows most of the key. LookupError: no such rule."""
    rule = rule_of(city, rule_id)
    if rule.status == "draft":
        return [nothing_ran(rule, key, at_us)]
    parts = rule.parts or (rule,)
    run = FollowedReplay(
        city, partitions=partitions, crews=crews,
        wanted=wants(rule_id, key), topics=topics_of(parts), zone=key.get("zone"),
    )  # fmt: skip
    until_ms = at_us // 1000 + AHEAD_MS
    run.through(takewhile(lambda line: line.timestamp_ms <= until_ms, lines()), drain_ms=drain_ms)
    found = []
    for part in parts:
        traces = [t for t in run.traces if (t.rule.id, t.rule.part) == (rule_id, part.part)]
        own = {name: text for name, text in key.items() if name in part.by}
        tried = [why_not(trace, own, at_us, run.lost_of(trace)) for trace in traces]
        if tried:
            best = max(tried, key=lambda answer: (answer.verdict == Verdict.RAISED, sum(answer.failed.values())))
            found.append(at_the_desk(rule, best, run.heard))
    return found or [nothing_ran(rule, key, at_us)]


def topics_of(parts: Sequence[Rule]) -> list[str]:
    return sorted({part.topic for part in parts})


def wants(rule_id: str, key: Mapping[str, str]) -> Wanted:
    def wanted(rule: Rule, its: Mapping[str, str]) -> bool:
        return rule.id == rule_id and all(its.get(name) == text for name, text in key.items() if name in its)

    return wanted


def nothing_ran(rule: Rule, key: Mapping[str, str], at_us: int) -> Answer:
    verdict = Verdict.DRAFT if rule.status == "draft" else Verdict.NO_SUCH_KEY
    return Answer(rule.id, rule.revision, "", rule.topic, -1, dict(key), at_us, at_us, verdict)


def at_the_desk(rule: Rule, answer: Answer, heard: Sequence[Heard]) -> Answer:
    """What was raised and became no incident of its own says so."""
    if answer.verdict != Verdict.RAISED:
        return answer
    mine = [h for h in heard if h.detection.detection_id in answer.detections and h.detection.kind == "raised"]
    verdict, facts = fate_of(rule, mine[-1]) if mine else (Verdict.RAISED, {})
    return msgspec.structs.replace(answer, verdict=verdict, facts=facts)


def fate_of(rule: Rule, heard: Heard) -> tuple[Verdict, dict[str, float | bool | str | None]]:
    if rule.status == "shadow" or heard.counts.get("shadow"):
        return Verdict.SHADOW, {}
    for counted, verdict in (("quieted", Verdict.QUIETED), ("suppressed", Verdict.SUPPRESSED)):
        if heard.counts.get(counted):
            return verdict, {}
    for incident in heard.incidents:
        if incident.reason == "joined" and heard.detection.detection_id in incident.detections:
            return Verdict.MERGED, {"incident": incident.incident_id}
    if not heard.incidents and heard.detection.suspected:
        return Verdict.SUSPECTED, {}
    return Verdict.RAISED, {}


def rule_of(city: City, rule_id: str) -> Rule:
    for rule in city.bundle.rules:
        if rule.id == rule_id:
            return rule
    raise LookupError(rule_id)


# ------------------------------------------------------------------------------------------------- explaining


class Explanation(msgspec.Struct, frozen=True):
    """An incident (None: none was made) with the openings it is made of and its life."""

    incident_id: str | None
    rule: str
    revision: int
    bundle: str
    raised: tuple[Raised, ...]
    life: tuple[Incident, ...]


class Asked(NamedTuple):
    """What to explain: some incidents, or all of a rule and key; nothing given: everything."""

    incidents: frozenset[str] = frozenset()
    rule: str | None = None
    key: Mapping[str, str] = {}


def explanations(city: City, lines: Lines, *, partitions: int, asked: Asked, drain_ms: int) -> list[Explanation]:
    """In order of their openings. The recording is run twice: to find what was raised, and to follow just that."""
    first = FollowedReplay(city, partitions=partitions)
    first.through(lines(), drain_ms=drain_ms)
    openings = [h.detection for h in first.heard if h.detection.kind == "raised"]
    chosen = [d for d in openings if fits(asked, d, first.lives)]
    if not chosen:
        return []
    keys = {(d.rule, d.part or "", tuple(sorted(d.key.items()))) for d in chosen}
    rules = [part for rule in city.bundle.rules for part in rule.parts or (rule,)]
    topics = sorted({r.topic for r in rules if (r.id, r.part) in {(rule, part) for rule, part, _ in keys}})
    again = FollowedReplay(
        city, partitions=partitions, topics=topics,
        wanted=lambda rule, key: (rule.id, rule.part, tuple(sorted(key.items()))) in keys,
    )  # fmt: skip
    again.through(lines(), drain_ms=drain_ms)
    known = {r.detection.detection_id: r for trace in again.traces for r in raised(trace)}
    told = [known[d.detection_id] for d in chosen if d.detection_id in known]
    return gathered(city, told, first.lives, asked)


def fits(asked: Asked, detection: Detection, lives: Mapping[str, Sequence[Incident]]) -> bool:
    if asked.incidents:
        lived = (incident for name in asked.incidents for incident in lives.get(name, ()))
        return any(detection.detection_id in incident.detections for incident in lived)
    named = {**detection.key, "zone": detection.zone}
    return asked.rule in (None, detection.rule) and all(named.get(n) == text for n, text in asked.key.items())


def gathered(
    city: City, told: Sequence[Raised], lives: Mapping[str, Sequence[Incident]], asked: Asked
) -> list[Explanation]:
    """Openings by the incident they belong to; those of none by themselves."""
    wanted = {name: life for name, life in lives.items() if not asked.incidents or name in asked.incidents}
    home = {d: i for i, life in wanted.items() for incident in life for d in incident.detections}
    groups: dict[str, list[Raised]] = {}
    for one in told:
        identity = one.detection.detection_id
        groups.setdefault(home.get(identity, identity), []).append(one)
    found = []
    for name, group in groups.items():
        life = tuple(lives.get(name, ()))
        first = group[0]
        found.append(
            Explanation(name if life else None, first.detection.rule, first.revision, city.bundle.digest,
                        tuple(group), life)
        )  # fmt: skip
    return sorted(found, key=lambda e: parse_rfc3339_us(e.raised[0].detection.opened_event_time))
