"""From records to the board, and the board in Redis through Redis' bad days."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from streams.sinks.board import MemoryBoard, View
from streams.sinks.keeper import Keeper, Pusher
from streams.sinks.redis_board import TROUBLE, BoardLost, BoardTaken, RedisBoard
from tests.redis_server import RedisServer
from tests.streams.sinks.cards import NOW_MS, ZONE, encoded, entry, incident, order

WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A record as kafka-python hands it out."""

    value: bytes | None
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = (("ce_epoch", b"1"),)
    key: bytes | None = b"k"
    timestamp: int = NOW_MS
    offset: int = 0


def state(identity: str, revision: int = 1, what: str = "confirmed", **more: Any) -> tuple[str, Sent]:
    epoch, partition = more.pop("epoch", 1), more.pop("partition", 0)
    body = encoded(incident(identity, revision, what, **more))
    return "incidents.state", Sent(body, partition, (("ce_epoch", b"%d" % epoch),))


def told_order(*what: Any) -> tuple[str, Sent]:
    return "dispatch.orders", Sent(encoded(order(*what)))


def vehicle(name: str, time_ms: int = NOW_MS, **more: Any) -> tuple[str, Sent]:
    body = {"vehicle_id": name, "time": time_ms, "lon": 121.02, "lat": 30.69, "unit_id": f"u-{name}"} | more
    return "vehicle.positions", Sent(encoded(body), headers=())


def tick(time_ms: int) -> tuple[str, Sent]:
    return "vehicle.positions", Sent(None, headers=(("zhinao_tick", b"%d" % time_ms),))


def seen(*batches: list[tuple[str, Sent]]) -> tuple[View, Keeper]:
    """What the board shows after these, following a recording's clock."""

    async def run() -> tuple[View, Keeper]:
        keeper = Keeper(ZONE, None)
        for batch in batches:
            await keeper.see(batch)
        return await keeper.mirror.read(), keeper

    return asyncio.run(run())


def ids(view: View) -> dict[str, int]:
    return {identity: json.loads(body)["revision"] for identity, body in view.incidents.items()}


# --------------------------------------------------------------------------------------------------- from the topics


def test_incidents_are_shown_as_published() -> None:
    sent = state("i-1", 2, "dispatched", order_id="o-1")
    view, keeper = seen([sent])
    assert view.incidents == {"i-1": sent[1].value}
    assert (view.counts, keeper.unreadable) == ({"state:dispatched": 1, "type:0505": 1}, 0)


@pytest.mark.parametrize("first", ["order", "incident", "together"])
def test_who_goes_is_known_whichever_comes_first(first: str) -> None:
    with_order, its_order = state("i-1", 2, order_id="o-1"), told_order("o-1", "i-1", "u-7")
    batches = {
        "order": [[its_order], [with_order]],
        "incident": [[with_order], [its_order]],
        "together": [[with_order, its_order]],
    }
    assert seen(*batches[first])[0].assigned == {"o-1": "u-7"}


def test_an_order_for_a_department_alone_assigns_no_unit() -> None:
    assert seen([state("i-1", 2, order_id="o-1"), told_order("o-1", "i-1", None)])[0].assigned == {}


def test_a_desk_that_has_been_replaced_is_not_heard() -> None:
    records = [state("i-1", 1, epoch=2), state("i-1", 2, "closed", epoch=1), state("i-2", 1, epoch=1, partition=1)]
    assert ids(seen(records)[0]) == {"i-1": 1, "i-2": 1}


def test_a_position_is_published_in_wgs84_and_the_newest_is_shown() -> None:
    view, _ = seen([vehicle("jj-01", NOW_MS + 1000, crs="gcj02", role="police"), vehicle("jj-01", NOW_MS)])
    shown = json.loads(view.units["jj-01"])
    assert shown["time"] == "2026-03-02T07:15:01.000+08:00"
    assert (shown["unit_id"], shown["role"]) == ("u-jj-01", "police")
    assert 121.014 < shown["lon"] < 121.018  # GCJ-02 lies some 400 m to the east there


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on() -> None:
    bad = [
        b"", b"[]", b"{}", b'{"incident_id": "i-1", "revision": 1e400}', b"\xff", encoded(incident("i-1", -1)),
        encoded(incident("i-1", 10**30)), encoded(incident("i-1") | {"changed_at": "soon"}),
        encoded(incident("i-1")).replace("新".encode(), b"\xff"),
    ]  # fmt: skip
    records = [("incidents.state", Sent(value)) for value in bad]
    view, keeper = seen([*records, ("dispatch.orders", Sent(b"{")), vehicle("jj-01", lon="x"), state("i-2")])
    assert ids(view) == {"i-2": 1}
    assert keeper.unreadable == len(bad) + 2


def test_a_recordings_clock_lets_go_what_ended_in_it() -> None:
    closed, hour = state("i-1", 5, "closed"), tick(NOW_MS + 3_600_000)
    assert ids(seen([closed], [tick(NOW_MS + 1000)])[0]) == {"i-1": 5}
    assert seen([closed, vehicle("jj-01")], [hour])[0] == View(city_ms=NOW_MS + 3_600_000)


def test_by_the_wall_clock_the_past_is_read_in_its_own_time_and_ticks_move_nothing() -> None:
    async def run() -> tuple[View, View]:
        keeper = Keeper(ZONE, lambda: NOW_MS + 3_600_000)
        await keeper.see([state("i-1", 5, "closed"), state("i-2"), tick(NOW_MS + 10**12)])
        before = await keeper.mirror.read()
        keeper.caught_up = True
        await keeper.see([])
        return before, await keeper.mirror.read()

    before, after = asyncio.run(run())
    assert (ids(before), before.city_ms) == ({"i-1": 5, "i-2": 1}, NOW_MS)
    assert (ids(after), after.city_ms) == ({"i-2": 1}, NOW_MS + 3_600_000)


# -------------------------------------------------------------------------------------------------- and out to Redis


@pytest.fixture
def server(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to stop."""
    with RedisServer(tmp_path) as own:
        yield own


class Pair:
    """A keeper, its board in Redis, and what was said."""

    def __init__(self, url: str, source: str = "cluster", timeout_s: float = 2.0) -> None:
        self.said: list[str] = []
        self.keeper = Keeper(ZONE, None)
        self.board = RedisBoard(url, "city", source, fresh_ms=lambda: self.keeper.heard_ms, timeout_s=timeout_s)
        self.pusher = Pusher(self.keeper, self.board, self.said.append)

    async def until_same(self) -> View:
        """Waits until Redis shows what memory does."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                with suppress(BoardLost, *TROUBLE):
                    if (found := await self.board.read()) == await self.keeper.mirror.read():
                        return found
                await asyncio.sleep(0.01)

    async def until(self, said: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not any(said in line for line in self.said):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def keeping(url: str, **more: Any) -> AsyncIterator[Pair]:
    pair = Pair(url, **more)
    async with pair.board:
        running = asyncio.create_task(pair.pusher.run())
        try:
            yield pair
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


SOME = [
    state("i-1", 2, "dispatched", order_id="o-1"), state("i-2"), state("i-3", 4, "closed"), state("i-4", 9, "closed",
    changed_ms=NOW_MS - 3_600_000), told_order("o-1", "i-1", "u-7"), vehicle("jj-01"), vehicle("jj-02"),
]  # fmt: skip


def test_a_flushed_board_is_written_anew(redis_url: str) -> None:
    async def run() -> None:
        async with keeping(redis_url) as pair:
            await pair.keeper.see(SOME)
            before = await pair.until_same()
            assert set(before.incidents) == {"i-1", "i-2", "i-3"}
            redis.Redis.from_url(redis_url).flushall()
            await pair.until("was lost")
            assert await pair.until_same() == before
            assert pair.said == ["the board in Redis was lost, 3 incidents and 2 units written anew"]

    asyncio.run(run())


@pytest.mark.parametrize("key", ["incidents", "heads", "counts", "units", "places", "times", "meta"])
def test_a_board_of_which_a_part_was_evicted_is_written_anew(redis_url: str, key: str) -> None:
    async def run() -> None:
        async with keeping(redis_url) as pair:
            await pair.keeper.see(SOME)
            await pair.until_same()
            redis.Redis.from_url(redis_url).delete(f"{{city:board}}:{key}")
            await pair.until("was lost")
            await pair.until_same()

    asyncio.run(run())


def test_redis_may_stop_while_the_city_goes_on(server: RedisServer) -> None:
    async def run() -> None:
        async with keeping(server.url) as pair:
            await pair.keeper.see(SOME)
            await pair.until_same()
            server.kill()
            await pair.keeper.see([state("i-5"), state("i-2", 2, "dispatched")])
            await pair.until("does not take the board")
            await pair.keeper.see([state("i-1", 3, "accepted", order_id="o-1"), vehicle("jj-01", NOW_MS + 5000)])
            server.start()  # empty
            found = await pair.until_same()
            await pair.until("again")
            assert ids(found) == {"i-1": 3, "i-2": 2, "i-3": 4, "i-5": 1}
            assert [line.partition(" (")[0].partition(",")[0] for line in pair.said] == [
                "Redis does not take the board",
                "Redis takes the board again",
            ]

    asyncio.run(run())


def test_a_redis_that_is_not_there_at_the_start_gets_its_board_when_it_comes(server: RedisServer) -> None:
    async def run() -> None:
        server.stop()
        async with keeping(server.url) as pair:
            await pair.keeper.see(SOME)
            await pair.until("does not take the board")
            server.start()
            await pair.until_same()

    asyncio.run(run())


def test_a_redis_that_never_answers_stops_nothing() -> None:
    async def run() -> None:
        hanging = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await hanging.wait()
            writer.close()

        listening = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with keeping(f"redis://127.0.0.1:{port}/0", timeout_s=0.05) as pair:
            await pair.until("does not take the board")
            await pair.keeper.see(SOME)
            assert pair.keeper.mirror.incidents == 3
            assert len(pair.said) == 1
        hanging.set()
        listening.close()

    asyncio.run(run())


def test_a_password_is_never_said() -> None:
    async def run() -> list[str]:
        pair = Pair("redis://user:secret@127.0.0.1:1/0")
        async with pair.board:
            assert not await pair.pusher.attempt()
        return pair.said

    said = asyncio.run(run())
    assert len(said) == 1
    assert "secret" not in said[0]


def test_two_keepers_that_read_at_different_speeds_make_one_board(redis_url: str) -> None:
    steps = [state("i-1", r, what) for r, what in enumerate(("confirmed", "dispatched", "accepted", "arrived"), 1)]

    async def run() -> None:
        async with keeping(redis_url) as ahead, keeping(redis_url) as behind:
            for step in steps:
                await ahead.keeper.see([step])
            await ahead.until_same()
            for step in steps:
                await behind.keeper.see([step])
                await behind.pusher.attempt()
                assert ids(await behind.board.read()) == {"i-1": 4}
            assert (await ahead.until_same()).counts == {"state:arrived": 1, "type:0505": 1}

    asyncio.run(run())


def test_many_writers_at_once_end_with_the_newest(redis_url: str) -> None:
    entries = [entry(f"i-{n % 5}", 1 + n // 5, ("confirmed", "dispatched", "arrived")[n % 3]) for n in range(60)]

    async def run() -> tuple[View, View]:
        boards = [RedisBoard(redis_url, "city", "cluster") for _ in range(4)]
        for board in boards:
            await board.begin(take=True)

        async def write(board: RedisBoard, order: list[Any]) -> None:
            for one in order:
                await board.put([one], [], NOW_MS)

        orders = entries, entries[::-1], entries[30:] + entries[:30], entries[::2] + entries[1::2]
        await asyncio.gather(*map(write, boards, orders))
        memory = MemoryBoard()
        await memory.put(entries, [], NOW_MS)
        found = await boards[0].read(), await memory.read()
        for board in boards:
            await board.__aexit__()
        return found

    in_redis, in_memory = asyncio.run(run())
    assert in_redis == in_memory


def test_everything_expires_when_nobody_keeps_it(redis_url: str) -> None:
    async def run() -> None:
        async with keeping(redis_url) as pair:
            await pair.keeper.see(SOME)
            await pair.until_same()

    asyncio.run(run())
    client = redis.Redis.from_url(redis_url)
    lasting: dict[bytes, Any] = {key: client.ttl(key) for key in client.scan_iter()}
    assert len(lasting) == 9
    assert [key for key, seconds in lasting.items() if not 0 < seconds <= 24 * 3600] == []


def test_another_clusters_board_is_replaced_at_the_start_and_its_keeper_told(redis_url: str) -> None:
    """Ids and revisions repeat when the same recording is fed to another cluster: the old board would hold them up."""

    async def run() -> None:
        old, new = Pair(redis_url, "old"), Pair(redis_url, "new")
        async with old.board, new.board:
            await old.keeper.see([state("i-1", 9, "closed")])
            assert await old.pusher.attempt()
            await new.keeper.see([state("i-1", 1)])
            assert await new.pusher.attempt()
            assert ids(await new.board.read()) == {"i-1": 1}
            with pytest.raises(BoardTaken):
                await old.pusher.attempt()

    asyncio.run(run())
