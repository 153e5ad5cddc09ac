"""What the Desk keeps of one incident. Plain values only: as an array without names it is the incident's entry.

Nothing here refers back to what holds it, so the collector need not look (`gc=False`). Another order or another field
is another `VERSION` of the entries.
"""

from __future__ import annotations

from typing import Any

import msgspec

from models.detections import Evidence
from models.ids import content_id
from models.incidents import Condition, State

KEPT_HISTORY = 100  # entries of one incident: a busy case has 20 to 30; the first one is never dropped
KEPT_EVIDENCE = 8  # references of one incident: what a person looks at before closing; the first three stay
KEPT_PARTS = 500  # detections of one incident; beyond it the oldest that have cleared are forgotten
SHOWN_DETECTIONS = 20  # ids in a published incident, the newest: `count` has the whole number
SHOWN_TICKETS = (
    500  # the same of tickets, of 128 characters at most: 64 kB, and a whole district may call about one thing
)


FORGET = "forget"  # the timer of an ended incident


class Part(msgspec.Struct, array_like=True, gc=False):
    """One detection inside an incident. All times are event times."""

    detection_id: str
    rule: str
    zone: str | None
    key: dict[str, str]
    opened_us: int
    last_us: int
    condition: Condition
    never_clears: bool
    coverage: float
    cleared_us: int | None = None
    stages: list[str] = []
    witness: bool = False
    """Told as suspected: what it means is decided by a join."""
    unseen: bool = False
    """It counts as cleared by a time-out, while its source was silent."""
    fingerprint: str = ""
    """Of the rule, or its part, that told of it: under another one nobody watches it any more."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line of an incident's history."""

    at_us: int
    what: str
    state: State
    by: str | None = None


class Head(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """What is needed to find an incident. It stands first in the bytes, so it can be read without the rest."""

    incident_id: str
    type: str
    rule: str | None
    zone: str | None
    lon: float | None
    lat: float | None
    state: State = State.SUSPECTED
    unit_id: str | None = None
    order_seq: int = 0
    ended_us: int | None = None
    timers: dict[str, int] = {}
    """Kind of timer → when it is due. What is not here is not due, whatever the heap still holds."""
    parts: dict[str, Part] = {}

    def order_ids(self) -> list[str]:
        return [content_id("o", self.incident_id, n) for n in range(1, self.order_seq + 1)]


class Dossier(Head, array_like=True, kw_only=True, gc=False):
    severity: str
    life_safety: bool
    area: str | None
    error_m: float | None
    place_zh: str
    place_en: str
    opened_us: int
    """Event time of the detection or ticket that opened it."""
    first_us: int
    """Earliest opening event time of its parts: where the merge window starts."""
    revision: int = 0
    reason: str = ""
    changed_us: int = 0
    condition: Condition = Condition.UNKNOWN
    cleared_us: int | None = None
    coverage: float | None = None
    exercise: bool = False
    sources: list[str] = []
    tickets: list[str] = []
    callers: list[str] = []
    count: int = 0
    merged_into: str | None = None
    external_refs: list[str] = []
    evidence: list[Evidence] = []
    values: dict[str, Any] = {}
    """What the message may name: the newest values of the opening detection."""
    # dispatch
    department: str | None = None
    order_id: str | None = None
    order_reason: str = ""
    issued_us: int = 0
    accept_by_us: int | None = None
    resolve_by_us: int | None = None
    clock: str = "urgent"
    returned_by: list[str] = []
    accept_retried: bool = False
    reworks: int = 0
    # verification
    handled_us: int | None = None
    inconclusive: bool = False
    passed: bool = False
    # severity
    escalated: int = 0
    """How many of the rule's timed escalations have been taken."""
    raised_by_count: bool = False
    floor: str = ""
    """The severity without the escalations that can be taken back."""
    lifted: dict[int, int] = {}
    """Of those, by their number in the rule: since when it no longer holds; 0: it holds."""
    # clauses
    variant: str | None = None
    """Why another variant than the rule's base held when it opened."""
    suppressed: dict[str, int] = {}
    """How many raises of which rules it silences or has silenced."""
    # the rest
    history: list[Entry] = []
    history_dropped: int = 0

    def note(self, at_us: int, what: str, by: str | None = None) -> None:
        """A line in the history; of too many, the second-oldest goes."""
        self.history.append(Entry(at_us, what, self.state, by))
        if len(self.history) > KEPT_HISTORY:
            del self.history[1]
            self.history_dropped += 1

    def add_evidence(self, found: list[Evidence]) -> None:
        for piece in found:
            if piece not in self.evidence:
                self.evidence.append(piece)
                if len(self.evidence) > KEPT_EVIDENCE:
                    del self.evidence[3]

    def add_source(self, topic: str) -> bool:
        if topic in self.sources:
            return False
        self.sources.append(topic)
        return True
