"""The Desk's agent under bundles that change: the journal says which one decided, and a restart repeats with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from models.detections import Detection
from rules.incidents.desk import Desk
from streams.agents.desk import BUNDLE, BUNDLES, SHADOW, STEP, TABLE, DeskAgent
from streams.bundle import Files
from streams.city import City, city_of
from streams.journal import JournalError
from streams.publishing import CENTRE_PARTITION
from streams.settings import Settings
from streams.topics import full_name
from streams.transport import TP, Chunk, Record
from tests.poison import world
from tests.streams.test_desk_agent import Office, stored, tickets

TOLD = TP(full_name("detections", "zhinao"), CENTRE_PARTITION)


def edited(city: City, old: bytes, new: bytes) -> City:
    """The same city with other words in its rules."""
    held = tuple(
        file._replace(data=file.data.replace(old, new)) if file.room == "rules" else file for file in city.files.held
    )
    assert held != city.files.held
    return city_of(Files(held), Settings.read())


@pytest.fixture(scope="module")
def city() -> City:
    return world.city()


@pytest.fixture(scope="module")
def other(city: City) -> City:
    """What is standing has another severity."""
    return edited(city, b'type: {code: "0505", severity: minor}', b'type: {code: "0505", severity: major}')


@pytest.fixture(scope="module")
def on_trial(city: City) -> City:
    """The rule about what stands is on trial."""
    return edited(city, b'status: active\n    type: {code: "0505"', b'status: shadow\n    type: {code: "0505"')


def raised(*seconds: int, rule: str = "standing") -> Chunk:
    """Detections of things that began to stand, each elsewhere."""
    said = [world.body("detections", s) for s in seconds]
    far = [{**one, "rule": rule, "lon": one["lon"] + 0.01 * n} for n, one in enumerate(said)]
    return Chunk(
        TOLD,
        [
            Record(n, world.at_ms(s + 1), b"pinghu", orjson.dumps(one), ())
            for n, (s, one) in enumerate(zip(seconds, far, strict=True))
        ],
    )


def later(chunk: Chunk, first: int) -> Chunk:
    """The same records further on in the log."""
    return Chunk(chunk.tp, [record._replace(offset=first + n) for n, record in enumerate(chunk.records)])


def desk_of(agent: DeskAgent) -> Desk:
    assert agent.opened is not None
    return agent.opened.desk


def test_a_journal_from_before_there_were_bundles_can_be_read() -> None:
    step = STEP.decode(msgspec.msgpack.encode(([], {"detections": 7})))
    assert (step.parts, step.offsets, step.bundle) == ([], {"detections": 7}, "")


@pytest.mark.parametrize("kept", [True, False], ids=["stored after", "not stored after"])
def test_a_desk_that_is_killed_after_a_switch_repeats_each_step_with_its_bundle(
    city: City, other: City, tmp_path: Path, kept: bool
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.take(raised(1, 2))
            await agent.swap(other)
            await agent.take(later(raised(4, 5), 2))
            if kept:
                await stored(agent)
            before, told = desk_of(agent).snapshot(), office.told("incidents")
            office.city = other  # what the folders of the next worker hold
            agent = await office.desk()
            assert desk_of(agent).snapshot() == before
            assert office.told("incidents") == told
            assert agent.opened is not None
            assert agent.opened.bundle == other.files.digest

    asyncio.run(play())


def test_a_worker_with_the_older_files_repeats_with_the_newer_bundle_and_then_switches_back(
    city: City, other: City, tmp_path: Path
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.take(raised(1))
            await agent.swap(other)
            await agent.take(later(raised(2, 4), 1))
            told = office.told("incidents")
            before = len(office.all("incidents"))
            agent = await office.desk()  # its files are the old ones
            said = [message for message, *_ in office.all("incidents")[before:]]
            assert {m.id: orjson.loads(m.value) for m in said}.items() <= told.items()
            assert agent.opened is not None
            assert agent.opened.bundle == city.files.digest

    asyncio.run(play())


def test_the_table_keeps_the_bundles_that_the_journal_names_and_no_others(
    city: City, other: City, tmp_path: Path
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            for each in (other, city, other):
                await agent.swap(each)
            entries = await office.stores[-1].read(TABLE)
            assert {BUNDLES + city.files.digest, BUNDLES + other.files.digest} <= entries.keys()
            await agent.take(raised(1))
            await stored(agent)
            entries = await office.stores[-1].read(TABLE)
            assert [name for name in entries if name.startswith(BUNDLES)] == [BUNDLES + other.files.digest]
            assert entries[BUNDLE].decode() == other.files.digest

    asyncio.run(play())


def test_a_bundle_that_is_gone_stops_the_start_with_its_name(city: City, other: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.swap(other)
            assert agent.opened is not None
            await agent.opened.table.save({BUNDLES + other.files.digest: None})
            with pytest.raises(JournalError, match=other.files.digest[:8]):
                await office.desk()
            office.city = other
            await office.desk()  # its files are there again

    asyncio.run(play())


def test_the_same_bundle_again_is_no_step(city: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            before = agent.journalled
            await agent.swap(replace(city))
            assert agent.journalled == before

    asyncio.run(play())


def test_open_incidents_go_on_under_the_new_bundle_with_their_revisions(
    city: City, other: City, tmp_path: Path
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path) as office:
            agent = await office.desk()
            await agent.take(raised(1))
            before = desk_of(agent).snapshot()
            await agent.swap(other)
            assert desk_of(agent).snapshot() == before
            cleared = [detection_of(raised(1).records[0], kind="cleared")]
            await agent.take(Chunk(TOLD, [Record(1, world.at_ms(9), b"pinghu", cleared[0], ())]))
            revisions = [orjson.loads(m.value)["revision"] for m, *_ in office.all("incidents")]
            assert revisions == sorted(set(revisions))
            assert len(revisions) > 1

    asyncio.run(play())


def detection_of(record: Record, **other: Any) -> bytes:
    assert record.value is not None
    return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(record.value, type=Detection), **other))


def test_a_rule_on_trial_tells_what_it_would_have_made_and_nothing_else(
    city: City, on_trial: City, tmp_path: Path
) -> None:
    async def play() -> None:
        async with Office(city, tmp_path / "active") as active:
            await (await active.desk()).take(raised(1, 2))
        async with Office(on_trial, tmp_path / "trial") as trial:
            agent = await trial.desk()
            await agent.take(raised(1, 2))
            assert {topic for topic in trial.names() if topic not in ("save", "stored")} == {"incidents.shadow"}
            shadows = {one["incident_id"]: one for one in trial.told("incidents.shadow").values()}
            assert shadows.keys() == {one["incident_id"] for one in active.told("incidents").values()}
            assert {(one["state"], one["order_id"], one["rule"]) for one in shadows.values()} == {
                ("confirmed", None, "standing")
            }
            assert desk_of(agent).open_incidents == 0
            assert active.told("dispatch.orders")

    asyncio.run(play())


def test_rules_on_trial_do_not_touch_what_the_others_make(city: City, on_trial: City, tmp_path: Path) -> None:
    steps = [raised(1, 2), later(raised(4, rule="slow"), 2), tickets(1, 2)]

    async def told(of: City, folder: Path) -> dict[str, Any]:
        async with Office(of, folder) as office:
            agent = await office.desk()
            for chunk in steps:
                await agent.take(chunk)
            return {k: v for k, v in office.told("incidents").items() if v["rule"] != "standing"}

    async def play() -> None:
        assert await told(city, tmp_path / "a") == await told(on_trial, tmp_path / "b") != {}

    asyncio.run(play())


def test_what_rules_on_trial_remember_is_stored_and_goes_with_them(city: City, on_trial: City, tmp_path: Path) -> None:
    async def play() -> None:
        async with Office(on_trial, tmp_path) as office:
            agent = await office.desk()
            await agent.take(raised(1))
            await stored(agent)
            agent = await office.desk()
            assert agent.opened is not None
            assert agent.opened.shadow is not None
            assert agent.opened.shadow.desk.open_incidents == 1
            await agent.take(later(raised(1), 1))  # told already
            assert len(office.told("incidents.shadow")) == len(office.all("incidents.shadow"))
            await agent.swap(city)
            agent.saving.changed = True
            await stored(agent)
            entries = await office.stores[-1].read(TABLE)
            assert not [name for name in entries if name.startswith(SHADOW)]

    asyncio.run(play())


def test_a_rule_on_trial_that_fails_stops_the_trial_and_nobody_else(
    on_trial: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with Office(on_trial, tmp_path) as office:
            agent = await office.desk()
            assert agent.opened is not None
            assert agent.opened.shadow is not None

            def failing(*_: object) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(agent.opened.shadow.desk, "feed", failing)
            await agent.take(raised(1, rule="slow"))
            await agent.take(later(raised(2, rule="slow"), 1))
            assert len(office.told("incidents")) >= 2
            assert office.all("incidents.shadow") == []

    asyncio.run(play())
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1
