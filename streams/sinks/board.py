"""The live board of the city: the newest state of every incident on it, who goes where, where the units are.

A picture for many readers to look at, built from the topics, never the truth: nothing that decides reads it. What is
written may come doubled, in any order and from several writers; a board shows the newest all the same. It knows no
clock: each writing brings the city's time, which only goes forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from geo.distance import distance_m
from models.incidents import State

ENDED = frozenset({State.CLOSED, State.WITHDRAWN, State.MERGED, State.FALSE_ALARM})

KEEP_ENDED_MS = 10 * 60_000
"""How long an incident that has ended can still be seen."""
REMEMBER_MS = 24 * 3_600_000
"""How long the revision of an incident that left is remembered, so that a late repeat cannot bring it back."""
KEEP_POSITION_MS = 15 * 60_000
"""How long a unit that says nothing more is shown where it was."""
# Some hundred MB in all. A city has some hundred incidents and some thousand vehicles; beyond these, newcomers wait
# until others have left, and the view says that it is full.
MAX_INCIDENTS = 50_000
MAX_UNITS = 50_000


class Entry(NamedTuple):
    """One revision of an incident. `body` is the JSON as published, `unit_id` whom its order names ("" if unknown)."""

    incident_id: str
    revision: int
    epoch: int
    state: str
    type: str
    order_id: str
    unit_id: str
    ended_ms: int
    """When it ended; 0 while it is open."""
    body: bytes

    @property
    def newness(self) -> tuple[int, int]:
        return self.revision, self.epoch

    def gone(self, now_ms: int) -> bool:
        """Whether it ended too long ago to be shown."""
        return 0 < self.ended_ms <= now_ms - KEEP_ENDED_MS

    def forgotten(self, now_ms: int) -> bool:
        """Whether it ended too long ago for even its revision to be known."""
        return 0 < self.ended_ms <= now_ms - REMEMBER_MS


class Position(NamedTuple):
    """Where a vehicle is, WGS-84; `body` is what is shown of it, as JSON."""

    vehicle_id: str
    time_ms: int
    lon: float
    lat: float
    body: bytes

    def gone(self, now_ms: int) -> bool:
        return self.time_ms <= now_ms - KEEP_POSITION_MS


@dataclass(frozen=True, slots=True)
class View:
    """A board at one moment, whole."""

    incidents: dict[str, bytes] = field(default_factory=dict)
    """By id, as published."""
    assigned: dict[str, str] = field(default_factory=dict)
    """Unit by order, as far as the order is known and names one."""
    units: dict[str, bytes] = field(default_factory=dict)
    """By vehicle."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of the incidents: `state:dispatched`, `type:0505`."""
    city_ms: int = 0
    """The city's time when it was last written."""
    kept_ms: int = field(default=0, compare=False)
    """The wall clock when what it is made from was last heard: how fresh it is; 0 where nobody says."""

    @property
    def full(self) -> bool:
        return len(self.incidents) >= MAX_INCIDENTS or len(self.units) >= MAX_UNITS


class Board(Protocol):
    """What every board does, see `tests/streams/sinks/test_board.py`."""

    async def put(self, entries: Sequence[Entry], positions: Sequence[Position], now_ms: int) -> None:
        """Show what is newer than what is shown, and let go what has been shown long enough. Atomic for each item."""

    async def read(self) -> View:
        """All of it, of one moment."""

    async def near(self, lon: float, lat: float, radius_m: float) -> list[str]:
        """The vehicles within so many metres, nearest first."""


class MemoryBoard:
    """A board in this process."""

    def __init__(self) -> None:
        self._heads: dict[str, Entry] = {}  # every revision known, also of those that left
        self._shown: set[str] = set()
        self._assigned: dict[str, str] = {}
        self._positions: dict[str, Position] = {}
        self._counts: Counter[str] = Counter()
        self._ends: list[tuple[int, str]] = []
        self._now_ms = 0

    async def put(self, entries: Sequence[Entry], positions: Sequence[Position], now_ms: int) -> None:
        self._now_ms = max(self._now_ms, now_ms)
        for entry in entries:
            self._put(entry)
        for position in positions:
            self._place(position)
        self._sweep()

    async def read(self) -> View:
        return View(
            {identity: self._heads[identity].body for identity in self._shown},
            dict(self._assigned),
            {vehicle: position.body for vehicle, position in self._positions.items()},
            dict(self._counts),
            self._now_ms,
        )

    async def near(self, lon: float, lat: float, radius_m: float) -> list[str]:
        found = [(distance_m(lon, lat, p.lon, p.lat), p.vehicle_id) for p in self._positions.values()]
        return [vehicle for metres, vehicle in sorted(found) if metres <= radius_m]

    # Of what another board is to be made like this one.

    @property
    def now_ms(self) -> int:
        return self._now_ms

    @property
    def incidents(self) -> int:
        """How many are shown."""
        return len(self._shown)

    def entries(self, of: Iterable[str] | None = None) -> list[Entry]:
        """The newest of these incidents, or of all; of those that left without their body."""
        known = self._heads if of is None else {i: self._heads[i] for i in of if i in self._heads}
        return [head._replace(unit_id=self._assigned.get(head.order_id, "")) for head in known.values()]

    def positions(self, of: Iterable[str] | None = None) -> list[Position]:
        if of is None:
            return list(self._positions.values())
        return [self._positions[vehicle] for vehicle in of if vehicle in self._positions]

    def _put(self, entry: Entry) -> None:
        identity, now_ms = entry.incident_id, self._now_ms
        head = self._heads.get(identity)
        shown = identity in self._shown
        showing = bool(entry.body) and not entry.gone(now_ms) and (shown or len(self._shown) < MAX_INCIDENTS)
        if head is not None:
            if shown and entry.unit_id and entry.order_id == head.order_id:
                self._assigned[head.order_id] = entry.unit_id  # an order's unit never changes: true for any revision
            if entry.newness < head.newness or (entry.newness == head.newness and shown and not entry.gone(now_ms)):
                return
            self._hide(head, entry.order_id if showing else "")
        if entry.forgotten(now_ms):
            self._heads.pop(identity, None)
            return
        if entry.ended_ms:
            heappush(self._ends, (entry.ended_ms + KEEP_ENDED_MS, identity))
            heappush(self._ends, (entry.ended_ms + REMEMBER_MS, identity))
        if not showing:
            self._heads[identity] = entry._replace(body=b"")
            return
        self._heads[identity] = entry
        self._shown.add(identity)
        self._counts.update((f"state:{entry.state}", f"type:{entry.type}"))
        if entry.order_id and entry.unit_id:
            self._assigned[entry.order_id] = entry.unit_id

    def _hide(self, head: Entry, kept_order: str) -> None:
        if head.order_id != kept_order:
            self._assigned.pop(head.order_id, None)
        if head.incident_id not in self._shown:
            return
        self._shown.remove(head.incident_id)
        for name in (f"state:{head.state}", f"type:{head.type}"):
            self._counts[name] -= 1
            if self._counts[name] <= 0:
                del self._counts[name]

    def _place(self, position: Position) -> None:
        before = self._positions.get(position.vehicle_id)
        newer = before is None or position.time_ms > before.time_ms
        room = before is not None or len(self._positions) < MAX_UNITS
        if newer and room and not position.gone(self._now_ms):
            self._positions[position.vehicle_id] = position

    def _sweep(self) -> None:
        while self._ends and self._ends[0][0] <= self._now_ms:
            identity = heappop(self._ends)[1]
            head = self._heads.get(identity)
            if head is None or not head.gone(self._now_ms):
                continue  # it was opened again meanwhile
            self._hide(head, "")
            self._heads[identity] = head._replace(body=b"")
            if head.forgotten(self._now_ms):
                del self._heads[identity]
        for position in [p for p in self._positions.values() if p.gone(self._now_ms)]:
            del self._positions[position.vehicle_id]
