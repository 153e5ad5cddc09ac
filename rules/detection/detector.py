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
from models.streams import DETECTOR_TOPICS
from models.times import format_time
from rules.detection.lane import Lane, LaneOutcome, LaneState, Late
from rules.detection.tracks_loop import compiled as mending_loops
from rules.language.model import Bundle

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


class Versioned(msgspec.Struct):
    """Of a snapshot of whatever shape."""

    version: int


STATE_VERSION = 5
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
    ) -> None:
        compiled = compiled_wanted() if compiled is None else compiled
        if compiled:
            warm()
        self.partition = partition
        self.lanes = {
            topic: Lane(
                topic,
                partition,
                bundle.of([topic]),
                atlas,
                decoder,
                lateness_us=bundle.lateness_of(topic),
                accept_unregistered=accept_unregistered,
                format_time=partial(format_time, zone=zone),
                compiled=compiled,
            )
            for topic in DETECTOR_TOPICS
        }

    def feed(self, topic: str, records: Sequence[RawRecord]) -> LaneOutcome:
        """Take records of one topic in log order, clock records included; one by one or in batches is the same."""
        return self.lanes[topic].feed(records)

    def advance(self, to_us: int, topics: Sequence[str] = DETECTOR_TOPICS) -> list[Detection]:
        """The clock of these topics says `to_us`; only for a lane that has no records waiting."""
        return [detection for topic in topics for detection in self.lanes[topic].advance(to_us)]

    def next_us(self) -> int | None:
        """Before this time of the clock `advance` tells nothing unless records come; None: it never does."""
        return min((at for lane in self.lanes.values() if (at := lane.next_us()) is not None), default=None)

    def watermark_us(self, topic: str) -> int:
        return self.lanes[topic].watermark_us

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
        return packed({topic: lane.snapshot() for topic, lane in self.lanes.items()})

    def changes(self, topic: str) -> Callable[[], Changes]:
        """Of one lane what must be stored so that a table which holds what the last call gave holds what it remembers
        now. Copies what changes; encoding is left to whoever calls the result, on any thread."""
        lane = self.lanes[topic]
        prints, frozen = lane.seen.changes(), lane.freeze()

        def encoded() -> Changes:
            return {STATE: packed({topic: frozen.state()}), **{PRINTS + name: block for name, block in prints.items()}}

        return encoded

    def restore(self, blob: bytes) -> None:
        """Go on from a snapshot; conditions of rules that are gone or have another shape are left behind.

        Raises StateMismatch for a snapshot of another version.
        """
        for topic, saved in unpacked(blob).items():
            if topic in self.lanes:
                self.lanes[topic].restore(saved)

    def restore_lane(self, topic: str, entries: Mapping[str, bytes]) -> None:
        """The same of a lane from the entries that its changes made; nothing from none."""
        if STATE in entries:
            self.lanes[topic].restore(unpacked(entries[STATE])[topic])
            blocks = {name.removeprefix(PRINTS): block for name, block in entries.items() if name.startswith(PRINTS)}
            self.lanes[topic].seen.restore_blocks(blocks)


def packed(lanes: dict[str, LaneState]) -> bytes:
    return msgspec.msgpack.encode(DetectorState(STATE_VERSION, lanes))


def unpacked(blob: bytes) -> dict[str, LaneState]:
    version = msgspec.msgpack.decode(blob, type=Versioned).version
    if version != STATE_VERSION:
        raise StateMismatch(f"snapshot version {version}, this is {STATE_VERSION}")
    return msgspec.msgpack.decode(blob, type=DetectorState).lanes
