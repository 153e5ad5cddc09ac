"""The Desk's agent with a real Desk, journal and store, without a broker: what a restart finds, and what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import orjson
import pytest

from models.streams import DESK_TOPICS, URGENT_DETECTIONS
from rules.incidents.desk import Desk
from streams.agents.desk import DeskAgent
from streams.city import City
from streams.journal import FileJournal
from streams.metrics import Metrics
from streams.publishing import CENTRE_PARTITION, Message
from streams.settings import Settings
from streams.store import FileStore
from streams.topics import full_name
from streams.transport import TP, Chunk, Record
from tests.poison import world
from tests.streams.test_agents import Shell

TICKETS = "hotline.tickets"
MINE = frozenset(TP(full_name(name, "zhinao"), CENTRE_PARTITION) for name in (*DESK_TOPICS, URGENT_DETECTIONS))
TP_TICKETS = TP(full_name(TICKETS, "zhinao"), CENTRE_PARTITION)


@pytest.fixture(scope="module")
def city() -> City:
    return world.city()


class Office(Shell):
    """A shell that also says where it is, and desks that come and go in it."""

    def __init__(self, city: City, folder: Path) -> None:
        super().__init__()
        self.city, self.folder, self.assigned = city, folder, MINE
        self.journals: list[FileJournal] = []
        self.stores: list[FileStore] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for journal in self.journals:
            await journal.close()
        for store in self.stores:
            await store.close()

    async def send(self, messages: Sequence[Message], *, epoch: int = 0, seq: int = 0) -> None:
        self.log += [(m.topic, (m, epoch, seq)) for m in messages]

    def position(self, tp: TP) -> int:
        return 1000

    def now_us(self) -> int:
        return world.at_ms(60) * 1000

    def machine_us(self) -> int:
        return self.now_us()

    async def desk(self, clock: Literal["wall", "stream"] = "wall") -> DeskAgent:
        """The next worker's; the one before is gone without a word, as after a kill."""
        for journal in self.journals:
            await journal.close()
        shell: Any = self
        settings = Settings.read(store_every_s=300.0, clock=clock)

        async def open_journal(partition: int) -> FileJournal:
            self.journals.append(await FileJournal.open(self.folder / "journal", sync=False))
            return self.journals[-1]

        self.stores.append(FileStore(self.folder / "store"))
        agent = DeskAgent(self.city, settings, shell, shell, self.stores[-1], shell, Metrics(), open_journal)
        self.starts = await agent.assigned(MINE)
        return agent

    def told(self, topic: str) -> dict[str, Any]:
        """What was published, each id once."""
        messages = [said if isinstance(said, Message) else said[0] for said in self.all(topic)]
        return {message.id: orjson.loads(message.value) for message in messages}


def tickets(*seconds: float) -> Chunk:
    records = [world.good(TICKETS, second, offset) for offset, second in enumerate(seconds)]
    return Chunk(TP_TICKETS, [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records])


async def stored(agent: DeskAgent) -> None:
    await agent.saving.begin()
    await agent.saving.written()


def test_a_desk_that_is_killed_goes_on_from_its_table_and_its_journal(city: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.take(tickets(1, 2))
            await stored(agent)
            await agent.take(Chunk(TP_TICKETS, tickets(1, 2, 3, 4).records[2:]))
            assert agent.opened is not None
            before, told = agent.opened.desk.snapshot(), office.told("incidents")
            agent = await office.desk()
            assert agent.opened is not None
            assert agent.opened.desk.snapshot() == before
            assert office.starts[TP_TICKETS] == 4
            assert office.told("incidents") == told  # said again, of a higher epoch
            assert len({epoch for _, epoch, _ in office.all("incidents")}) == 2
            assert office.all("stored") == [(TP_TICKETS.topic, 2)]

    asyncio.run(play())


def test_a_ticket_the_desk_fails_on_costs_two_restarts_and_that_ticket(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Desk.feed
    bad = world.good(TICKETS, 3).value

    def failing(desk: Desk, topic: str, records: Any) -> Any:
        if bad in [record.value for record in records]:
            raise ZeroDivisionError
        return feed(desk, topic, records)

    async def play() -> None:
        async with Office(city, tmp_path / "plain") as plain:
            await (await plain.desk()).take(tickets(1, 2, 4, 5))
        async with Office(city, tmp_path / "failing") as office:
            await fail(office, plain)

    async def fail(office: Office, plain: Office) -> None:
        monkeypatch.setattr(Desk, "feed", failing)
        agent = await office.desk()
        with pytest.raises(ZeroDivisionError):
            await agent.take(tickets(1, 2, 3, 4, 5))
        with pytest.raises(ZeroDivisionError):  # while the journal is repeated: one by one
            await office.desk()
        agent = await office.desk()
        (letter,) = office.told("dead-letters").values()
        assert (letter["reason"], letter["offset"], letter["topic"]) == ("internal", 2, TICKETS)
        assert office.told("incidents").keys() == plain.told("incidents").keys()
        await stored(agent)
        agent = await office.desk()  # nothing is suspected any more, and nothing is repeated
        assert agent.opened is not None
        assert agent.opened.suspects == {}

    asyncio.run(play())


def test_letters_of_the_desk_that_wait_are_stored_with_it_and_wait_on_after_a_kill(city: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            office.hold_letters = True
            agent = await office.desk()
            poison = Record(0, world.at_ms(1), b"city", b"{", ())
            await agent.take(Chunk(TP_TICKETS, [poison, *tickets(0, 2).records[1:]]))
            await stored(agent)
            assert office.all("stored") == [(TP_TICKETS.topic, 2)]
            office.held_letters.clear()
            agent = await office.desk()  # killed: its table says what waited, the journal does not say it again
            assert len(office.all("dead-letters")) == 1
            assert office.all("post_kept") == [b"letters"]
            agent.saving.changed = True
            await stored(agent)
            await office.desk()
            assert len(office.all("post_kept")) == 1

    asyncio.run(play())


def test_two_steps_with_a_ticket_the_desk_fails_on_do_not_take_turns_for_ever(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, bad = Desk.feed, {world.good(TICKETS, second).value for second in (2, 5)}

    def failing(desk: Desk, topic: str, records: Any) -> Any:
        if bad.intersection(record.value for record in records):
            raise ZeroDivisionError
        return feed(desk, topic, records)

    async def play() -> None:
        async with Office(city, tmp_path) as office:
            lives, chunk = 0, tickets(1, 2, 3, 4, 5, 6)
            while True:
                lives += 1
                assert lives < 8
                try:
                    agent = await office.desk()
                    done = office.starts.get(TP_TICKETS, 0)
                    for first in range(done - done % 3, 6, 3):
                        await agent.take(Chunk(TP_TICKETS, chunk.records[first : first + 3]))
                    break
                except ZeroDivisionError:
                    pass
            assert {letter["offset"] for letter in office.told("dead-letters").values()} == {1, 4}

    monkeypatch.setattr(Desk, "feed", failing)
    asyncio.run(play())


def test_a_stray_is_let_go_when_its_letter_is_written_and_holds_nobody_up(city: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            elsewhere = TP(TP_TICKETS.topic, CENTRE_PARTITION + 1)
            office.assigned = MINE | {elsewhere}
            office.hold_letters = True
            agent = await office.desk()
            await agent.take(Chunk(elsewhere, tickets(1, 2).records))
            await agent.take(tickets(1))
            await agent.tick()
            assert office.all("stored") == []
            office.held_letters.clear()
            await agent.tick()
            assert (elsewhere.topic, 2) in office.all("stored")

    asyncio.run(play())


def test_no_step_is_done_between_the_last_save_and_the_end(city: City, tmp_path: Path) -> None:
    """It would be in the journal and not in the table: whoever comes after would say all of it again."""

    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.take(tickets(1, 2))
            journalled = agent.journalled

            async def ticking() -> None:
                for _ in range(50):
                    await agent.tick()
                    await asyncio.sleep(0)

            leaving = asyncio.create_task(agent.revoked(MINE))
            await asyncio.sleep(0)
            await asyncio.gather(leaving, ticking())
            again = await office.desk()
            assert again.journalled == journalled
            assert len({epoch for _, epoch, _ in office.all("incidents")}) == 1

    asyncio.run(play())


FEEDBACK = "dispatch.feedback"
TP_FEEDBACK = TP(full_name(FEEDBACK, "zhinao"), CENTRE_PARTITION)


def answers() -> Chunk:
    """One that waits for its time, and two bad ones, refused at once."""
    waits = orjson.dumps({"time": world.at_ms(600)})
    return Chunk(TP_FEEDBACK, [Record(n, 0, b"k", value, ()) for n, value in enumerate((waits, b"{", b"["))])


@pytest.mark.parametrize("orderly", [True, False])
def test_what_was_refused_beyond_an_answer_that_waits_is_not_refused_again_when_it_is_read_again(
    city: City, tmp_path: Path, orderly: bool
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk("stream")
            await agent.take(answers())
            await agent.pump()
            if orderly:
                await agent.revoked(MINE)
            said = 1 if orderly else 2  # after a kill the journal says it again
            for _ in range(2):
                agent = await office.desk("stream")
                assert office.starts[TP_FEEDBACK] == 0
                agent.accounts.entered(TP_FEEDBACK, [0, 1, 2], [0, 0, 0])
                await agent.take(answers())
                await agent.pump()
                assert len(office.all("dead-letters")) == 2 * said
                assert [offset for *_, offset, _ in agent.queues.answers] == [0]
                assert agent.accounts.in_flight() == 1
                await agent.revoked(MINE)

    asyncio.run(play())


def test_what_is_done_is_forgotten_when_its_topic_has_moved_past_it(city: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk("stream")
            await agent.take(answers())
            await agent.pump()
            assert agent.opened is not None
            assert agent.opened.beyond[FEEDBACK] == {1, 2}
            agent.opened.move({FEEDBACK: 2})
            assert agent.opened.beyond[FEEDBACK] == {2}

    asyncio.run(play())
