"""The books of a worker: they balance whatever comes, and a record that went wrong shows within a minute."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.streams import DETECTOR_TOPICS
from models.times import MINUTE_US
from rules.detection.detector import LaneOutcome
from streams.accounts import BINS, ENTERED, SLOTS, Accounts, lane_bins, mixed
from streams.agents import detectors
from streams.broker import EmbeddedBroker
from streams.topics import all_full_names, create
from streams.transport import TP, Chunk, Record, Records
from tests.e2e.city import RECORDING, running
from tests.kafka.broker import KafkaBroker
from tests.rules.detection.stage import at_ms, frame
from tests.streams.counting import counting
from tests.streams.test_agents import World, seen, tick

HERE = TP("zhinao.camera.tracks.v1", 2)
OTHER = TP("zhinao.camera.events.v1", 2)
MINUTE_MS = MINUTE_US // 1000
START_MS = 29_500_000 * MINUTE_MS
LATER_US = (START_MS + 500 * MINUTE_MS) * 1000


class One(NamedTuple):
    """A record, and where it ends."""

    offset: int
    timestamp: int
    bin: str


def records(first: int, *, count: int = 10, at_ms: int = START_MS, step_ms: int = 1) -> list[One]:
    return [One(first + n, at_ms + n * step_ms, BINS[n % 3]) for n in range(count)]


def enter(accounts: Accounts, some: Sequence[One], tp: TP = HERE) -> None:
    accounts.entered(tp, [one.offset for one in some], [one.timestamp for one in some])


def leave(accounts: Accounts, some: Sequence[One], tp: TP = HERE, *, finish: bool = True) -> None:
    bins = {name: np.array([one.bin == name for one in some]) for name in {one.bin for one in some}}
    accounts.left(tp, [one.offset for one in some], [one.timestamp for one in some], **bins)
    if finish:
        accounts.finished(tp, max(one.offset for one in some) + 1)


# ---------------------------------------------------------------------------------------------------- what balances

chunks = st.lists(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(-3 * MINUTE_MS, 200 * MINUTE_MS), st.sampled_from(BINS)),
        min_size=1,
        max_size=20,
    ),
    max_size=12,
)


@given(chunks=chunks, behind=st.integers(0, 4), looks=st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_chunks_with_any_bins_balance_however_far_the_agent_is_behind(
    chunks: list[list[tuple[int, int, str]]], behind: int, looks: list[bool]
) -> None:
    accounts, waiting, offset = Accounts(), list[list[One]](), 0
    expected: Counter[str] = Counter()
    for drawn, look in zip(chunks, looks, strict=False):
        chunk = []
        for gap, at, bin_name in drawn:
            offset += gap
            chunk.append(One(offset, START_MS + at, bin_name))
            expected[bin_name] += 1
        enter(accounts, chunk)
        waiting.append(chunk)
        if len(waiting) > behind:
            leave(accounts, waiting.pop(0))
        if look:
            assert accounts.check(LATER_US) == []
            assert accounts.in_flight() == sum(map(len, waiting))
    for chunk in waiting:
        leave(accounts, chunk)
    assert accounts.check(LATER_US) == []
    assert accounts.in_flight() == 0
    assert {name: n for (_, name), n in accounts.records.items()} == dict(expected) | (
        {ENTERED: expected.total()} if chunks else {}
    )


@given(chunk=chunks.filter(bool).map(lambda drawn: drawn[0]), data=st.data())
def test_a_record_that_is_lost_or_doubled_shows_wherever_it_stands(
    chunk: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    some = [One(10 * n, START_MS + at, name) for n, (_, at, name) in enumerate(chunk)]
    wrong = data.draw(st.sampled_from(some))
    for left in ([one for one in some if one is not wrong], [*some, wrong]):
        accounts = Accounts()
        enter(accounts, some)
        if left:
            leave(accounts, left, finish=False)
        accounts.finished(HERE, some[-1].offset + 1)
        (found,) = accounts.check(LATER_US)
        assert found.difference == len(left) - len(some)


def test_the_mix_of_an_offset_is_splitmix64() -> None:
    # The first outputs of the generator that begins at 0, as its author publishes them.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    states = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(states.view(np.int64)).tolist() == published
    assert len(np.unique(mixed(np.arange(100_000)))) == 100_000


def test_what_is_on_its_way_is_no_mismatch() -> None:
    accounts = Accounts()
    enter(accounts, records(0))
    enter(accounts, records(10, at_ms=START_MS + 5 * MINUTE_MS))
    assert accounts.check(LATER_US) == []
    assert accounts.in_flight() == 20


def test_a_minute_is_judged_when_it_has_passed_and_not_before() -> None:
    accounts = Accounts()
    enter(accounts, records(0))
    leave(accounts, records(0)[1:])
    assert accounts.check((START_MS + 30_000) * 1000) == []
    assert len(accounts.check((START_MS + MINUTE_MS) * 1000)) == 1


def test_a_minute_that_others_have_followed_is_judged_even_if_its_senders_clock_is_ahead() -> None:
    accounts = Accounts()
    enter(accounts, records(0))
    leave(accounts, records(0)[1:])
    enter(accounts, records(10, at_ms=START_MS + MINUTE_MS))
    assert len(accounts.check((START_MS - MINUTE_MS) * 1000)) == 1


def test_a_minute_that_balanced_may_go_on_and_balances_again() -> None:
    accounts = Accounts()
    for first in (0, 10, 20):
        enter(accounts, records(first))
        leave(accounts, records(first))
        assert accounts.check(LATER_US) == []
    enter(accounts, records(30))
    leave(accounts, records(30)[:-1], finish=False)
    accounts.finished(HERE, 40)
    assert [m.difference for m in accounts.check(LATER_US)] == [-1]


def test_minutes_that_share_a_place_balance_together_and_nothing_grows() -> None:
    accounts = Accounts()
    apart = [records(1000 * n, at_ms=START_MS + n * MINUTE_MS) for n in range(5 * SLOTS)]
    for some in apart:
        enter(accounts, some)
    assert accounts.in_flight() == 10 * len(apart)
    for some in apart:
        leave(accounts, some)
    assert accounts.check(LATER_US) == []
    assert accounts.in_flight() == 0


# ------------------------------------------------------------------------------------------------- what is planted


def lost(some: list[One]) -> list[One]:
    return some[1:]


def twice(some: list[One]) -> list[One]:
    return [*some, some[0]]


def in_two_bins(some: list[One]) -> list[One]:
    return [*some, some[0]._replace(bin="dead")]


def swapped(some: list[One]) -> list[One]:
    return [*some[1:], some[1]]


@pytest.mark.parametrize(("wrong", "difference"), [(lost, -1), (twice, 1), (in_two_bins, 1), (swapped, 0)])
def test_a_planted_fault_is_found_once_and_told(
    wrong: Callable[[list[One]], list[One]], difference: int, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts({HERE.topic: "camera.tracks"})
    some, others = records(0), records(0)
    enter(accounts, some)
    enter(accounts, others, OTHER)
    leave(accounts, others, OTHER)
    leave(accounts, wrong(some))
    accounts.finished(HERE, 10)
    with caplog.at_level(logging.ERROR):
        (found,) = accounts.check(LATER_US)
    assert (found.topic, found.partition, found.minute_us) == (HERE.topic, 2, START_MS * 1000)
    assert (found.entered, found.difference) == (10, difference)
    assert accounts.mismatches == {"camera.tracks": 1}
    (line,) = caplog.messages
    assert line == f"records do not add up: {found}"
    assert "zhinao.camera.tracks.v1[2]" in line
    assert "10 entered" in line
    assert accounts.check(LATER_US) == []


def test_a_chunk_that_never_reached_its_agent_is_found_when_the_next_is_finished() -> None:
    accounts = Accounts()
    enter(accounts, records(0))
    enter(accounts, records(10))
    assert accounts.check(LATER_US) == []
    leave(accounts, records(10))
    assert [m.difference for m in accounts.check(LATER_US)] == [-10]


def test_a_record_nobody_fetched_is_found() -> None:
    accounts = Accounts()
    leave(accounts, records(5, count=1))
    assert [(m.entered, m.difference) for m in accounts.check(LATER_US)] == [(0, 1)]


def test_where_only_counts_are_known_they_must_be_those_of_the_records() -> None:
    for counts, difference in ({"used": 7, "late": 3}, []), ({"used": 7, "late": 2}, [-1]), ({"used": 11}, [1]):
        accounts, some = Accounts(), records(0, step_ms=MINUTE_MS // 4)
        enter(accounts, some)
        accounts.left_counted(HERE, [one.offset for one in some], [one.timestamp for one in some], counts)
        accounts.finished(HERE, 10)
        assert [m.difference for m in accounts.check(LATER_US)] == difference


def test_where_only_counts_are_known_other_records_than_those_fetched_are_found() -> None:
    accounts, some = Accounts(), records(0)
    enter(accounts, some)
    accounts.left_counted(HERE, [*range(1, 10), 11], [START_MS] * 10, {"used": 10})
    accounts.finished(HERE, 12)
    assert [m.difference for m in accounts.check(LATER_US)] == [0]


def test_what_is_taken_away_is_judged_as_far_as_it_came_and_then_forgotten() -> None:
    accounts = Accounts()
    enter(accounts, records(0))
    leave(accounts, records(0)[1:])
    enter(accounts, records(10, at_ms=START_MS + MINUTE_MS))
    assert [m.difference for m in accounts.forget([HERE, OTHER])] == [-1]
    enter(accounts, records(0))
    leave(accounts, records(0))
    assert accounts.check(LATER_US) == []


# --------------------------------------------------------------------------------------------- through a Detector


def poison() -> Record:
    return seen(4)._replace(value=b"{")


def empty(second: float) -> Record:
    return seen(second)._replace(value=frame(second).value)


def day() -> list[list[Record]]:
    """Chunks with used, doubled, filtered, late, dead, stray and clock records among each other."""
    return [
        [seen(1), tick(1), seen(2), empty(2.5), seen(2), seen(2, b"elsewhere"), poison()],
        [tick(5), seen(400), seen(3), seen(1, None), tick(401), seen(3)],
        [tick(402)],
        [poison(), poison()],
        [seen(500)],
    ]


@pytest.mark.parametrize("clock", ["wall", "stream"])
def test_whatever_a_detector_is_sent_ends_in_one_bin(clock: str) -> None:
    async def play() -> None:
        world = World(clock)
        agent = await world.agent()
        for sent in day():
            chunk = world.chunk("camera.tracks", *sent)
            enter_chunk(agent.accounts, chunk)
            await agent.take(chunk)
        assert agent.accounts.check(LATER_US) == []
        assert agent.accounts.in_flight() == 0
        counts = {name: n for (_, name), n in agent.accounts.records.items() if n}
        assert counts.pop(ENTERED) == sum(map(len, day()))
        assert counts.pop("clock") == 4
        assert set(counts) == {"used", "filtered", "duplicate", "late", "dead"}
        assert counts == {name: agent.counts[name] for name in counts}

    asyncio.run(play())


def enter_chunk(accounts: Accounts, chunk: Chunk) -> None:
    some = Records.of(chunk.records)
    accounts.entered(chunk.tp, some.offsets, some.timestamps)


def test_a_record_the_agent_passes_over_is_found() -> None:
    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        chunk = world.chunk("camera.tracks", seen(1), seen(2), seen(3))
        enter_chunk(agent.accounts, chunk)
        await agent.take(Chunk(chunk.tp, [chunk.records[0], chunk.records[2]]))
        assert [m.difference for m in agent.accounts.check(at_ms(1000) * 1000)] == [-1]

    asyncio.run(play())


def test_a_record_the_lane_calls_both_used_and_doubled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def muddled(outcome: LaneOutcome) -> dict[str, object]:
        fates = outcome.fates
        return dict(lane_bins(outcome._replace(duplicate=1, fates=fates._replace(doubled=fates.used.copy()))))

    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        chunk = world.chunk("camera.tracks", seen(1), seen(2))
        enter_chunk(agent.accounts, chunk)
        await agent.take(chunk)
        assert [m.difference for m in agent.accounts.check(at_ms(1000) * 1000)] == [2]

    monkeypatch.setattr(detectors, "lane_bins", muddled)
    asyncio.run(play())


# ------------------------------------------------------------------------------------------------ in a real worker


def city(broker: EmbeddedBroker, folder: Path) -> dict[str, str]:
    return {
        "ZHINAO_EMBEDDED_BROKER": broker.address,
        "ZHINAO_CLOCK": "stream",
        "ZHINAO_STATE_DIR": str(folder / "state"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("loss", [{}, {"lose": 20}], ids=["healthy", "one record lost"])
def test_a_worker_with_the_shipped_city_has_a_mismatch_only_where_a_record_was_lost(
    tmp_path: Path, loss: dict[str, int]
) -> None:
    with EmbeddedBroker(all_full_names("zhinao")) as broker:
        environment = city(broker, tmp_path)
        with (
            counting(environment, tmp_path, minute_s=3, **loss) as worker,
            running(environment, tmp_path) as run,
        ):
            run.start("crews", name="crews")
            run.start("feed", str(RECORDING), "--speed", "60", "--drain", "1m", name="feed")
            if loss:
                worker.until("the loss is found", lambda said: bool(said["mismatches"]), limit_s=200)
                assert worker.newest["mismatches"].keys() <= set(DETECTOR_TOPICS)
            else:
                worker.until("incidents are handled", lambda s: s["records"].get("dispatch.feedback used", 0) > 3, 200)
            run.stop()
            entered = worker.newest["records"]["camera.tracks entered"]
            found = worker.after(8)
            assert sum(found["mismatches"].values()) == len(loss)
            assert entered > 100
            assert worker.stop() == 0
    assert worker.log().count("records do not add up") == len(loss)


@pytest.mark.slow
def test_partitions_that_move_between_workers_and_back_leave_no_mismatch(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    create(kafka.bootstrap, prefix=unique_prefix, partitions=4)
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": unique_prefix,
        "ZHINAO_GROUP": unique_prefix,
        "ZHINAO_CANARY_S": "0.2",  # the traffic
    }
    (second := tmp_path / "second").mkdir()
    with counting(environment, tmp_path, minute_s=1) as first:
        first.until("it flows", lambda said: said["records"].get("sensor.readings used", 0) > 20)
        with counting(environment, second, minute_s=1) as other:
            other.until("it shares the work", lambda said: said["records"].get("sensor.readings used", 0) > 20)
            assert other.after(3)["mismatches"] == {}
            assert other.stop() == 0
        before = first.after(1)["records"]["sensor.readings used"]
        first.until("it has all again", lambda said: said["records"]["sensor.readings used"] > before + 40)
        assert first.after(3)["mismatches"] == {}
        assert first.newest["in_flight"] < 100
        assert first.stop() == 0
    assert "do not add up" not in first.log() + other.log()
