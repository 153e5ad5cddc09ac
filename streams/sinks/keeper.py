"""From the topics to the board: reads records in any order, keeps a board in memory, and makes one in Redis like it.

Redis may be down, slow, flushed or somebody else's for a while: the board in memory goes on, and when Redis answers
again all of it is written anew.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Annotated, Any

import msgspec
import orjson

from geo.crs import to_wgs84
from models.columns import scalar
from models.decode import Decoder
from models.privacy import Tokens
from models.ticks import tick_us
from models.times import format_time, parse_rfc3339_us
from streams.sinks.board import ENDED, Entry, MemoryBoard, Position
from streams.sinks.redis_board import TROUBLE, BoardLost, RedisBoard

READS = ("incidents.state", "dispatch.orders", "vehicle.positions")
# Orders known by their unit; beyond a day's number. Those of open incidents that are older show their department only.
MAX_ORDERS = 100_000
# Redis' GEO ends there.
GEO_LAT_DEG = 85.0
SHOWN_OF_UNIT = ("unit_id", "role", "speed_mps", "heading_deg", "on_duty")

HEARTBEAT_S = 1.0
# However it came about that Redis shows something else, it does so no longer than this.
ANEW_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Told(msgspec.Struct):
    """What of an incident decides its place on the board."""

    incident_id: str
    revision: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    state: str
    type: str
    changed_at: str
    order_id: str | None = None


class Ordered(msgspec.Struct):
    order_id: str
    incident_id: str
    unit_id: str | None = None


TOLD, ORDERED = msgspec.json.Decoder(Told), msgspec.json.Decoder(Ordered)


class Keeper:
    """Keeps `mirror`, the board in memory, from records; `unreadable` counts those that say nothing.

    The city's time is the wall clock's, or where there is none (None: a recording is being fed) that of the clock
    records; until `caught_up`, while the past is read, it is that of the newest change.
    """

    def __init__(self, zone: tzinfo, wall_ms: Callable[[], int] | None) -> None:
        self.mirror = MemoryBoard()
        self.unreadable = 0
        self.caught_up = False
        self.changed = asyncio.Event()
        self.heard()
        self._zone, self._wall_ms = zone, wall_ms
        self._now_ms = 0
        self._epochs: dict[int, int] = {}
        self._units: dict[str, str] = {}
        self._decoder = Decoder(Tokens(bytes(32)), {})  # a position holds nothing to tokenise
        self.dirty_incidents: set[str] = set()
        self.dirty_units: set[str] = set()

    def heard(self) -> None:
        """The topics have answered just now."""
        self.heard_ms = time.time_ns() // 1_000_000

    async def see(self, records: Sequence[tuple[str, Any]]) -> None:
        """Records of `READS` and clock records, each partition in its order."""
        of = defaultdict[str, list[Any]](list)
        for topic, record in records:
            of[topic if record.value is not None else "clock"].append(record)
        # Orders first: an incident that comes with its order finds the unit.
        entries = [*self._entries(self._order, of["dispatch.orders"]), *self._entries(self._incident, of[READS[0]])]
        positions = self._positions(of["vehicle.positions"])
        await self.mirror.put(entries, positions, self._city_ms(of["clock"]))
        self.dirty_incidents |= {entry.incident_id for entry in entries}
        self.dirty_units |= {position.vehicle_id for position in positions}
        if entries or positions:
            self.changed.set()

    def _city_ms(self, clock: Sequence[Any]) -> int:
        if self._wall_ms is None:
            self._now_ms = max([self._now_ms, *((tick_us(record) or 0) // 1000 for record in clock)])
        elif self.caught_up:
            self._now_ms = max(self._now_ms, self._wall_ms())
        return self._now_ms

    def _entries(self, read: Callable[[Any], Entry | None], records: Sequence[Any]) -> Iterable[Entry]:
        for record in records:
            try:
                entry = read(record)
            except (msgspec.MsgspecError, ValueError):
                self.unreadable += 1
            else:
                if entry is not None:
                    yield entry

    def _incident(self, record: Any) -> Entry | None:
        told = TOLD.decode(record.value)
        record.value.decode()  # what we do not read of it goes to Redis too, and must be text
        epoch = next((int(value) for name, value in record.headers or () if name == "ce_epoch"), 0)
        if epoch < self._epochs.get(record.partition, 0):
            return None  # of a Desk that has been replaced
        self._epochs[record.partition] = epoch
        changed_ms = parse_rfc3339_us(told.changed_at) // 1000
        if not self.caught_up or self._wall_ms is None:
            self._now_ms = max(self._now_ms, changed_ms)
        order_id = told.order_id or ""
        return Entry(
            told.incident_id,
            told.revision,
            epoch,
            told.state,
            told.type,
            order_id,
            self._units.get(order_id, ""),
            changed_ms if told.state in ENDED else 0,
            record.value,
        )

    def _order(self, record: Any) -> Entry | None:
        """The incident once more, if it is waiting for this."""
        order = ORDERED.decode(record.value)
        if order.unit_id is None or order.order_id in self._units:
            return None
        self._units[order.order_id] = order.unit_id
        if len(self._units) > MAX_ORDERS:
            del self._units[next(iter(self._units))]
        for entry in self.mirror.entries([order.incident_id]):
            if entry.order_id == order.order_id:
                return entry._replace(unit_id=order.unit_id)
        return None

    def _positions(self, records: Sequence[Any]) -> list[Position]:
        if not records:
            return []
        decoded = self._decoder.decode("vehicle.positions", records)
        self.unreadable += len(decoded.failures)
        batch, found = decoded.batch, []
        lon, lat = batch.numbers("lon").copy(), batch.numbers("lat").copy()
        for row, record in enumerate(batch.record.tolist()):
            crs = decoded.crs.at(record)
            if crs is not None:
                lon[row : row + 1], lat[row : row + 1] = to_wgs84(crs, lon[row : row + 1], lat[row : row + 1])
            vehicle_id, time_us = str(decoded.source.at(record)), int(batch.time_us[row])
            if not abs(lat[row]) <= GEO_LAT_DEG:
                continue
            more = {name: scalar(batch.columns[name], row) for name in SHOWN_OF_UNIT}
            body = {
                "vehicle_id": vehicle_id,
                "time": format_time(time_us, self._zone),
                "lon": round(float(lon[row]), 6),
                "lat": round(float(lat[row]), 6),
                **{name: value for name, value in more.items() if value is not None},
            }
            found.append(Position(vehicle_id, time_us // 1000, float(lon[row]), float(lat[row]), orjson.dumps(body)))
        return found


class Pusher:
    """Makes the board in Redis like the Keeper's, and says in one line when it cannot and when it can again."""

    def __init__(self, keeper: Keeper, board: RedisBoard, say: Callable[[str], None]) -> None:
        self.keeper, self.board, self.say = keeper, board, say
        self.begun = self.failing = False
        self._whole_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        """Until cancelled. Raises BoardTaken."""
        while True:
            if await self.attempt():
                try:
                    await asyncio.wait_for(self.keeper.changed.wait(), HEARTBEAT_S)
                except TimeoutError:
                    continue
            else:
                await asyncio.sleep(self._pause_s * (1 + random.random() / 4))
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def attempt(self) -> bool:
        """One writing: of what changed, or of everything where that is due. False if Redis did not take it."""
        try:
            await self._write()
        except (*TROUBLE, BoardLost) as why:
            self._whole_at = 0.0
            if not self.failing:
                self.failing = True
                cause = str(why).partition("\n")[0] or type(why).__name__
                self.say(f"Redis does not take the board ({cause}); going on without it and trying again")
            return False
        if self.failing:
            self.failing = False
            self.say(f"Redis takes the board again, {self._written()} written anew")
        self._pause_s = FIRST_PAUSE_S
        return True

    async def _write(self) -> None:
        if not self.begun:
            await self.board.begin(take=True)
            self.begun = True
        try:
            await self._put()
        except BoardLost:
            self._whole_at = 0.0
            await self.board.begin(take=False)
            await self._put()
            if not self.failing:
                self.say(f"the board in Redis was lost, {self._written()} written anew")

    async def _put(self) -> None:
        keeper, mirror = self.keeper, self.keeper.mirror
        keeper.changed.clear()
        started = time.monotonic()
        anew = not self._whole_at or started - self._whole_at >= ANEW_S
        incidents, units = keeper.dirty_incidents, keeper.dirty_units
        keeper.dirty_incidents, keeper.dirty_units = (
            set(),
            set(),
        )  # not for a second try: after a failure all is written
        await self.board.put(
            mirror.entries(None if anew else incidents), mirror.positions(None if anew else units), mirror.now_ms
        )
        if anew:
            self._whole_at = started

    def _written(self) -> str:
        mirror = self.keeper.mirror
        return f"{mirror.incidents} incidents and {len(mirror.positions())} units"
