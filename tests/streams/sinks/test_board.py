"""What every board does, in memory and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.sinks import board as boards
from streams.sinks.board import KEEP_ENDED_MS, KEEP_POSITION_MS, REMEMBER_MS, Board, Entry, MemoryBoard, Position, View
from streams.sinks.redis_board import RedisBoard
from tests.streams.sinks.cards import NOW_MS, entry, position

Make = Callable[[], AbstractAsyncContextManager[Board]]
MINUTE_MS = 60_000


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes an empty board each time."""
    if request.param == "memory":

        @asynccontextmanager
        async def in_memory() -> AsyncIterator[Board]:
            yield MemoryBoard()

        return in_memory
    url = request.getfixturevalue("redis_url")
    number = iter(range(1_000_000))

    @asynccontextmanager
    async def in_redis() -> AsyncIterator[Board]:
        async with RedisBoard(url, f"board-{next(number)}", "test") as kept:
            await kept.begin(take=True)
            yield kept

    return in_redis


def shown(make: Make, *puts: tuple[Sequence[Entry], Sequence[Position], int]) -> View:
    async def run() -> View:
        async with make() as board:
            for put in puts:
                await board.put(*put)
            return await board.read()

    return asyncio.run(run())


def at(minutes: float, *items: Entry | Position) -> tuple[list[Entry], list[Position], int]:
    entries = [item for item in items if isinstance(item, Entry)]
    positions = [item for item in items if isinstance(item, Position)]
    return entries, positions, NOW_MS + round(minutes * MINUTE_MS)


def test_an_incident_is_shown_as_published_and_counted_by_state_and_type(make: Make) -> None:
    first, second = entry("i-1", type="0505"), entry("i-2", 3, "dispatched", type="0406", order_id="o-2", unit="u-7")
    assert shown(make, at(0, first, second)) == View(
        {"i-1": first.body, "i-2": second.body},
        {"o-2": "u-7"},
        {},
        {"state:confirmed": 1, "state:dispatched": 1, "type:0505": 1, "type:0406": 1},
        NOW_MS,
    )


def test_a_newer_revision_takes_the_place_of_an_older_one_and_an_older_one_changes_nothing(make: Make) -> None:
    newer = entry("i-1", 2, "dispatched", order_id="o-1", unit="u-7")
    found = shown(make, at(0, entry("i-1")), at(1, newer), at(2, entry("i-1")))
    assert (found.incidents, found.assigned) == ({"i-1": newer.body}, {"o-1": "u-7"})
    assert found.counts == {"state:dispatched": 1, "type:0505": 1}


def test_of_one_revision_that_of_the_later_epoch_is_shown(make: Make) -> None:
    zombie, real = entry("i-1", 2, "dispatched"), entry("i-1", 2, "suspended", epoch=2)
    assert shown(make, at(0, real), at(0, zombie)).incidents == {"i-1": real.body}
    assert shown(make, at(0, zombie), at(0, real)).counts == {"state:suspended": 1, "type:0505": 1}


def test_the_unit_of_an_order_may_be_known_before_or_after_its_incident(make: Make) -> None:
    without, with_it = entry("i-1", 2, order_id="o-1"), entry("i-1", 2, order_id="o-1", unit="u-7")
    assert shown(make, at(0, without), at(0, with_it)) == shown(make, at(0, with_it), at(0, without))
    assert shown(make, at(0, without, with_it)).assigned == {"o-1": "u-7"}
    again = entry("i-1", 3, order_id="o-2", unit="u-8")
    assert shown(make, at(0, with_it, again)).assigned == {"o-2": "u-8"}


def test_an_ended_incident_stays_for_the_keep_time_and_goes(make: Make) -> None:
    closed = entry("i-1", 5, "closed", order_id="o-1", unit="u-7")
    before, after = at(KEEP_ENDED_MS / MINUTE_MS - 0.1), at(KEEP_ENDED_MS / MINUTE_MS)
    assert shown(make, at(0, closed), before).counts == {"state:closed": 1, "type:0505": 1}
    assert shown(make, at(0, closed), after) == View(city_ms=NOW_MS + KEEP_ENDED_MS)
    assert shown(make, at(60, closed)).incidents == {}


def test_a_late_repeat_does_not_bring_back_an_incident_that_has_gone(make: Make) -> None:
    puts = at(0, entry("i-1", 5, "closed")), at(60), at(61, entry("i-1", 4, "verifying"), entry("i-1", 5, "closed"))
    assert shown(make, *puts) == View(city_ms=NOW_MS + 61 * MINUTE_MS)


def test_an_incident_that_is_reopened_is_there_again_and_stays(make: Make) -> None:
    again = entry("i-1", 6, "dispatched")
    day = REMEMBER_MS / MINUTE_MS
    assert shown(make, at(0, entry("i-1", 5, "closed")), at(5, again), at(2 * day)).incidents == {"i-1": again.body}
    assert shown(make, at(0, entry("i-1", 5, "closed")), at(60), at(61, again)).incidents == {"i-1": again.body}


def test_the_citys_time_only_goes_forward(make: Make) -> None:
    assert shown(make, at(60), at(0, entry("i-1", 5, "closed"))) == View(city_ms=NOW_MS + 60 * MINUTE_MS)


def test_a_unit_is_where_it_was_last_until_it_has_said_nothing_for_long(make: Make) -> None:
    old, new = position("jj-01"), position("jj-01", NOW_MS + 1000)
    silent = at((KEEP_POSITION_MS + 1000) / MINUTE_MS)
    assert shown(make, at(0, old), at(0, new), at(0, old)).units == {"jj-01": new.body}
    assert shown(make, at(0, old, new), silent).units == {}
    assert shown(make, silent, at(0, old)).units == {}


def test_units_near_a_place_come_nearest_first(make: Make) -> None:
    async def run() -> list[str]:
        async with make() as board:
            await board.put(
                [], [position("far", lon=121.2), position("near", lon=121.021), position("here"), position("gone")], 0
            )
            await board.put([], [position("gone", NOW_MS + 1, lon=122)], 0)
            return await board.near(121.02, 30.69, 500)

    assert asyncio.run(run()) == ["here", "near"]


def test_a_full_board_takes_no_newcomers_until_others_have_left(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MAX_INCIDENTS", 1)
    late = entry("i-2")
    puts = at(0, entry("i-1")), at(0, late), at(0, entry("i-1", 2, "closed"))
    assert set(shown(make, *puts).incidents) == {"i-1"}
    assert shown(make, *puts, at(11), at(11, late)).incidents == {"i-2": late.body}


STATES = ("confirmed", "dispatched", "arrived", "verifying", "closed")
SOME = st.builds(
    lambda identity, revision, epoch, known: entry(
        f"i-{identity}",
        revision,
        STATES[(revision + identity) % 5],
        epoch=epoch,
        order_id=f"o-{identity}-{revision // 2}" if revision > 1 else None,
        unit=f"u-{revision // 2}" if known and revision > 1 else "",
        type=f"050{revision % 3}",
    ),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 2),
    st.booleans(),
)
PLACES = st.builds(lambda n, s: position(f"jj-{n}", NOW_MS + s), st.integers(1, 3), st.integers(0, 5))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(SOME | PLACES, min_size=1, max_size=12),
    doubled=st.randoms(use_true_random=False),
    minutes=st.sampled_from((0.0, 9.0, 20.0)),
)
def test_any_order_and_any_repetition_shows_the_newest(
    make: Make, items: list[Any], doubled: Any, minutes: float
) -> None:
    shuffled = [*items, *doubled.choices(items, k=len(items))]
    doubled.shuffle(shuffled)
    one_by_one = [at(minutes, item) for item in shuffled]
    found = shown(make, *one_by_one)
    newest: dict[str, Entry] = {}
    for item in sorted((i for i in items if isinstance(i, Entry)), key=lambda e: e.newness):
        newest[item.incident_id] = item
    now_ms = NOW_MS + round(minutes * MINUTE_MS)
    open_ones = {i: e for i, e in newest.items() if not e.gone(now_ms)}
    assert found.incidents == {i: e.body for i, e in open_ones.items()}
    places = sorted((i for i in items if isinstance(i, Position)), key=lambda p: p.time_ms)
    assert found.units == {p.vehicle_id: p.body for p in places if not p.gone(now_ms)}
    assert sum(n for name, n in found.counts.items() if name.startswith("state:")) == len(open_ones)
    assert found.assigned.items() <= {(e.order_id, f"u-{e.revision // 2}") for e in open_ones.values()}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=st.lists(st.tuples(st.lists(SOME | PLACES, max_size=4), st.sampled_from((0.0, 5.0, 11.0, 16.0, 1500.0)))))
def test_whatever_comes_both_boards_show_the_same(redis_url: str, puts: list[tuple[list[Any], float]]) -> None:
    async def run() -> tuple[View, View]:
        memory = MemoryBoard()
        async with RedisBoard(redis_url, "same", "test") as kept:
            await kept._client.flushdb()
            await kept.begin(take=True)
            for items, minutes in puts:
                for board in (memory, kept):
                    await board.put(*at(minutes, *items))
            await memory.put(*at(0))
            await kept.put(*at(0))
            return await memory.read(), await kept.read()

    in_memory, in_redis = asyncio.run(run())
    assert in_redis == in_memory
