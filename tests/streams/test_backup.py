"""A backup holds all that matters, says when it is damaged, and comes back where nothing is."""

import asyncio
import json
import random
import stat
import subprocess
import sys
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from streams import backup, topics
from streams.agents import desk
from streams.agents.queues import Part, Step
from streams.archive import ArchiveError, ArchiveReader, ArchiveWriter
from streams.backup import FilePlace, Place, TopicPlace, back_up
from streams.commands.group import zhinao
from streams.journal import FileJournal, JournalError, TopicJournal
from streams.producer import Outgoing, Producer
from streams.settings import Settings
from streams.topics import full_name
from tests.conftest import REPOSITORY
from tests.streams import saver

BIG = random.Random(1).randbytes(1_200_000)
LANE = {"camera.tracks/rest": BIG, "camera.tracks/zone/平湖": b"a lane", "camera.tracks/at": b'{"offset": 41}'}


def step_of(number: int) -> bytes:
    """A step as the Desk writes them, which names offsets of its broker."""
    part = Part([("hotline.tickets", [(number, 1_700_000_000_000 + number, b"pinghu", b"{}", [])])], number)
    return msgspec.msgpack.encode(Step([part], {"hotline.tickets": number + 1}))


async def fill(place: Place, journal: Any) -> None:
    """What a worker leaves: three steps of the Desk behind its table, two after it."""
    positions = [await journal.append(step_of(number)) for number in range(5)]
    table, _ = await place.store.open("detector/2")
    await table.save(LANE)
    table, _ = await place.store.open("desk/0")
    meta = desk.Meta(positions[3], {"hotline.tickets": 3})
    await table.save({"incident/1": b"open", "rest": b"", desk.META: msgspec.json.encode(meta)})
    await place.store.close()


async def fill_files(settings: Settings) -> None:
    journal = await FileJournal.open(settings.state_dir / "journal-0", after=6)
    await fill(FilePlace(settings), journal)
    await journal.close()


async def fill_topics(settings: Settings) -> None:
    assert settings.servers is not None
    async with Producer(settings.servers) as producer:
        name = full_name("desk.journal", settings.topic_prefix)
        await fill(
            TopicPlace(settings, settings.servers),
            await TopicJournal.open(settings.servers, name, 0, producer, after=6),
        )
        state = full_name("incidents.state", settings.topic_prefix)
        headers = (("ce_epoch", b"7"), ("ce_seq", b"3"))
        await producer.send_batch(
            [
                Outgoing(state, b"draft", b"i-1", headers, 1, 1_700_000_000_000),
                Outgoing(state, b"final", b"i-1", headers, 1, 1_700_000_000_001),
                Outgoing(state, b"gone", b"i-2", headers, 1),
                Outgoing(state, None, b"i-2", headers, 1),
            ]
        )


def run(work: Awaitable[Any]) -> Any:
    return asyncio.run(work)  # type: ignore[arg-type]


def files_at(folder: Path) -> Settings:
    return Settings.read(state_dir=folder / "state")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(zhinao, [str(argument) for argument in arguments], prog_name="zhinao")


async def everything(place: Place) -> tuple[dict[str, dict[str, bytes]], list[bytes], int]:
    """Tables, the journal's steps, and its epoch."""
    tables = {name: await place.store.read(name) for name in await place.store.names()}
    kept = await place.peek(0, 0)
    return tables, [step for _, step in kept.steps], kept.epoch


def check_it_is_back(place: Place) -> None:
    """The tables without offsets; the two steps after the Desk's table, without theirs; an epoch above all before."""
    tables, steps, epoch = run(everything(place))
    assert tables == {
        "detector/2": {key: value for key, value in LANE.items() if not key.endswith("/at")},
        "desk/0": {"incident/1": b"open", "rest": b""},
    }
    assert [desk.STEP.decode(step) for step in steps] == [
        desk.STEP.decode(step_of(number))._replace(offsets={}) for number in (3, 4)
    ]
    assert epoch > 7


# --------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Settings with a state folder of that name, for this process and for the commands."""
    monkeypatch.delenv("KAFKA_URL", raising=False)

    def at(name: str) -> Settings:
        monkeypatch.setenv("ZHINAO_STATE_DIR", str(tmp_path / name / "state"))
        return files_at(tmp_path / name)

    return at


def test_a_backup_of_files_comes_back_elsewhere(tmp_path: Path, embedded: Callable[[str], Settings]) -> None:
    run(fill_files(embedded("here")))
    file = tmp_path / "city.backup"
    made = command("backup", file)
    assert made.exit_code == 0, made.output
    assert "2 tables with 6 entries, 2 steps of the journal, 0 records of outputs" in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    there = embedded("there")
    back = command("restore", file, "--files", tmp_path / "city")
    assert (back.exit_code, back.stderr) == (0, "")
    check_it_is_back(FilePlace(there))
    shipped = Settings.read()
    named = dict(line.split("=", 1) for line in back.stdout.splitlines()[1:])
    assert set(named) == {"ZHINAO_RULES", "ZHINAO_ZONES", "ZHINAO_REGISTRY", "ZHINAO_TABLES"}
    for variable, root in (("ZHINAO_RULES", shipped.rules[0]), ("ZHINAO_TABLES", shipped.tables)):
        originals = {path.name: path.read_bytes() for path in root.glob("*.yaml")}
        assert originals
        assert {path.name: path.read_bytes() for path in Path(named[variable]).glob("*.yaml")} == originals


def test_nothing_is_ever_replaced(tmp_path: Path, embedded: Callable[[str], Settings]) -> None:
    here = embedded("here")
    run(fill_files(here))
    file = tmp_path / "city.backup"
    assert command("backup", file).exit_code == 0
    before = file.read_bytes()
    again = command("backup", file)
    assert again.exit_code == 2
    assert "exists" in again.stderr
    refused = command("restore", file)
    assert refused.exit_code == 2
    assert str(here.state_dir / "store" / "desk/0") in refused.stderr
    assert str(here.state_dir / "journal-0") in refused.stderr
    (tmp_path / "city").mkdir()
    (tmp_path / "city" / "mine").touch()
    there = embedded("there")
    refused = command("restore", file, "--files", tmp_path / "city")
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
    assert not there.state_dir.exists()
    assert file.read_bytes() == before


def test_another_token_key_is_told(
    tmp_path: Path, embedded: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fill_files(embedded("here")))
    assert command("backup", tmp_path / "city.backup").exit_code == 0
    embedded("there")
    monkeypatch.setenv("ZHINAO_TOKEN_KEY", "another key of some length")
    back = command("restore", tmp_path / "city.backup")
    assert back.exit_code == 0
    assert "ZHINAO_TOKEN_KEY" in back.stderr


def test_the_desk_saves_while_it_is_backed_up(tmp_path: Path) -> None:
    """Between the reading of its table and of its journal the Desk saves and trims: both are read again."""
    settings = files_at(tmp_path)

    class Trimmed(FilePlace):
        reads = 0

        async def peek(self, partition: int, position: int) -> Any:
            self.reads += 1
            if self.reads == 1:
                raise JournalError("steps were trimmed")
            return await super().peek(partition, position)

    async def check() -> None:
        await fill_files(settings)
        place = Trimmed(settings)
        done = await back_up(tmp_path / "x", place, settings, "0")
        assert (done.steps, place.reads) == (2, 2)

    run(check())


@pytest.mark.parametrize("kind", ["files", pytest.param("topics", marks=pytest.mark.kafka)])
def test_a_backup_beside_a_worker_holds_one_whole_save(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "files":
        monkeypatch.delenv("KAFKA_URL", raising=False)
        settings = files_at(tmp_path)
        where = ["file", str(settings.state_dir / "store")]
    else:
        settings = kafka_settings(request.getfixturevalue("kafka"), unique_prefix, monkeypatch, make=True)
        where = ["topic", str(settings.servers), full_name("state", unique_prefix)]
    command_line = [sys.executable, "-m", "tests.streams.saver", *where]
    with subprocess.Popen(command_line, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            last = [worker.stdout.readline() for _ in range(3)][-1]
            for number in range(4):
                file = tmp_path / f"backup-{number}"
                run(back_up(file, backup.place_of(settings), settings, "0"))
                with ArchiveReader(file) as archive:
                    entries = dict(archive.records(f"tables/{saver.NAME}", tuple[str, bytes]))
                found = saver.number_of(entries)
                assert found >= int(last)
            assert worker.poll() is None
            assert found > int(last)  # it went on saving meanwhile
        finally:
            worker.kill()


# ---------------------------------------------------------------------------------------------------------------- kafka


def kafka_settings(kafka: Any, prefix: str, monkeypatch: pytest.MonkeyPatch, *, make: bool) -> Settings:
    monkeypatch.setenv("KAFKA_URL", f"kafka://{kafka.bootstrap}")
    monkeypatch.setenv("ZHINAO_TOPIC_PREFIX", prefix)
    if make:
        topics.create(kafka.bootstrap, prefix, 4)
    return Settings.read()


def test_a_backup_of_topics_comes_back_elsewhere(
    kafka: Any, unique_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = kafka_settings(kafka, f"{unique_prefix}here", monkeypatch, make=True)
    run(fill_topics(here))
    file = tmp_path / "city.backup"
    made = command("backup", file)
    assert made.exit_code == 0, made.output
    assert "2 tables with 6 entries, 2 steps of the journal, 1 records of outputs" in made.stdout
    refused = command("restore", file)
    assert refused.exit_code == 2
    for name in ("state", "desk.journal", "incidents.state"):
        assert full_name(name, here.topic_prefix) in refused.stderr
    there = kafka_settings(kafka, f"{unique_prefix}there", monkeypatch, make=False)
    back = command("restore", file)
    assert back.exit_code == 0, back.output
    place = TopicPlace(there, kafka.bootstrap)
    check_it_is_back(place)
    (state,) = run(place.outputs("incidents.state"))
    assert state == backup.OutputRecord(1, 1_700_000_000_001, b"i-1", b"final", [("ce_epoch", b"7"), ("ce_seq", b"3")])


def test_a_backup_of_files_comes_back_on_topics(
    kafka: Any,
    unique_prefix: str,
    tmp_path: Path,
    embedded: Callable[[str], Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(fill_files(embedded("here")))
    assert command("backup", tmp_path / "city.backup").exit_code == 0
    there = kafka_settings(kafka, f"{unique_prefix}there", monkeypatch, make=True)
    assert command("restore", tmp_path / "city.backup").exit_code == 0
    check_it_is_back(TopicPlace(there, kafka.bootstrap))


def test_other_partitions_are_refused(
    kafka: Any,
    unique_prefix: str,
    tmp_path: Path,
    embedded: Callable[[str], Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(fill_files(embedded("here")))
    assert command("backup", tmp_path / "city.backup").exit_code == 0
    monkeypatch.setenv("ZHINAO_PARTITIONS", "3")
    kafka_settings(kafka, f"{unique_prefix}there", monkeypatch, make=False)
    refused = command("restore", tmp_path / "city.backup")
    assert refused.exit_code == 2
    assert "ZHINAO_PARTITIONS=4" in refused.stderr


# -------------------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "small.backup"
    with ArchiveWriter(path) as writer:
        writer.add_records("tables/desk/0", [("key", b"value" * 100), ("other", BIG[:5000])])
        writer.add_records("outputs/incidents.state", [])
        writer.finish({"made": "now"})
    return path


def test_the_manifest_comes_first_and_says_what_follows(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        first = tar.next()
        assert first is not None
        text = tar.extractfile(first)
        assert text is not None
        manifest = json.load(text)
        assert first.name == "manifest.json"
        assert [member["name"] for member in manifest["members"]] == tar.getnames()[2:]
    with ArchiveReader(archive) as reader:
        assert reader.names("tables") == ["tables/desk/0"]
        found = list(reader.records("tables/desk/0", tuple[str, bytes]))
        assert found == [("key", b"value" * 100), ("other", BIG[:5000])]
        assert list(reader.records("outputs/incidents.state", tuple[str, bytes])) == []


def test_damage_names_the_member(archive: Path) -> None:
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        places = {member.name: member.offset_data for member in tar if member.size}
    assert len(places) == 4
    for name, at in places.items():
        data = bytearray(whole)
        data[at + 3] ^= 4
        archive.write_bytes(data)
        with pytest.raises(ArchiveError) as told, ArchiveReader(archive):
            pass
        assert name.removesuffix(".sha256") in str(told.value)


def test_a_backup_that_was_cut_off_is_never_taken_for_whole(archive: Path) -> None:
    whole = archive.read_bytes()
    content = whole.rstrip(b"\0")
    for size in (0, 100, 512, 1500, 2500, len(content) - 600, len(content) - 1):
        archive.write_bytes(whole[:size])
        with pytest.raises(ArchiveError, match=r"small\.backup"), ArchiveReader(archive):
            pass


def test_any_changed_byte_is_seen_or_does_not_matter(archive: Path) -> None:
    whole, chance, seen = archive.read_bytes(), random.Random(2), 0
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(whole.rstrip(b"\0")))] ^= 1 << chance.randrange(8)
        archive.write_bytes(data)
        try:
            with ArchiveReader(archive) as reader:
                found = list(reader.records("tables/desk/0", tuple[str, bytes]))
        except ArchiveError:
            seen += 1
        else:
            assert found == [("key", b"value" * 100), ("other", BIG[:5000])]
    assert seen > 150


def test_what_is_no_backup_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"something else")
    refused = command("restore", path)
    assert refused.exit_code == 2
    assert f"{path} is no backup of ours" in refused.stderr


def test_a_backup_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def records() -> Any:
        yield "one"
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError), ArchiveWriter(tmp_path / "x") as writer:
        writer.add_records("tables/desk/0", records())
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_the_same_file_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with ArchiveWriter(path) as writer:
        path.write_bytes(b"another was quicker")
        with pytest.raises(ArchiveError, match="exists by now"):
            writer.finish({})
    assert path.read_bytes() == b"another was quicker"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.write_text("x")
    with ArchiveWriter(tmp_path / "x") as writer:
        writer.add_file("city/../../evil", evil)
        with pytest.raises(ArchiveError, match="leads elsewhere"):
            writer.finish({})
