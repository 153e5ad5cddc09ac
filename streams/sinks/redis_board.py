"""The live board in Redis, for many readers on many machines.

Under `{<prefix>:board}:` lie the hashes `incidents` (id → JSON as published), `assigned` (order → unit), `units`
(vehicle → JSON), `counts` (`state:…`, `type:…` → number) and `meta` (`source`, `city_ms`, `kept_ms`), and the GEO set
`places` of the vehicles. The rest is bookkeeping. Everything expires when nobody keeps it.

One Lua script does a whole writing, so an older revision can never come over a newer one however many write at once.
It does nothing when it finds that the board was flushed, or that parts of it were evicted: then it must be made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streams.sinks import board
from streams.sinks.board import (
    KEEP_ENDED_MS,
    KEEP_POSITION_MS,
    REMEMBER_MS,
    Entry,
    Position,
    View,
)

TIMEOUT_S = 2.0
EXPIRE_S = 24 * 3600
# Of one run of the script, in which Redis does nothing else: some milliseconds.
CHUNK = 200

NAMES: Final = ("incidents", "heads", "ends", "assigned", "counts", "units", "places", "times", "meta")

# What Redis and the way to it may do that says nothing about us.
TROUBLE = (RedisError, OSError)


class BoardLost(Exception):
    """The board is not there, or not whole: it was flushed, evicted or never made."""


class BoardTaken(Exception):
    """Another Kafka cluster's board is kept under this prefix."""


COMMON = """
local incidents, heads, ends, assigned, counts, units, places, times, meta = unpack(KEYS)
local told = cjson.decode(ARGV[1])
local call = redis.call
local function there(key) return call('EXISTS', key) end
-- Some of them live and die together; one without the others was evicted.
local function torn()
  return there(incidents) ~= there(counts) or there(incidents) > there(heads)
    or there(units) ~= there(places) or there(units) ~= there(times)
end
local source = call('HGET', meta, 'source')
"""

BEGIN = f"""{COMMON}
if source and source ~= told.source and not told.take then return 'taken' end
if not source or source ~= told.source or torn() then
  call('DEL', unpack(KEYS))
  call('HSET', meta, 'source', told.source)
end
return 'ok'
"""

PUT = f"""{COMMON}
if not source then return 'lost' end
if source ~= told.source then return 'taken' end
if torn() then return 'lost' end

local now = math.max(tonumber(call('HGET', meta, 'city_ms') or '0'), told.now_ms)
local function gone(ended) return ended > 0 and ended <= now - {KEEP_ENDED_MS} end
local function forgotten(ended) return ended > 0 and ended <= now - {REMEMBER_MS} end

local function due(ended) return ended + (gone(ended) and {REMEMBER_MS} or {KEEP_ENDED_MS}) end

local function count(name, by)
  if call('HINCRBY', counts, name, by) <= 0 then call('HDEL', counts, name) end
end
local function hide(id, head, kept_order)
  if head.order ~= kept_order then call('HDEL', assigned, head.order) end
  if call('HDEL', incidents, id) == 1 then
    count('state:' .. head.state, -1)
    count('type:' .. head.type, -1)
  end
end

local function put(id, revision, epoch, state, type, order, unit, ended, body)
  local known = call('HGET', heads, id)
  local shown = call('HEXISTS', incidents, id) == 1
  local showing = body ~= '' and not gone(ended)
    and (shown or call('HLEN', incidents) < told.max_incidents)
  if known then
    local head = cjson.decode(known)
    if shown and unit ~= '' and order == head.order then call('HSET', assigned, order, unit) end
    if revision < head.revision then return end
    if revision == head.revision then
      if epoch < head.epoch or (epoch == head.epoch and shown and not gone(ended)) then return end
    end
    hide(id, head, showing and order or '')
  end
  if forgotten(ended) then
    call('HDEL', heads, id)
    call('ZREM', ends, id)
    return
  end
  call('HSET', heads, id, cjson.encode({{
    revision = revision, epoch = epoch, state = state, type = type, order = order, ended = ended}}))
  if ended > 0 then call('ZADD', ends, due(ended), id) else call('ZREM', ends, id) end
  if not showing then return end
  call('HSET', incidents, id, body)
  count('state:' .. state, 1)
  count('type:' .. type, 1)
  if order ~= '' and unit ~= '' then call('HSET', assigned, order, unit) end
end

local function place(id, at, lon, lat, body)
  local before = call('ZSCORE', times, id)
  if at <= now - {KEEP_POSITION_MS} then return end
  if before and tonumber(before) >= at then return end
  if not before and call('HLEN', units) >= told.max_units then return end
  call('ZADD', times, at, id)
  call('GEOADD', places, lon, lat, id)
  call('HSET', units, id, body)
end

for _, entry in ipairs(told.entries) do put(unpack(entry)) end
for _, position in ipairs(told.positions) do place(unpack(position)) end

for _, id in ipairs(call('ZRANGEBYSCORE', ends, '-inf', now)) do
  local known = call('HGET', heads, id)
  local head = known and cjson.decode(known)
  if head then hide(id, head, '') end
  if head and not forgotten(head.ended) then
    call('ZADD', ends, due(head.ended), id)
  else
    call('HDEL', heads, id)
    call('ZREM', ends, id)
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', times, '-inf', now - {KEEP_POSITION_MS})) do
  call('ZREM', times, id)
  call('ZREM', places, id)
  call('HDEL', units, id)
end

local kept = math.max(tonumber(call('HGET', meta, 'kept_ms') or '0'), told.kept_ms)
call('HSET', meta, 'city_ms', string.format('%.0f', now), 'kept_ms', string.format('%.0f', kept))
for _, key in ipairs(KEYS) do call('EXPIRE', key, {EXPIRE_S}) end
return 'ok'
"""


class RedisBoard:
    """`source` names the Kafka cluster the board is made from; ids repeat from cluster to cluster, and revisions with
    them, so a board is of one cluster only. `fresh_ms` is the wall clock at which what it is made from was last heard,
    for readers to see. Who only reads needs neither."""

    def __init__(
        self,
        url: str,
        prefix: str,
        source: str = "",
        *,
        fresh_ms: Callable[[], int] = lambda: 0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client: Any = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )
        # The braces keep all keys of a board on one node of a Redis cluster.
        self._keys = {name: f"{{{prefix}:board}}:{name}" for name in NAMES}
        self._source, self._fresh_ms = source, fresh_ms
        self._begin = self._client.register_script(BEGIN)
        self._put = self._client.register_script(PUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def begin(self, *, take: bool) -> None:
        """Make it ours: what is there is kept if it is of the same cluster and whole, else all of it goes.

        Another cluster's goes only with `take`; without, raises BoardTaken.
        """
        await self._run(self._begin, take=take)

    async def put(self, entries: Sequence[Entry], positions: Sequence[Position], now_ms: int) -> None:
        """Raises BoardLost and BoardTaken, having done nothing, and what `TROUBLE` names, having done who knows what:
        both are mended by putting everything again."""
        for at in range(0, max(len(entries), len(positions), 1), CHUNK):
            await self._run(
                self._put,
                entries=[(*e[:-1], e.body.decode()) for e in entries[at : at + CHUNK]],
                positions=[(*p[:-1], p.body.decode()) for p in positions[at : at + CHUNK]],
                now_ms=now_ms,
                max_incidents=board.MAX_INCIDENTS,
                max_units=board.MAX_UNITS,
                kept_ms=self._fresh_ms(),
            )

    async def read(self) -> View:
        """Raises BoardLost if there is no board."""
        async with self._client.pipeline(transaction=True) as asked:
            for name in ("incidents", "assigned", "units", "counts", "meta"):
                asked.hgetall(self._keys[name])
            incidents, assigned, units, counts, meta = await asked.execute()
        if b"kept_ms" not in meta:
            raise BoardLost
        return View(
            {identity.decode(): body for identity, body in incidents.items()},
            {order.decode(): unit.decode() for order, unit in assigned.items()},
            {vehicle.decode(): body for vehicle, body in units.items()},
            {name.decode(): int(number) for name, number in counts.items()},
            int(meta[b"city_ms"]),
            int(meta[b"kept_ms"]),
        )

    async def near(self, lon: float, lat: float, radius_m: float) -> list[str]:
        found = await self._client.geosearch(
            self._keys["places"], longitude=lon, latitude=lat, radius=radius_m, unit="m", sort="ASC"
        )
        return [vehicle.decode() for vehicle in found]

    async def _run(self, script: Any, **told: Any) -> None:
        said = await script(keys=list(self._keys.values()), args=[orjson.dumps({"source": self._source, **told})])
        if said == b"lost":
            raise BoardLost
        if said == b"taken":
            raise BoardTaken
