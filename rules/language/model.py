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


@dataclass(frozen=True, slots=True)
class Event:
    """`times` matching rows within `within_us` (1 and 0: a single one). It never clears by itself."""

    times: int = 1
    within_us: int = 0


Detect = Dwell | Hold | Event


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


@dataclass(frozen=True, slots=True)
class Applies:
    """Where an override holds; an absent part is no restriction."""

    zones: tuple[str, ...] | None = None
    where: Expression | None = None
    calendar: Calendar | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """What a rule's params and overrides fix. `applies` None: the base."""

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
    """The one input topic of the primitives built so far."""
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
        """The rules that are not drafts and read one of these topics."""
        return tuple(r for r in self.rules if r.status != "draft" and r.topic in topics)

    def lateness_of(self, topic: str) -> int:
        """Microseconds that a record of this topic may come behind the newest one."""
        return self.lateness_us.get(topic, round(STREAMS[topic].lateness_s * SECOND_US))
