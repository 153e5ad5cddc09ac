"""The second door of the core. One Desk a command centre: transitions, tickets, positions, feedback and commands in,
everything that should be published out.

Pure: no I/O, no clock, no randomness. Its time is the greatest time seen, of an input or of `advance`; what falls due
is done before the input that moved it. Feeding one by one equals feeding in batches; every input twice equals once;
running through equals stop, `snapshot`, `restore`, go on. Between topics no order is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from geo.atlas import Atlas
from models.columns import RawRecord
from models.detections import Detection
from models.dispatch import Command, Feedback
from models.observations import DecodeFailure
from models.times import MINUTE_US
from rules.incidents.commanding import Commanding
from rules.incidents.dispatching import ACCEPT, RESOLVE, Dispatching
from rules.incidents.dossier import FORGET
from rules.incidents.entries import Spot, StateMismatch, rest_of
from rules.incidents.feedback import FeedbackDesk
from rules.incidents.fusion import Bin, Fusion
from rules.incidents.inputs import Decoder, Input, Position, Tick, Ticket, read
from rules.incidents.joins import UNCONFIRMED, Joins
from rules.incidents.ledger import EARLY_KEPT, INHERITED, QUIET, REACHED, WITNESS, Ledger, Output
from rules.incidents.merging import Merging
from rules.incidents.places import Crew, OnAtlas, Places, Sites, Unit
from rules.incidents.reasons import Reason
from rules.incidents.severity import EASE, ESCALATE
from rules.incidents.tickets import Tickets
from rules.incidents.verification import CLEAR, SETTLE, TIMEOUT, Verification
from rules.language.model import Bundle
from rules.tables import Tables

__all__ = [
    "Crew", "Desk", "DeskOutcome", "Output", "Places", "Reason", "Sites", "StateMismatch", "Tables", "Unit",
]  # fmt: skip

MOST_EARLY = 2 * EARLY_KEPT
BINS = ("used", "duplicate", "filtered", "late", "dead")


@dataclass(slots=True)
class DeskOutcome:
    """What a call made. Every record is in one bin of `counts`: used, duplicate, filtered, late or dead; the other
    counters (conflict, refused, unassigned, quieted, to_grid_worker, forgotten, …) say more of the same records."""

    outputs: list[Output] = field(default_factory=list)
    failures: list[DecodeFailure] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Desk:
    """`places`: the city's atlas, or anything that answers the same questions. `zone` is the operator's time zone."""

    def __init__(
        self,
        bundle: Bundle,
        tables: Tables,
        places: Atlas | Places,
        *,
        zone: tzinfo,
        decoder: Decoder,
    ) -> None:
        self._decoder = decoder
        self._places = OnAtlas(places) if isinstance(places, Atlas) else places
        self._ledger = Ledger(bundle, tables, self._places, zone)
        self._dispatching = Dispatching(self._ledger)
        self._verification = Verification(self._ledger, self._dispatching)
        self._fusion = Fusion(self._ledger, self._dispatching, self._verification)
        self._tickets = Tickets(self._ledger, self._dispatching, self._fusion)
        self._feedback = FeedbackDesk(self._ledger, self._dispatching, self._verification)
        merging = Merging(self._ledger, self._dispatching, self._fusion)
        self._joins = Joins(self._ledger, self._dispatching, self._fusion, self._tickets, merging)
        self._commanding = Commanding(self._ledger, self._dispatching, self._verification, self._fusion, merging)
        self._timers = {
            ACCEPT: self._dispatching.accept_due,
            RESOLVE: self._dispatching.resolve_due,
            CLEAR: self._verification.clear_due,
            SETTLE: self._verification.settle_due,
            TIMEOUT: self._verification.timeout_due,
            INHERITED: self._verification.inherited_due,
            UNCONFIRMED: self._joins.unconfirmed_due,
            ESCALATE: self._fusion.severity.escalate_due,
            EASE: self._fusion.severity.ease_due,
            FORGET: self._ledger.forget,
        }

        self._alarms = {
            QUIET: lambda identity: self._take_all(self._fusion.quiet_over(identity)),
            WITNESS: self._joins.witness_due,
            REACHED: self._joins.reached_due,
        }

    @property
    def now_us(self) -> int:
        """The Desk's time: it never goes back."""
        return self._ledger.now_us

    @property
    def open_incidents(self) -> int:
        return self._ledger.dossiers.open

    @property
    def early(self) -> int:
        """Answers to orders it has not seen yet, and ends of detections: `MOST_EARLY` at most, the oldest go."""
        return len(self._ledger.early) + len(self._ledger.gone)

    def feed(self, topic: str, records: Sequence[RawRecord]) -> DeskOutcome:
        """Take records of one topic in log order; clock records (null value, `zhinao_tick`) only move the time.

        LookupError for a topic that is not the Desk's.
        """
        failures: list[DecodeFailure] = []
        for number, time_us, found in read(self._decoder, self._places, topic, records):
            if isinstance(found, DecodeFailure):
                failures.append(found)
                self._ledger.counts["dead"] += 1
                continue
            answered = isinstance(found, Feedback | Command)  # by a phone whose clock may be ahead of its arrival
            self._move(min(time_us, records[number].timestamp * 1000) if answered else time_us)
            if not isinstance(found, Tick):
                self._ledger.counts[self._take(found, time_us)] += 1
                self._settle()
                self._move(self._ledger.now_us)  # a late input may set what is due already
        return self._outcome(failures)

    def advance(self, to_us: int) -> DeskOutcome:
        """The clock says `to_us`: do what has fallen due, each at its own time."""
        self._move(to_us)
        return self._outcome([])

    def next_us(self) -> int | None:
        """Before this time `advance` does nothing unless records come; None: it never does."""
        return self._ledger.heap[0][0] if self._ledger.heap else None

    def snapshot(self) -> dict[str, bytes]:
        """Everything the Desk remembers, as entries (`rules.incidents.entries`). What `changes` gives next is as if
        this had not been called."""
        return self._ledger.snapshot()

    def changes(self) -> dict[str, bytes | None]:
        """What to store so that a table that holds what this call gave before, or `restore` was given, holds the
        entries of now; None: delete. A new Desk's first call gives everything.

        What is given counts as stored: the caller stores it whole or ends. It costs some 10 microseconds for each
        incident touched since, however many are open; who wants a bound asks again before so many were touched.
        """
        return self._ledger.changes()

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Go on from the entries of a table, in any order; none: from nothing. StateMismatch, and nothing has changed,
        for those of another version."""
        self._ledger.restore(entries, rest_of(entries))

    # ------------------------------------------------------------------------------------------------- one input

    def _take(self, found: Input, time_us: int) -> Bin:
        match found:
            case Detection():
                return self._joins.take(found)
            case Ticket():
                return self._joins.call(found)
            case Feedback():
                return self._feedback.take(found, time_us)
            case Command():
                return self._commanding.take(found, time_us)
            case Position():
                return self._position(found)
            case _:
                raise TypeError(type(found).__name__)

    def _take_all(self, waited: list[Detection]) -> None:
        for heard in waited:
            self._joins.take(heard)

    def _position(self, found: Position) -> Bin:
        known = self._ledger.spots.look(found.vehicle_id)
        if known is not None and found.time_us <= known.time_us:
            return "duplicate" if found.time_us == known.time_us else "late"
        self._ledger.place_unit(Spot(*found))
        return "used"

    def _settle(self) -> None:
        """What an input leaves to be done: feedback that came before its order, quiet times, forgetting."""
        ledger = self._ledger
        while ledger.unheard or ledger.just_ended:
            for dossier in ledger.just_ended:
                self._fusion.ended(dossier)
            ended, ledger.just_ended = ledger.just_ended, []
            for dossier in ended:
                self._take_all(self._fusion.silence.released(dossier))
            for order_id in tuple(ledger.unheard):
                ledger.unheard.remove(order_id)
                self._feedback.heard_early(order_id)

    def _move(self, to_us: int) -> None:
        """Time up to `to_us`; timers in the order of their times, each seeing its own time as now."""
        ledger = self._ledger
        while (due := ledger.due(to_us)) is not None:
            due_us, identity, kind = due
            ledger.now_us = max(ledger.now_us, due_us)
            if kind in self._alarms:
                self._alarms[kind](identity)
            else:
                self._timers[kind](ledger.to_change(identity))
            self._settle()
        before_us, ledger.now_us = ledger.now_us, max(ledger.now_us, to_us)
        if ledger.now_us // MINUTE_US != before_us // MINUTE_US:
            ledger.sweep()

    def _outcome(self, failures: list[DecodeFailure]) -> DeskOutcome:
        ledger = self._ledger
        ledger.fold()
        made = DeskOutcome(ledger.outputs, failures, {name: n for name, n in sorted(ledger.counts.items()) if n})
        ledger.outputs, ledger.counts = [], type(ledger.counts)()
        return made
