"""A checked rule, ready to run. The loader makes it; the Detector and the Desk read it and change nothing.

Durations are microseconds, lengths metres. What an override changes is already worked in: a rule carries its base
variant and one variant for each override, in order; the first whose `applies` holds wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from models.columns import I64, Batch, Mask, Scalar
from models.detections import Text
from models.problems import Place
from models.streams import STREAMS
from models.times import SECOND_US


class Expression(Protocol):
    """A typed, checked expression over a stream's fields. Null is unknown: it makes nothing true."""

    @property
    def text(self) -> str: ...
    @property
    def fields(self) -> frozenset[str]: ...
    def mask(self, batch: Batch) -> Mask:
        """For each row, whether it is true (false and null are not)."""

    def value(self, record: Mapping[str, Scalar]) -> Scalar:
        """The value for one record given as a mapping of field to value; absent means null."""


class Calendar(Protocol):
    """When a rule or an override applies."""

    @property
    def name(self) -> str: ...
    def covers(self, time_us: int) -> bool: ...
    def mask(self, time_us: I64) -> Mask: ...


@dataclass(frozen=True, slots=True)
class ZoneSelector:
    """Globs over `kind/id`. `edge_buffer_m`: leaving counts only beyond that distance outside the zone."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    edge_buffer_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Dwell:
    """A key stands for `for_us`: matching rows at most `max_gap_us` apart, within `max_move_m` of the first, at least
    `min_points` of them."""

    for_us: int
    max_move_m: float
    max_gap_us: int
    min_points: int


@dataclass(frozen=True, slots=True)
class Hold:
    """`value` fulfils `open_when` for `for_us`; it ends only when `close_when` has held for `close_for_us`.

    Between the two levels nothing changes. `value_field` is the stream's field; both expressions see it as `value`.
    """

    value_field: str
    open_when: Expression
    close_when: Expression
    for_us: int
    close_for_us: int
    over: Aggregate | None = None
    """Where `value` is made of a window of rows; None: the value is each row's own."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What a window of rows of one key says, of the last `window_us`, anew every `slide_us`; nothing from fewer than
    `min_samples`; an empty window is no zero. Its field is the hold's `value_field` ("count" asks for none). `rate` is
    the change a second from the oldest to the newest row."""

    fn: Literal["mean", "median", "p85", "p95", "min", "max", "sum", "rate", "count"]
    window_us: int
    slide_us: int
    min_samples: int = 1


@dataclass(frozen=True, slots=True)
class Event:
    """`times` matching rows within `within_us` (1 and 0: a single one, each for itself; 1 and more: one that goes on
    while matches are at most that apart). It never clears by itself."""

    times: int = 1
    within_us: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A key goes into, out of, or through a zone, or comes to fulfil `where`; it counts once the new side has held for
    `settle_us`. The first sight of a key inside is no entering."""

    change: Literal["enter", "exit", "cross"]
    settle_us: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """`at_least` different values of `distinct` (no field: rows) in the last `window_us`, looked at every `slide_us`,
    each seen over at least `each_present_us`. `value` of its detections is the count."""

    distinct: tuple[str, ...]
    window_us: int
    slide_us: int
    at_least: int
    each_present_us: int = 0


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing matched for `for_us` after something did; with `listed`, also what the registry lists and was never seen.

    `expect_every_us` is how often it should come. `suspect`: told as suspected. `parent`: the property of the registry
    whose whole falls silent as one, e.g. gateway."""

    for_us: int
    expect_every_us: int | None = None
    suspect: bool = False
    parent: str | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """The number `field` of a key changes by `at_least` (of its unit; `relative`: of its own size) over `over_us`."""

    field: str
    over_us: int
    at_least: float
    relative: bool = False
    direction: Literal["up", "down", "either"] = "up"


@dataclass(frozen=True, slots=True)
class Near:
    """One that fulfils the rule's `where` and another that fulfils `of` within `within_m` of each other for `for_us`,
    gaps at most `max_gap_us`. A pair is one condition, whichever is named first."""

    of: Expression
    within_m: float
    for_us: int
    max_gap_us: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sequence. `negated`: it must not come before the next one (or, the last, before the end);
    `for_us`: it must have held so long, seen again at most `max_gap_us` apart. `part` names the rule part that tells of
    it where the sequence is decided at the Desk."""

    name: str
    where: Expression
    negated: bool = False
    for_us: int = 0
    part: str = ""


@dataclass(frozen=True, slots=True)
class InSequence:
    """Steps in order, all within `within_us` of the first and `near_m` of it (None: anywhere). One open match a key:
    the first start wins, then it begins anew."""

    steps: tuple[Step, ...]
    within_us: int
    near_m: float | None = None
    max_gap_us: int = 30 * SECOND_US


Detect = Dwell | Hold | Event | Transition | Count | Absent | Change | Near | InSequence


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a correlation. `part` names the rule part whose detections it is; with topic hotline.tickets the
    Desk itself looks at the calls with `where`. `distinct`: the field that tells one witness from another."""

    name: str
    part: str
    topic: str
    where: Expression
    reliability: float | None = None
    distinct: str | None = None


@dataclass(frozen=True, slots=True)
class Correlate:
    """`need` witnesses of the sources within `radius_m` (widened by what each does not know of its place) and
    `within_us`; at least one of `require_any` if it names any; with `confidence`, until 1 - Π(1 - reliability) is at
    least that."""

    name: str
    radius_m: float
    within_us: int
    need: int
    sources: tuple[Source, ...]
    require_any: tuple[str, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions of all these parts at the same time (or within `within_us`), of the same key, or within `radius_m`."""

    name: str
    parts: tuple[str, ...]
    within_us: int
    radius_m: float | None


@dataclass(frozen=True, slots=True)
class InOrder:
    """A sequence whose steps are of several streams: each step's `part` tells of it."""

    name: str
    sequence: InSequence


@dataclass(frozen=True, slots=True)
class NearBy:
    """Two conditions of different streams within `within_m` of each other for `for_us`."""

    name: str
    parts: tuple[str, str]
    within_m: float
    for_us: int


Join = Correlate | AllOf | InOrder | NearBy
"""What the Desk puts together from detections of parts, which the Detectors tell as suspected."""


@dataclass(frozen=True, slots=True)
class Box:
    """Other objects of the same frame that fulfil `where`, in a box along the heading of the one that stands.

    `none`: no such object is in the box; `some`: at least one is. It must be so at `at_least` (a share) of the dwell's
    observations. The box reaches `ahead_m` and `behind_m` metres (0.0: not given) and `abeam_m` to each side; where no
    heading is known it is all around.
    """

    kind: Literal["none", "some"]
    where: Expression
    ahead_m: float
    behind_m: float
    abeam_m: float
    at_least: float


@dataclass(frozen=True, slots=True)
class InView:
    """The ground up to `ahead_m` metres ahead is in the camera's view, as far as it has learned, at `at_least` (a
    share) of the dwell's observations."""

    ahead_m: float
    at_least: float


@dataclass(frozen=True, slots=True)
class UsualStop:
    """Where others keep stopping at the head of a queue and going on, the dwell must last `wait_us`."""

    wait_us: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Conditions on what stands around the one that stands, and on what its camera has learned of the place."""

    boxes: tuple[Box, ...]
    in_view: InView | None
    usual_stop: UsualStop | None


@dataclass(frozen=True, slots=True)
class Stage:
    """`at_us` after the condition began; what the Desk does then."""

    at_us: int
    do: Literal["remind_owner", "second_look", "open_case"]


WATCHED_ENOUGH = 0.8
"""The share of an absence that its source must have watched, where a rule states none: no data is no absence."""


@dataclass(frozen=True, slots=True)
class Close:
    """When the streams count as saying it is gone."""

    absent_for_us: int | None = None
    min_coverage: float = WATCHED_ENOUGH
    timeout_us: int | None = None
    when: Expression | None = None
    """Of the rule's own stream; of a correlation it speaks of `source.field`, and is that part's hold."""
    for_us: int = 0
    """How long `when` or `below` must have held."""
    below: float | None = None
    """Of a count: it ends when it has been below this."""


@dataclass(frozen=True, slots=True)
class Applies:
    """Where an override holds; an absent part is no restriction."""

    zones: tuple[str, ...] | None = None
    where: Expression | None = None
    calendar: Calendar | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """What a rule's params and overrides fix. `applies` None: the base. `detect` of a rule with parts is a plain Event:
    the parts have their own."""

    applies: Applies | None
    reason: str | None
    severity: str
    detect: Detect
    stages: tuple[Stage, ...]
    close: Close


@dataclass(frozen=True, slots=True)
class Exemption:
    where: Expression
    reason: str
    until_us: int | None
    """None: never ends."""


@dataclass(frozen=True, slots=True)
class Merge:
    """A further raise of the same rule belongs to an open incident of it when it is as near as this."""

    same_zone: bool
    radius_m: float | None
    window_us: int


@dataclass(frozen=True, slots=True)
class Escalation:
    """After so long open, or when `when` holds for the newest detection's fields, the severity becomes this."""

    severity: str
    after_us: int | None = None
    when: Expression | None = None
    down_after_us: int | None = None
    """Of `when`: once it has not held for so long, the severity goes back; None: it stays."""


@dataclass(frozen=True, slots=True)
class Flap:
    """A condition that was raised `max_changes` times within `within_us` is held open until it has been quiet that
    long."""

    max_changes: int
    within_us: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """While an incident of `rule` is open that agrees in all of `equal` (zone, area, or fields of the key), this rule
    raises none: counted and named, never life-safety."""

    rule: str
    equal: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvidenceClause:
    """What pictures go with an incident: at most `frames` over `span_us`, `mask`ed, kept for `retain_us`."""

    frames: int
    span_us: int
    mask: tuple[Literal["face", "plate"], ...]
    retain_us: int | None


@dataclass(frozen=True, slots=True)
class DispatchClause:
    department: str | None = None
    plan: str | None = None
    accept_within_us: int | None = None
    resolve_within_us: int | None = None
    never_suppress: bool = False
    clear_for_us: int | None = None
    """Verification: the condition must stay cleared this long."""
    otherwise: Literal["person"] = "person"


@dataclass(frozen=True, slots=True)
class Message:
    """`parts` alternate between literal text and (path, filters) of a `{path|filter}` place-holder."""

    zh: tuple[str | tuple[str, tuple[str, ...]], ...]
    en: tuple[str | tuple[str, tuple[str, ...]], ...]
    fields: frozenset[str]
    """First names of all place-holder paths, e.g. plate, zone, held."""


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    revision: int
    name: Text
    owner: str
    status: Literal["draft", "shadow", "active"]
    type: str
    severity: str
    life_safety: bool
    topic: str
    """Its one input topic; "" of a rule with parts."""
    where: Expression | None
    zones: ZoneSelector | None
    by: tuple[str, ...]
    """Fields and/or the word `zone`."""
    neighbours: Neighbours | None
    """Of a dwell on camera.tracks alone."""
    active: Calendar | None
    variants: tuple[Variant, ...]
    """The overrides in order, then the base last."""
    no_data: Literal["unknown", "hold", "close"]
    exempt: tuple[Exemption, ...]
    merge: Merge | None
    escalate: tuple[Escalation, ...]
    dispatch: DispatchClause
    message: Message
    cooldown_us: int
    fingerprint: str
    """Hash of the clauses that shape state: topic, where, zone selection, by, kind of primitive, value field,
    kinds of neighbours. Not of thresholds, durations, texts, severities, dispatch, overrides, exemptions."""
    place: Place
    flap: Flap | None = None
    suppressed_by: tuple[Suppression, ...] = ()
    evidence: EvidenceClause | None = None
    upstream_segments: int = 0
    """merge.upstream_segments."""
    part: str = ""
    """Of a part: its name within its rule, e.g. "gauge", "1.hold"."""
    suspects: bool = False
    """Of a part: its detections are suspected, and a join or the Desk makes something of them."""
    parts: tuple[Rule, ...] = ()
    """Of any_of, all_of, correlate and what spans streams: what the Detectors watch, each as a rule of one stream with
    this rule's id. Empty: the rule is its own only part."""
    joins: tuple[Join, ...] = ()

    @property
    def base(self) -> Variant:
        return self.variants[-1]


@dataclass(frozen=True, slots=True)
class Bundle:
    """All rules loaded together and what they share."""

    rules: tuple[Rule, ...]
    lateness_us: Mapping[str, int]
    """By topic, where a rule file sets it; else the stream's default."""
    digest: str
    """blake2b of the files' bytes, in order of their names."""

    def of(self, topics: Sequence[str]) -> tuple[Rule, ...]:
        """What is watched on one of these topics: the rules that are not drafts, or their parts."""
        watched = (part for rule in self.rules if rule.status != "draft" for part in rule.parts or (rule,))
        return tuple(part for part in watched if part.topic in topics)

    def lateness_of(self, topic: str) -> int:
        """Microseconds that a record of this topic may come behind the newest one."""
        return self.lateness_us.get(topic, round(STREAMS[topic].lateness_s * SECOND_US))
