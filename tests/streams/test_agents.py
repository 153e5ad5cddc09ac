"""The Detectors' agent without a broker: what it sends, in which order it stores, and what a restart finds."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from models.streams import DETECTOR_TOPICS
from models.ticks import TICK_HEADER
from rules.detection.detector import Detector
from streams.agents.detectors import DetectorAgent
from streams.metrics import Metrics
from streams.publishing import Letters, Message
from streams.store import Table
from streams.topics import full_name, partition_for
from streams.transport import TP, Chunk, Record
from tests.rules.detection.stage import Stage, at_ms, car, frame, square
from tests.rules.detection.test_dwell import RULE

PARTITIONS = 4
KEY = b"danghu"
MINE = partition_for(KEY, PARTITIONS)
ALL_MINE = frozenset(TP(full_name(name, "zhinao"), MINE) for name in DETECTOR_TOPICS)


class Shell:
    """Flow, publisher, store and clock in one: everything that was asked of them, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []
        self.tables: dict[str, dict[str, bytes]] = {}
        self.assigned = ALL_MINE
        self.hold, self.hold_sends = asyncio.Event(), asyncio.Event()
        self.hold.set()
        self.hold_sends.set()
        self.time_s = 0.0
        self.hold_letters, self.held_letters = False, set[TP]()
        self.empty_since: float | None = 0.0

    async def send(self, messages: Sequence[Message]) -> None:
        await self.hold_sends.wait()
        self.log += [(m.topic, m) for m in messages]

    def post(self, tp: TP, letters: Sequence[Message]) -> None:
        self.log += [(m.topic, m) for m in letters]
        if letters and self.hold_letters:
            self.held_letters.add(tp)

    async def posted(self, tps: Iterable[TP]) -> None: ...

    def waiting(self, tp: TP) -> bool:
        return tp in self.held_letters

    def kept(self, tps: Iterable[TP]) -> bytes | None:
        return b"letters" if self.held_letters.intersection(tps) else None

    def post_kept(self, kept: bytes) -> None:
        self.log.append(("post_kept", kept))

    async def forget(self, tps: Collection[TP]) -> None:
        self.held_letters -= set(tps)

    async def tick(self, topic: str, key: str, partition: int, at_us: int, source: str) -> None:
        self.log.append(("tick", at_us))

    async def open(self, name: str) -> tuple[Table, dict[str, bytes]]:
        entries = self.tables.setdefault(name, {})
        return OpenTable(self, entries), dict(entries)

    def stored(self, tp: TP, offset: int) -> None:
        self.log.append(("stored", (tp.topic, offset)))

    def empty_since_s(self, tp: TP, now_s: float) -> float | None:
        return self.empty_since

    def monotonic_s(self) -> float:
        return self.time_s

    def now_us(self) -> int:
        return at_ms(self.time_s) * 1000

    def machine_us(self) -> int:
        return self.now_us()

    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    def all(self, name: str) -> list[Any]:
        return [what for named, what in self.log if named == name]


class OpenTable:
    """A table in memory, held up by its shell."""

    def __init__(self, shell: Shell, entries: dict[str, bytes]) -> None:
        self.shell, self.entries = shell, entries

    async def save(self, changes: Mapping[str, bytes | None]) -> None:
        await self.shell.hold.wait()
        for key, entry in changes.items():
            self.entries.pop(key, None)
            if entry is not None:
                self.entries[key] = entry
        self.shell.log.append(("save", dict(changes)))

    async def close(self) -> None:
        self.shell.log.append(("close", None))


class World:
    """One city, and agents that come and go."""

    def __init__(self, clock: str = "stream") -> None:
        self.stage = Stage(RULE, [square("a"), square("bay", "permit", east_m=15, side_m=6)])
        self.shell = Shell()
        self.clock = clock
        self.offsets: dict[str, int] = {}
        self.urgent: frozenset[str] = frozenset()

    async def agent(self) -> DetectorAgent:
        city: Any = SimpleNamespace(
            detector=lambda partition: self.stage.new(), centre="city", letters=Letters(), urgent_rules=self.urgent
        )
        settings: Any = SimpleNamespace(
            topic_prefix="zhinao", partitions=PARTITIONS, clock=self.clock, centre="city", store_every_s=1e9
        )
        shell: Any = self.shell
        agent = DetectorAgent(city, settings, shell, shell, shell, shell, Metrics())
        self.starts = await agent.assigned(ALL_MINE)
        return agent

    def chunk(self, topic: str, *records: Record) -> Chunk:
        """The next records of a topic."""
        first = self.offsets.get(topic, 0)
        self.offsets[topic] = first + len(records)
        return Chunk(
            TP(full_name(topic, "zhinao"), MINE), [r._replace(offset=first + n) for n, r in enumerate(records)]
        )


def tick(second: float) -> Record:
    return Record(0, at_ms(second), KEY, None, ((TICK_HEADER, b"%d" % at_ms(second)),))


def seen(second: float, key: bytes | None = KEY) -> Record:
    return Record(0, at_ms(second + 0.2), key, frame(second, car()).value, ())


async def stored(agent: DetectorAgent) -> None:
    await agent.held[MINE].saving.begin()
    await agent.held[MINE].saving.written()


def test_what_is_decided_is_sent_before_its_offset_is_stored() -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", *(seen(t) for t in range(130))))
        await stored(agent)
        names = world.shell.names()
        assert names == ["detections", "save", "stored"]
        assert world.shell.log[-1] == ("stored", (full_name("camera.tracks", "zhinao"), 130))
        again = await world.agent()
        assert world.starts == {TP(full_name("camera.tracks", "zhinao"), MINE): 130}
        await again.take(world.chunk("camera.tracks", tick(200)))
        kinds = [orjson.loads(m.value)["kind"] for name, m in world.shell.log if name == "detections"]
        assert kinds == ["raised", "unknown"]

    asyncio.run(play())


def test_what_came_while_a_save_was_under_way_is_in_the_next_one() -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        world.shell.hold.clear()
        await agent.take(world.chunk("camera.tracks", seen(1)))
        await agent.held[MINE].saving.begin()
        await agent.take(world.chunk("camera.tracks", seen(2)))
        await agent.held[MINE].saving.begin()
        world.shell.hold.set()
        await agent.revoked(ALL_MINE)
        saves = [orjson.loads(changes["camera.tracks/at"])["offset"] for changes in world.shell.all("save")]
        assert saves == [1, 2]
        assert world.shell.names()[-1] == "close"

    asyncio.run(play())


@pytest.mark.parametrize("first", [True, False])
def test_strays_at_the_border_of_a_chunk_are_dead_letters_and_the_rest_is_used(first: bool) -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        strays = [seen(1, b"elsewhere"), seen(1, None)]
        assert partition_for(b"elsewhere", PARTITIONS) != MINE
        records = [*strays, seen(2), tick(3)] if first else [seen(2), tick(3), *strays]
        await agent.take(world.chunk("camera.tracks", *records))
        await agent.take(world.chunk("camera.tracks", *strays))
        letters = [orjson.loads(m.value) for name, m in world.shell.log if name == "dead-letters"]
        offsets = [0, 1, 4, 5] if first else [2, 3, 4, 5]
        assert [(x["reason"], x["offset"]) for x in letters] == [("wrong_partition", at) for at in offsets]
        assert agent.counts["filtered"] + agent.counts["used"] == 1
        assert agent.held[MINE].next_offset == {"camera.tracks": 6}

    asyncio.run(play())


def test_after_a_restart_the_last_second_was_never_told_to_the_desk() -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        for topic in DETECTOR_TOPICS[:-1]:
            await agent.take(world.chunk(topic, tick(60)))
        await stored(agent)
        agent = await world.agent()
        await agent.take(world.chunk(DETECTOR_TOPICS[-1], tick(60)))
        assert world.shell.log[-1] == ("tick", at_ms(60) * 1000)

    asyncio.run(play())


def test_a_clock_record_out_of_order_took_the_clock_back() -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", tick(60)))
        await agent.take(world.chunk("camera.tracks", tick(59)))
        for topic in DETECTOR_TOPICS:
            if topic != "camera.tracks":
                await agent.take(world.chunk(topic, tick(60), tick(60)))
        assert [at for name, at in world.shell.log if name == "tick"] == [at_ms(60) * 1000]

    asyncio.run(play())


def test_a_partition_that_went_while_the_clock_was_told_stopped_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", *(seen(t) for t in range(122))))
        await agent.tick()  # it has just begun: what the broker says must be newer than that
        world.shell.time_s = 1.5
        await agent.tick()
        world.shell.time_s = 2.25
        monkeypatch.setattr(agent.clock, "now_us", lambda: at_ms(2e9) * 1000)
        world.shell.hold_sends.clear()
        ticking = asyncio.create_task(agent.tick())
        await asyncio.sleep(0)
        await agent.assigned(frozenset())
        world.shell.hold_sends.set()
        await ticking
        assert agent.held == {}

    asyncio.run(play())


def test_under_the_wall_clock_a_recordings_clock_says_nothing() -> None:
    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", seen(1), tick(1000), seen(2)))
        assert agent.counts["used"] == 2
        assert "tick" not in world.shell.names()

    asyncio.run(play())


def test_a_save_holds_the_lanes_that_changed_and_no_others() -> None:
    async def play() -> None:
        world = World()
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", seen(1)))
        await stored(agent)
        await agent.take(world.chunk("sensor.readings", tick(1)))
        await stored(agent)
        lanes = [{key.partition("/")[0] for key in changes} for changes in world.shell.all("save")]
        assert lanes == [{"camera.tracks"}, {"sensor.readings"}]
        assert world.shell.all("stored") == [
            (full_name("camera.tracks", "zhinao"), 1),
            (full_name("sensor.readings", "zhinao"), 1),
        ]

    asyncio.run(play())


class Failing:
    """Has a Detector fail on the sighting of one second, as a mistake of ours would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, second: float) -> None:
        self.fed: list[int] = []
        bad, feed = seen(second).value, Detector.feed

        def failing(detector: Detector, topic: str, records: Any) -> Any:
            self.fed.append(len(records))
            if bad in [record.value for record in records]:
                raise ZeroDivisionError
            return feed(detector, topic, records)

        monkeypatch.setattr(Detector, "feed", failing)


def test_a_record_the_core_fails_on_costs_two_restarts_and_that_record(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        failing, world = Failing(monkeypatch, 70), World()
        sent = world.chunk("camera.tracks", *(seen(t) for t in range(122)))
        for _ in range(2):
            agent = await world.agent()
            with pytest.raises(ZeroDivisionError):
                await agent.take(sent)
        assert failing.fed == [122, *[1] * 71]
        agent = await world.agent()
        await agent.take(sent)
        (letter,) = [orjson.loads(m.value) for m in world.shell.all("dead-letters")]
        assert (letter["reason"], letter["offset"], letter["stage"]) == ("internal", 70, "core")
        assert agent.counts["used"] == 121
        await agent.take(world.chunk("camera.tracks", tick(130)))
        assert [orjson.loads(m.value)["kind"] for m in world.shell.all("detections")] == ["raised"]
        await stored(agent)
        assert "camera.tracks/suspects" not in world.shell.tables[f"detector/{MINE}"]

    asyncio.run(play())


@pytest.mark.parametrize(("clock", "topic"), [("wall", "detections.urgent"), ("stream", "detections")])
def test_what_urgent_rules_tell_has_a_topic_of_its_own_under_the_wall_clock(clock: str, topic: str) -> None:
    async def play() -> None:
        world = World(clock)
        world.urgent = frozenset({"parked"})
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", *(seen(t) for t in range(130))))
        told = [m for name, m in world.shell.log if name.startswith("detections")]
        assert [m.topic for m in told] == [topic]
        assert orjson.loads(told[0].value)["rule"] == "parked"

    asyncio.run(play())


def test_a_lane_whose_letters_wait_is_not_stored_and_the_others_are() -> None:
    async def play() -> None:
        world = World()
        world.shell.hold_letters = True
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", seen(1), seen(2, None)))
        await agent.take(world.chunk("sensor.readings", tick(1)))
        await stored(agent)
        assert world.shell.all("stored") == [(full_name("sensor.readings", "zhinao"), 1)]
        await stored(agent)
        assert len(world.shell.all("save")) == 1  # nothing else may be stored yet
        world.shell.held_letters.clear()
        await stored(agent)
        assert world.shell.all("stored")[1:] == [(full_name("camera.tracks", "zhinao"), 2)]

    asyncio.run(play())


async def second(world: World, agent: DetectorAgent, at_s: float) -> None:
    world.shell.time_s = at_s
    await agent.tick()


def test_what_arrived_while_the_worker_stood_still_is_not_late() -> None:
    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        for at_s in range(10):
            await agent.take(world.chunk("camera.tracks", seen(at_s)))
            await second(world, agent, at_s + 0.9)
        watermark_us = agent.held[MINE].detector.watermark_us("camera.tracks")
        for ahead_s in (0.0, 0.25, 0.5):  # it was frozen for a minute, and the clock comes first
            await second(world, agent, 70 + ahead_s)
        assert agent.held[MINE].detector.watermark_us("camera.tracks") == watermark_us
        await agent.take(world.chunk("camera.tracks", *(seen(at_s) for at_s in range(10, 70))))
        assert (agent.counts["late"], agent.counts["used"]) == (0, 70)
        for ahead_s in (1.0, 1.25):
            await second(world, agent, 70 + ahead_s)
        assert agent.held[MINE].detector.watermark_us("camera.tracks") > watermark_us

    asyncio.run(play())


def test_a_broker_that_does_not_answer_says_nothing_about_what_has_arrived() -> None:
    async def play() -> None:
        world = World("wall")
        agent = await world.agent()
        await agent.take(world.chunk("camera.tracks", seen(1)))
        await second(world, agent, 1)
        world.shell.empty_since = 5.0
        before_us = agent.held[MINE].detector.watermark_us("camera.tracks")
        for at_s in range(2, 20):
            await second(world, agent, at_s / 2)
        assert agent.held[MINE].detector.watermark_us("camera.tracks") == before_us
        world.shell.empty_since = 0.5  # and half a second ago there was no more
        await second(world, agent, 10)
        lateness_us = 2_000_000
        assert agent.held[MINE].detector.watermark_us("camera.tracks") == at_ms(9.5) * 1000 - lateness_us

    asyncio.run(play())
