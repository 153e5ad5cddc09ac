"""The first door of the core. One Detector a partition: observations in, transitions of conditions out.

Pure: no I/O, no clock, no randomness. Feeding one by one equals feeding in batches; running through equals stop,
`snapshot`, `restore`, go on; shuffled within the lateness or doubled equals plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from importlib import import_module
from typing import NamedTuple

import msgspec

from geo.atlas import Atlas
from geo.index import warm
from models.columns import RawRecord
from models.compiling import compiled_wanted
from models.decode import Decoder
from models.detections import Detection
from models.streams import DETECTOR_TOPICS, MEASUREMENTS, STATES
from models.times import format_time
from models.traffic import TrafficState
from rules.detection.lane import Lane, LaneOutcome, LaneState, Late
from rules.detection.made import MadeState, TrafficStates
from rules.detection.swapping import take_over
from rules.detection.tracks_loop import compiled as mending_loops
from rules.language.model import Bundle
from rules.tables.model import TrafficTable

__all__ = ["Changes", "Detector", "LaneOutcome", "Late", "Memory", "prepare"]


LOOPS = ("models.kernels.tables", "models.kernels.scan", "rules.detection.kernels", "rules.detection.selecting")


def prepare() -> bool:
    """Have the loops of this process compiled before time matters; false where they are not.

    It takes about a second; the first time on a machine, which compiles them, a minute.
    """
    if not compiled_wanted():
        return False
    for name in LOOPS:
        import_module(name)
    mending_loops()
    return warm()


class Memory(NamedTuple):
    """What a Detector's arrays take, how many runs are live, and what it has forgotten so far.

    `expired` runs ended by themselves; `evicted` is what went because there was too much (`Runs`, `Tracks`, `Watch`).
    """

    nbytes: int
    runs: int
    expired: int
    evicted: int


class DetectorState(msgspec.Struct):
    """A snapshot. `version` changes with its shape; another version is refused, never guessed at."""

    version: int
    lanes: dict[str, LaneState]
    made: MadeState | None = None
    """Of a snapshot with the measurements' lane."""


class Versioned(msgspec.Struct):
    """Of a snapshot of whatever shape."""

    version: int


STATE_VERSION = 5
MADE_LATENESS_US = 1
"""States of one minute come together; none of them is late."""
Changes = dict[str, bytes | None]
"""Entries by name; None: there is no such entry any more."""
STATE, PRINTS = "state", "seen/"


class StateMismatch(Exception):
    """A snapshot of another version."""


class Detector:
    """The Detector of one partition of every Detector topic.

    `lateness`: by topic as the rules say, else the stream's own. Times microseconds UTC. `compiled`: whether loops run
    as machine code, by default as `models.compiling` finds it; what is told is the same.
    """

    def __init__(
        self,
        bundle: Bundle,
        atlas: Atlas,
        decoder: Decoder,
        *,
        partition: int,
        zone: tzinfo,
        accept_unregistered: bool = False,
        compiled: bool | None = None,
        traffic: TrafficTable | None = None,
    ) -> None:
        compiled = compiled_wanted() if compiled is None else compiled
        if compiled:
            warm()
        self.partition = partition
        lane = partial(
            Lane, partition=partition, atlas=atlas, decoder=decoder, accept_unregistered=accept_unregistered,
            format_time=partial(format_time, zone=zone),
        )  # fmt: skip
        self.lanes = {
            topic: lane(topic, rules=bundle.of([topic]), lateness_us=bundle.lateness_of(topic), compiled=compiled)
            for topic in DETECTOR_TOPICS
        }
        self.traffic: TrafficStates | None = None
        if traffic is not None:
            states = lane(
                STATES, rules=bundle.of([STATES]), lateness_us=MADE_LATENESS_US, compiled=False, made_of=MEASUREMENTS
            )
            self.traffic = TrafficStates(traffic, self.lanes[MEASUREMENTS], states)

    def feed(self, topic: str, records: Sequence[RawRecord]) -> LaneOutcome:
        """Take records of one topic in log order, clock records included; one by one or in batches is the same."""
        outcome = self.lanes[topic].feed(records)
        if self.traffic is None or topic != MEASUREMENTS:
            return outcome
        return outcome._replace(detections=outcome.detections + self.traffic.settle())

    def advance(self, to_us: int, topics: Sequence[str] = DETECTOR_TOPICS) -> list[Detection]:
        """The clock of these topics says `to_us`; only for a lane that has no records waiting."""
        told = [detection for topic in topics for detection in self.lanes[topic].advance(to_us)]
        return told + self.traffic.settle() if self.traffic is not None and MEASUREMENTS in topics else told

    def states(self) -> list[TrafficState]:
        """The traffic states made since the last call, to be published."""
        return [] if self.traffic is None else self.traffic.take_made()

    def next_us(self) -> int | None:
        """Before this time of the clock `advance` tells nothing unless records come; None: it never does."""
        due_us = [lane.next_us() for lane in self.lanes.values()]
        if self.traffic is not None and (made_us := self.traffic.next_us()) is not None:
            due_us.append(made_us + self.lanes[MEASUREMENTS].lateness_us)
        return min((at for at in due_us if at is not None), default=None)

    def watermark_us(self, topic: str) -> int:
        return self.lanes[topic].watermark_us

    def lane_of(self, topic: str) -> Lane:
        """The lane that looks at a topic; of states too. Raises KeyError where there is none."""
        return self.traffic.lane if self.traffic is not None and topic == STATES else self.lanes[topic]

    def put(self, lane: Lane) -> None:
        """Have a lane that has seen nothing stand in for that of its topic."""
        if self.traffic is not None and lane.topic == STATES:
            self.traffic.lane = lane
            return
        self.lanes[lane.topic] = lane
        if self.traffic is not None and lane.topic == MEASUREMENTS:
            self.traffic.measure_by(lane)

    def memory(self) -> Memory:
        """Of all lanes together; without compiled loops runs are plain objects and not counted."""
        quiet = [lane.quiet.runs for lane in self.lanes.values() if lane.quiet is not None]
        tracks = [lane.tracks for lane in self.lanes.values() if lane.tracks is not None]
        watched = sum(watch.evicted for lane in self.lanes.values() for watch in lane.watches)
        return Memory(
            sum(lane.nbytes for lane in self.lanes.values()),
            sum(runs.used for runs in quiet),
            sum(runs.expired for runs in quiet),
            sum(runs.evicted for runs in quiet) + sum(one.evicted for one in tracks) + watched,
        )

    @property
    def nbytes(self) -> int:
        return self.memory().nbytes

    def snapshot(self) -> bytes:
        made = None if self.traffic is None else self.traffic.snapshot()
        return packed({topic: lane.snapshot() for topic, lane in self.lanes.items()}, made)

    def changes(self, topic: str) -> Callable[[], Changes]:
        """Of one lane what must be stored so that a table which holds what the last call gave holds what it remembers
        now. Copies what changes; encoding is left to whoever calls the result, on any thread."""
        lane = self.lanes[topic]
        prints, frozen = lane.seen.changes(), lane.freeze()
        made = self.traffic.snapshot() if self.traffic is not None and topic == MEASUREMENTS else None

        def encoded() -> Changes:
            blocks = {PRINTS + name: block for name, block in prints.items()}
            return {STATE: packed({topic: frozen.state()}, made), **blocks}

        return encoded

    def restore(self, blob: bytes) -> None:
        """Go on from a snapshot; conditions of rules that are gone or have another shape are left behind.

        Raises StateMismatch for a snapshot of another version.
        """
        state = unpacked(blob)
        for topic, saved in state.lanes.items():
            if topic in self.lanes:
                self.lanes[topic].restore(saved)
        self._restore_made(state.made)

    def _restore_made(self, made: MadeState | None) -> None:
        if self.traffic is not None and made is not None:
            self.traffic.restore(made)

    def take_over(self, other: Detector) -> list[Detection]:
        """Of one that was fed nothing yet: go on where another of the same partition is, whose rules or zones may be
        others. What has not changed goes on exactly; gives what is told of the rest (`rules.detection.swapping`)."""
        told = [one for topic, lane in self.lanes.items() for one in take_over(lane, other.lanes[topic])]
        if self.traffic is None or other.traffic is None:
            return told
        return told + self.traffic.take_over(other.traffic)

    def restore_lane(self, topic: str, entries: Mapping[str, bytes]) -> None:
        """The same of a lane from the entries that its changes made; nothing from none."""
        if STATE in entries:
            state = unpacked(entries[STATE])
            self.lanes[topic].restore(state.lanes[topic])
            self._restore_made(state.made)
            blocks = {name.removeprefix(PRINTS): block for name, block in entries.items() if name.startswith(PRINTS)}
            self.lanes[topic].seen.restore_blocks(blocks)


def packed(lanes: dict[str, LaneState], made: MadeState | None) -> bytes:
    return msgspec.msgpack.encode(DetectorState(STATE_VERSION, lanes, made))


def unpacked(blob: bytes) -> DetectorState:
    version = msgspec.msgpack.decode(blob, type=Versioned).version
    if version != STATE_VERSION:
        raise StateMismatch(f"snapshot version {version}, this is {STATE_VERSION}")
    return msgspec.msgpack.decode(blob, type=DetectorState)
