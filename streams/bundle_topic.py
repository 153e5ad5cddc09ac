"""Bundles on the topic `rules.bundle`: how they are cut, sent, put together and followed.

All records are on one partition, in one order for everybody. The parts of an archive come first and its head last, so a
publisher that dies in between has published nothing. Whoever follows switches at the head: all at the same record.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError

from models.bundles import RuleBundle
from models.problems import Place, Problem
from streams.bundle import BadArchive, Files, pack, unpack
from streams.publishing import CENTRE_PARTITION
from streams.store import read_partition

PART_CHARS = 700_000
"""Of base64 in one record, which may have 1 MiB."""
KEPT = 10
"""Bundles that stay on the topic; the parts of older ones are taken away with the next that is published."""
DAMAGED = "B105"
BUNDLE = msgspec.json.Decoder(RuleBundle)


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle that is there, whole. `offset` of its head: where everybody switches."""

    files: Files
    revision: int
    offset: int

    @property
    def where(self) -> str:
        return f"rules.bundle/{CENTRE_PARTITION}/{self.offset}"


@dataclass(slots=True)
class Assembling:
    """Takes the records of the topic in their order and gives bundles as they become whole."""

    key: str
    parts: dict[str, dict[int, str]] = field(default_factory=dict)
    """By digest."""
    heads: list[RuleBundle] = field(default_factory=list)

    def take(self, offset: int, key: bytes | None, value: bytes | None) -> Published | None:
        """What is not ours, or is damaged, is passed over; a head without its parts is a bundle with a problem."""
        name = (key or b"").decode("utf-8", "replace")
        if not (name == self.key or name.startswith(f"{self.key}/")):
            return None
        if value is None:
            self.parts.pop(name.removeprefix(f"{self.key}/").partition("/")[0], None)
            return None
        try:
            found = BUNDLE.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if found.part and found.archive_b64 is not None:
            self.parts.setdefault(found.digest, {})[found.part] = found.archive_b64
            return None
        self.heads.append(found)
        return Published(self._files(found, offset), found.revision, offset)

    def revisions(self) -> list[int]:
        """Those that are whole."""
        return [head.revision for head in self.heads if not self._files(head, 0).problems]

    def whole(self, revision: int) -> Files | None:
        """The bundle of a revision, if all of it is there."""
        heads = [head for head in self.heads if head.revision == revision]
        files = self._files(heads[-1], 0) if heads else None
        return None if files is None or files.problems else files

    def _files(self, head: RuleBundle, offset: int) -> Files:
        parts = self.parts.get(head.digest, {})
        try:
            if missing := [n for n in range(1, head.parts + 1) if n not in parts]:
                raise BadArchive(f"part {missing[0]} of {head.parts} is not on the topic")
            archive = "".join(parts[n] for n in range(1, head.parts + 1))
            return unpack(base64.b64decode(archive, validate=True), head.digest)
        except (BadArchive, ValueError) as why:
            place = Place(f"rules.bundle/{CENTRE_PARTITION}/{offset}")
            return Files((), (Problem(place=place, code=DAMAGED, message=f"revision {head.revision}: {why}"),))


def bundle_key(prefix: str, centre: str) -> str:
    return f"{prefix}/{centre}"


def records_of(files: Files, key: str, centre: str, revision: int, at: str) -> Iterator[tuple[str, bytes]]:
    """Key and value of each record, in the order of sending."""
    text = base64.b64encode(pack(files)).decode()
    cut = [text[first : first + PART_CHARS] for first in range(0, len(text), PART_CHARS)]
    digest = files.digest
    for number, part in enumerate(cut, 1):
        record = RuleBundle(centre, digest, revision, number, len(cut), part, at)
        yield f"{key}/{digest}/{number}", msgspec.json.encode(record)
    yield key, msgspec.json.encode(RuleBundle(centre, digest, revision, 0, len(cut), None, at))


def outdated(heads: Sequence[RuleBundle], key: str, digest: str) -> list[str]:
    """Keys of parts that nobody needs once this one is published."""
    recent = {digest, *(head.digest for head in heads[-(KEPT - 1) :])}
    old = {head.digest: head.parts for head in heads if head.digest not in recent}
    return [f"{key}/{name}/{number}" for name, parts in old.items() for number in range(1, parts + 1)]


@dataclass(slots=True)
class OnTopic:
    """What the topic holds: the newest whole bundle, and where to go on reading."""

    newest: Published | None
    assembling: Assembling
    position: int


async def read_topic(servers: str, topic: str, key: str, options: dict[str, Any] | None = None) -> OnTopic:
    """All of it, as of now. Raises StoreError if the broker does not hand it over."""
    found = OnTopic(None, Assembling(key), 0)
    async for record in read_partition(servers, topic, CENTRE_PARTITION, 0, options):
        found.position = record.offset + 1
        published = found.assembling.take(record.offset, record.key, record.value)
        if published is not None and not published.files.problems:
            found.newest = published
    return found


class TopicSource:
    """Follows the topic from where it was read; each bundle is given once, in order."""

    def __init__(self, servers: str, topic: str, start: OnTopic, options: dict[str, Any] | None = None) -> None:
        self.servers, self.tp, self.options = servers, TopicPartition(topic, CENTRE_PARTITION), options or {}
        self.assembling, self.position = start.assembling, start.position
        self.waiting: deque[Published] = deque()
        self.consumer: AIOKafkaConsumer | None = None
        self.closed = False

    async def next(self) -> Published | None:
        """Nothing new while the broker is away."""
        try:
            if self.consumer is None:
                self.consumer = await self._open()
            fetched = await self.consumer.getmany(self.tp, timeout_ms=0)
        except KafkaConnectionError:
            return None
        except ConsumerStoppedError:
            if self.closed:
                return None
            raise
        for record in fetched.get(self.tp, ()):
            published = self.assembling.take(record.offset, record.key, record.value)
            if published is not None:
                self.waiting.append(published)
        return self.waiting.popleft() if self.waiting else None

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, enable_auto_commit=False, auto_offset_reset="earliest", **self.options
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        consumer.assign([self.tp])
        consumer.seek(self.tp, self.position)
        return consumer

    async def close(self) -> None:
        self.closed = True
        if self.consumer is not None:
            await self.consumer.stop()
