"""A backup of a city: what it decided and what it remembers, in one file (streams.archive), and back again.

In this order, beside a running worker or without one:

* `tables/detector/N`: each Detector's table, as its last save left it;
* `tables/desk/N` and `journal/N`: the Desk's table, and every step of its journal from where that table is. Together
  they are the Desk as it was when the journal was read: later than the Detectors, so what they told is in it;
* `outputs/TOPIC`: the last record of each key on the compacted outputs, no older than the Desk;
* `city/…`: rules, zones, registry and tables, as the settings name them.

What had arrived and was not yet taken by a Detector or the Desk is in no backup, nor are the streams themselves.
Offsets mean nothing on another broker: they are left out when it is put back. Of plates, phones and faces it holds
tokens, never more; the key they were made with is not in it, a mark that tells it from others is.
"""

import asyncio
import hmac
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from streams import topics
from streams.agents import desk, detectors
from streams.archive import ArchiveReader, ArchiveWriter, Manifest
from streams.journal import FileJournal, JournalError, Kept, TopicJournal
from streams.producer import Outgoing, Producer
from streams.settings import Settings, client_options
from streams.store import FileStore, Store, partition_of, read_partition
from streams.topic_store import TopicStore
from streams.topics import TOPICS, Role, full_name

OUTPUTS = tuple(spec.name for spec in TOPICS.values() if spec.role is Role.OUTPUT and spec.compacted)
# The Desk may save, and drop the steps before, between our reading its table and its journal.
DESK_ATTEMPTS = 10
SEND_AT_ONCE = 500


class BackupError(Exception):
    """It cannot be put back here; the message says what is in the way."""


class OutputRecord(NamedTuple):
    """A record of a compacted output."""

    partition: int
    timestamp_ms: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class About(msgspec.Struct, frozen=True):
    """What the manifest says of a backup. `epochs` are those of the journals, by partition."""

    version: str
    made: str
    prefix: str
    partitions: int
    centre: str
    kept_in: str
    token_key: str
    topics: list[str]
    epochs: dict[str, int]


class Summary(NamedTuple):
    """What went over."""

    tables: int
    entries: int
    steps: int
    outputs: int
    files: int


class Place(Protocol):
    """Where a city keeps what it knows."""

    kept_in: str
    store: Store

    async def journals(self) -> list[int]:
        """Partitions that may have a journal."""
        ...

    async def peek(self, partition: int, position: int) -> Kept: ...

    async def append(self, partition: int, epoch: int, steps: Iterable[bytes]) -> None:
        """Begin a journal with these."""
        ...

    async def outputs(self, topic: str) -> list[OutputRecord]: ...

    async def send(self, topic: str, records: Iterable[OutputRecord]) -> int: ...

    async def held(self) -> list[str]:
        """What is there already, in words."""
        ...

    async def prepare(self) -> None:
        """Make what is missing. Raises `BackupError` if it cannot be used."""
        ...


class FilePlace:
    """Beside the embedded broker, which keeps nothing: its outputs are published again."""

    kept_in = "files"

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.state_dir
        self.store: Store = FileStore(self._folder / "store")

    async def journals(self) -> list[int]:
        return sorted(int(path.name.removeprefix("journal-")) for path in self._folder.glob("journal-*"))

    async def peek(self, partition: int, position: int) -> Kept:
        return await FileJournal.peek(self._journal(partition), position)

    async def append(self, partition: int, epoch: int, steps: Iterable[bytes]) -> None:
        journal = await FileJournal.open(self._journal(partition), after=epoch)
        try:
            for step in steps:
                await journal.append(step)
        finally:
            await journal.close()

    async def outputs(self, topic: str) -> list[OutputRecord]:
        return []

    async def send(self, topic: str, records: Iterable[OutputRecord]) -> int:
        return 0

    async def held(self) -> list[str]:
        tables = [f"{self._folder / 'store' / name}" for name in await self.store.names()]
        return tables + [str(self._journal(partition)) for partition in await self.journals()]

    async def prepare(self) -> None:
        """Files are made as they are written."""

    def _journal(self, partition: int) -> Path:
        return self._folder / f"journal-{partition}"


class TopicPlace:
    """On the topics of a real Kafka."""

    kept_in = "topics"

    def __init__(self, settings: Settings, servers: str, *, replication: int | None = None) -> None:
        self._servers, self._prefix, self._partitions = servers, settings.topic_prefix, settings.partitions
        self._options, self._replication = client_options(settings), replication
        self.store: Store = TopicStore(servers, self._full("state"), options=self._options)

    async def journals(self) -> list[int]:
        return list(range(self._partitions))

    async def peek(self, partition: int, position: int) -> Kept:
        producer = Producer(self._servers, options=self._options)  # nothing is sent
        journal = TopicJournal(self._servers, self._full("desk.journal"), partition, producer, options=self._options)
        return await journal.peek(position)

    async def append(self, partition: int, epoch: int, steps: Iterable[bytes]) -> None:
        async with Producer(self._servers, options=self._options) as producer:
            journal = await TopicJournal.open(
                self._servers, self._full("desk.journal"), partition, producer, options=self._options, after=epoch
            )
            for step in steps:
                await journal.append(step)

    async def outputs(self, topic: str) -> list[OutputRecord]:
        kept = []
        for partition in range(self._partitions):
            last: dict[bytes, Any] = {}
            async for record in read_partition(self._servers, self._full(topic), partition, 0, self._options):
                last.pop(record.key, None)
                last[record.key] = record
            kept += [
                OutputRecord(partition, record.timestamp, key, record.value, [(k, v or b"") for k, v in record.headers])
                for key, record in last.items()
                if record.value is not None
            ]
        return kept

    async def send(self, topic: str, records: Iterable[OutputRecord]) -> int:
        outgoing = [
            Outgoing(self._full(topic), r.value, r.key, tuple(r.headers), r.partition, r.timestamp_ms) for r in records
        ]
        async with Producer(self._servers, options=self._options) as producer:
            for at in range(0, len(outgoing), SEND_AT_ONCE):
                await producer.send_batch(outgoing[at : at + SEND_AT_ONCE])
        return len(outgoing)

    async def held(self) -> list[str]:
        return await asyncio.to_thread(self._not_empty)

    async def prepare(self) -> None:
        await asyncio.to_thread(self._make_topics)

    def _full(self, topic: str) -> str:
        return full_name(topic, self._prefix)

    def _not_empty(self) -> list[str]:
        ours = set(topics.all_full_names(self._prefix))
        reader = KafkaConsumer(bootstrap_servers=self._servers.split(","), **self._options)
        try:
            parts = [
                TopicPartition(topic, partition)
                for topic in sorted(ours & set(reader.topics()))
                for partition in reader.partitions_for_topic(topic) or ()
            ]
            first, end = reader.beginning_offsets(parts), reader.end_offsets(parts)
        finally:
            reader.close()
        return sorted({tp.topic for tp in parts if end[tp] > first[tp]})

    def _make_topics(self) -> None:
        at, partitions = self._servers, self._partitions
        topics.create(at, self._prefix, partitions, replication=self._replication, options=self._options)
        found = topics.check(at, self._prefix, partitions, options=self._options)
        if wrong := [finding.message for finding in found if finding.severity == "error"]:
            raise BackupError("; ".join(wrong))


def place_of(settings: Settings, *, replication: int | None = None) -> Place:
    """Where these settings keep a city: as the worker does."""
    if settings.embedded or settings.servers is None:
        return FilePlace(settings)
    return TopicPlace(settings, settings.servers, replication=replication)


# ---------------------------------------------------------------------------------------------------------------- there


async def back_up(path: Path, place: Place, settings: Settings, version: str) -> Summary:
    """Write the backup. Raises `ArchiveError` if there is a file of that name, `StoreError` and `JournalError` for
    what cannot be read."""
    entries = steps = 0
    epochs: dict[str, int] = {}
    with ArchiveWriter(path) as archive:
        tables = await place.store.names()
        desks = sorted({*await place.journals(), *(partition_of(name) for name in tables if _is_desk(name))})
        for name in tables:
            if not _is_desk(name):
                entries += archive.add_records(f"tables/{name}", (await place.store.read(name)).items())
        for partition in desks:
            table, kept = await _desk(place, partition)
            if kept.epoch:
                epochs[str(partition)] = kept.epoch
                steps += archive.add_records(f"journal/{partition}", (step for _, step in kept.steps))
            if table:
                entries += archive.add_records(f"tables/desk/{partition}", table.items())
        outputs = 0
        for topic in OUTPUTS:
            outputs += archive.add_records(f"outputs/{topic}", await place.outputs(topic))
        files = list(_city_files(settings))
        for name, file in files:
            archive.add_file(f"city/{name}", file)
        archive.finish(msgspec.to_builtins(_about(settings, place, version, epochs)))
    return Summary(len(tables), entries, steps, outputs, len(files))


async def _desk(place: Place, partition: int) -> tuple[dict[str, bytes], Kept]:
    """A Desk's table, and the steps of its journal from where the table is."""
    for attempt in range(1, DESK_ATTEMPTS + 1):
        table = await place.store.read(f"desk/{partition}")
        try:
            return table, await place.peek(partition, _journalled(table))
        except JournalError:
            if attempt == DESK_ATTEMPTS:
                raise
    raise AssertionError("never comes here")


def _is_desk(name: str) -> bool:
    return name.startswith("desk/")


def _journalled(table: Mapping[str, bytes]) -> int:
    return msgspec.json.decode(table.get(desk.META, b"{}"), type=desk.Meta).journal


def _about(settings: Settings, place: Place, version: str, epochs: dict[str, int]) -> About:
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return About(
        version,
        made,
        settings.topic_prefix,
        settings.partitions,
        settings.centre,
        place.kept_in,
        _mark(settings),
        topics.all_full_names(settings.topic_prefix),
        epochs,
    )


def _mark(settings: Settings) -> str:
    """Tells one token key from another, and nothing of either."""
    return hmac.digest(settings.token_key.get_secret_value().encode(), b"zhinao backup", "sha256").hex()[:16]


def _city_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Name in the backup and file, for everything the settings name as the city's."""
    several = [("rules", settings.rules), ("zones", settings.zones)]
    roots = [(f"{kind}/{number}", root) for kind, paths in several for number, root in enumerate(paths)]
    for name, root in [*roots, ("registry", settings.registry), ("tables", settings.tables)]:
        if root.is_file():
            yield f"{name}/{root.name}", root
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and path.suffix != ".py" and not any(p.startswith((".", "__")) for p in inside.parts):
                yield f"{name}/{inside.as_posix()}", path


# ------------------------------------------------------------------------------------------------------------- and back


async def restore(archive: ArchiveReader, place: Place, settings: Settings) -> Summary:
    """Put a backup where nothing is. Raises `BackupError`, and nothing has changed, if something is."""
    about = about_of(archive.manifest)
    if about.partitions != settings.partitions:
        raise BackupError(
            f"the backup has {about.partitions} partitions, here are {settings.partitions}: "
            f"set ZHINAO_PARTITIONS={about.partitions}"
        )
    if held := await place.held():
        raise BackupError(f"a backup is put back where nothing is, and here is: {', '.join(held)}")
    await place.prepare()
    # The Desk last: until it is there a worker would not know of any incident.
    outputs = 0
    for topic in OUTPUTS:
        outputs += await place.send(topic, archive.records(f"outputs/{topic}", OutputRecord))
    steps = 0
    for partition, epoch in about.epochs.items():
        journal = [step_elsewhere(step) for step in archive.records(f"journal/{partition}", bytes)]
        await place.append(int(partition), epoch, journal)
        steps += len(journal)
    names = sorted((name.removeprefix("tables/") for name in archive.names("tables")), key=_is_desk)
    entries = 0
    for name in names:
        entries += await _put_back(place.store, name, dict(archive.records(f"tables/{name}", tuple[str, bytes])))
    return Summary(len(names), entries, steps, outputs, 0)


async def _put_back(store: Store, name: str, entries: dict[str, bytes]) -> int:
    table, _ = await store.open(name)
    try:
        wanted = elsewhere(name, entries)
        await table.save(wanted)
        return len(wanted)
    finally:
        await table.close()


def about_of(manifest: Manifest) -> About:
    """What a manifest says."""
    return msgspec.convert(manifest.about, About)


def same_token_key(about: About, settings: Settings) -> bool:
    """False if tokens made here are others than those in the backup: nobody would be recognised."""
    return about.token_key == _mark(settings)


def elsewhere(name: str, entries: dict[str, bytes]) -> dict[str, bytes]:
    """A table's entries on another broker, whose offsets are others and whose journal begins with the steps after
    them."""
    if _is_desk(name):
        return {key: entry for key, entry in entries.items() if key not in (desk.META, desk.SUSPECTS)}
    return detectors.elsewhere(entries)


def step_elsewhere(step: bytes) -> bytes:
    """A step of the Desk's journal, without where its topics went on after it."""
    return msgspec.msgpack.encode(desk.STEP.decode(step)._replace(offsets={}))


def refuse_unless_new(folder: Path) -> None:
    """Raises `BackupError` if something is in the folder."""
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty, and no file of a city is ever replaced")


def unpack_city(archive: ArchiveReader, folder: Path) -> dict[str, str]:
    """Write the city's files into a folder that is empty or not there; the settings that name them."""
    refuse_unless_new(folder)
    named: dict[str, list[str]] = {"rules": [], "zones": [], "registry": [], "tables": []}
    for name in archive.names("city"):
        parts = name.split("/")[1:]
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.content(name))
        root = folder.joinpath(*parts[: 2 if parts[0] in ("rules", "zones") else 1])
        if str(root) not in named[parts[0]]:
            named[parts[0]].append(str(root))
    return {f"ZHINAO_{kind.upper()}": ":".join(roots) for kind, roots in named.items() if roots}
