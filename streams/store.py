"""Where state is kept between runs: in files beside the embedded broker, on a compacted topic with a real Kafka.

A blob is saved under a name such as `detector/3`, `detector/3/danghu` or `desk/0`: room, partition, and optionally a
part. What `load` returns is always the newest save that was completed, of the highest epoch; a save cut off by a crash
or made by a worker that had lost its partitions (a lower epoch) is as if it had not been.

`meta` is JSON; `meta["epoch"]` is the writer's epoch (0 if absent).
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import zstandard
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.producer import Outgoing, Producer

Meta = dict[str, object]

NAME = re.compile(r"[a-z][a-z0-9_-]*/[0-9]+(/[\w.\-]+)?", re.ASCII)
# Below the 1 MiB a broker takes by default, with room for key, headers and the batch around it.
CHUNK_BYTES = 900_000
# zstd level 3: about 4 times smaller than msgpack of tracks at 300 MB/s; it releases the GIL.
LEVEL = 3
READ_LIMIT_S = 60.0
MAGIC = b"ZNS1"


class StoreError(Exception):
    """What was stored cannot be read; the message says where and why."""


class StoreFenced(Exception):
    """A newer epoch has written under this name: we are the past, and must stop."""


class Store(Protocol):
    """What both stores do. One contract test runs over them."""

    async def save(self, name: str, blob: bytes, meta: Meta) -> None:
        """Durable when it returns. Saves under one name happen one after the other; other names do not wait."""
        ...

    async def load(self, name: str) -> tuple[bytes, Meta] | None:
        """The newest complete save of the highest epoch, or none."""
        ...

    async def load_all(self, prefix: str) -> dict[str, tuple[bytes, Meta]]:
        """Every name that starts with `prefix` (such as `detector/3`), in one pass."""
        ...

    async def delete(self, name: str) -> None:
        """Forget a name."""
        ...

    async def close(self) -> None: ...


def partition_of(name: str) -> int:
    """The partition a name lives on: the number in it."""
    return int(_checked(name).split("/")[1])


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a store name such as detector/3 or detector/3/danghu")
    return name


def epoch_of(meta: Meta) -> int:
    """The epoch a save was made in."""
    epoch = meta.get("epoch", 0)
    if not isinstance(epoch, int):
        raise StoreError(f"epoch {epoch!r} is not a number")
    return epoch


def _pack(blob: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress(blob)


def _unpack(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class _Locks:
    """One lock for each name in use."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def __getitem__(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


class FileStore:
    """One file for each name: written beside, synced, renamed. A kill at any moment leaves the old or the new one."""

    SUFFIX = ".state"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = _Locks()

    async def save(self, name: str, blob: bytes, meta: Meta) -> None:
        async with self._locks[_checked(name)]:
            await asyncio.to_thread(self._save, name, blob, meta)

    async def load(self, name: str) -> tuple[bytes, Meta] | None:
        _checked(name)
        return await asyncio.to_thread(self._load, name)

    async def load_all(self, prefix: str) -> dict[str, tuple[bytes, Meta]]:
        return await asyncio.to_thread(self._load_all, prefix)

    async def delete(self, name: str) -> None:
        async with self._locks[_checked(name)]:
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def close(self) -> None:
        """Nothing stays open."""

    def _path(self, name: str) -> Path:
        return self._folder / (name + self.SUFFIX)

    def _save(self, name: str, blob: bytes, meta: Meta) -> None:
        path, epoch = self._path(name), epoch_of(meta)
        # Read anew each time: the one who wrote it may be another process.
        if epoch < (kept := self._epoch_kept(path)):
            raise StoreFenced(f"{name}: epoch {epoch} comes after epoch {kept}")
        path.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps(meta, separators=(",", ":"), ensure_ascii=False).encode()
        body = struct.pack("<I", len(head)) + head + _pack(blob)
        beside = path.with_suffix(f".{os.getpid()}.new")
        with beside.open("wb") as file:
            file.write(MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        sync_folder(path.parent)

    @staticmethod
    def _epoch_kept(path: Path) -> int:
        try:
            with path.open("rb") as file:
                file.seek(20)
                (length,) = struct.unpack("<I", file.read(4))
                return epoch_of(json.loads(file.read(length)))
        except (FileNotFoundError, struct.error, ValueError):
            return 0

    def _load(self, name: str) -> tuple[bytes, Meta] | None:
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        body = data[20:]
        if data[:4] != MAGIC or hashlib.blake2b(body, digest_size=16).digest() != data[4:20]:
            raise StoreError(f"{path} is damaged: its checksum does not match. Move it away to start without it")
        (length,) = struct.unpack_from("<I", body)
        return _unpack(body[4 + length :]), json.loads(body[4 : 4 + length])

    def _load_all(self, prefix: str) -> dict[str, tuple[bytes, Meta]]:
        found = {}
        for path in sorted(self._folder.rglob("*" + self.SUFFIX)):
            name = path.relative_to(self._folder).as_posix().removesuffix(self.SUFFIX)
            if _under(name, prefix) and (kept := self._load(name)) is not None:
                found[name] = kept
        return found


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix.rstrip("/") + "/")


class _Saved:
    """What a scan of the topic knows of one name in one epoch."""

    __slots__ = ("chunks", "manifest")

    def __init__(self) -> None:
        self.manifest: dict[str, Any] | None = None
        self.chunks: dict[tuple[int, int], tuple[str, bytes]] = {}  # (slot, number) -> (save, bytes)

    def join(self) -> bytes | None:
        """The blob its manifest promises, if all of it is there."""
        if self.manifest is None:
            return None
        parts = []
        for number in range(self.manifest["chunks"]):
            save, data = self.chunks.get((self.manifest["slot"], number), ("", b""))
            if save != self.manifest["save"]:
                return None
            parts.append(data)
        packed = b"".join(parts)
        return packed if _digest(packed) == self.manifest["digest"] else None


class TopicStore:
    """A compacted topic. A save is chunks, then a manifest, on the partition the name says.

    Keys: `<name>#<epoch>#<slot>#<number>` for chunks, `<name>#<epoch>#manifest`. Saves of one epoch alternate between
    two slots, so compaction never takes the chunks of the last complete save while the next is being written; epochs
    never share keys, so a writer from the past destroys nothing. What older epochs left goes after the first save.
    """

    def __init__(self, servers: str, topic: str, producer: Producer, *, options: dict[str, Any] | None = None) -> None:
        self._servers, self._topic, self._producer = servers, topic, producer
        self._options = options or {}
        self._locks = _Locks()
        self._slots: dict[tuple[str, int], int] = {}
        self._saves = 0
        self._keys: dict[str, set[str]] = {}  # what is live on the topic under each name, as far as we know

    async def save(self, name: str, blob: bytes, meta: Meta) -> None:
        partition, epoch = partition_of(name), epoch_of(meta)
        async with self._locks[name]:
            if name not in self._keys:
                await self._scan(partition, name)
            packed = await asyncio.to_thread(_pack, blob)
            slot = 1 - self._slots.get((name, epoch), 1)
            parts = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
            self._saves += 1
            digest = await asyncio.to_thread(_digest, packed)
            save = f"{self._saves}-{digest}"
            await self._producer.send_batch(
                [
                    self._record(partition, f"{name}#{epoch}#{slot}#{number}", part, save)
                    for number, part in enumerate(parts)
                ]
            )
            manifest = {
                "slot": slot,
                "save": save,
                "chunks": len(parts),
                "digest": digest,
                "epoch": epoch,
                "meta": meta,
            }
            text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode()
            await self._producer.send_batch([self._record(partition, f"{name}#{epoch}#manifest", text, save)])
            self._slots[name, epoch] = slot
            keys = self._keys[name]
            keys |= {f"{name}#{epoch}#manifest", *(f"{name}#{epoch}#{slot}#{number}" for number in range(len(parts)))}
            old = {key for key in keys if int(key.split("#")[1]) < epoch}
            await self._delete(partition, old)
            keys -= old

    async def load(self, name: str) -> tuple[bytes, Meta] | None:
        return (await self._scan(partition_of(name), name)).get(name)

    async def load_all(self, prefix: str) -> dict[str, tuple[bytes, Meta]]:
        return await self._scan(partition_of(prefix), prefix)

    async def delete(self, name: str) -> None:
        partition = partition_of(name)
        async with self._locks[name]:
            self._keys.pop(name, None)
            await self._scan(partition, name)
            await self._delete(partition, self._keys.pop(name, set()))

    async def close(self) -> None:
        """The producer is the caller's."""

    def _record(self, partition: int, key: str, value: bytes | None, save: str = "") -> Outgoing:
        return Outgoing(self._topic, value, key.encode(), (("save", save.encode()),), partition)

    async def _delete(self, partition: int, keys: set[str]) -> None:
        if keys:
            await self._producer.send_batch([self._record(partition, key, None) for key in sorted(keys)])

    async def _scan(self, partition: int, prefix: str) -> dict[str, tuple[bytes, Meta]]:
        seen: dict[str, dict[int, _Saved]] = {}
        keys: dict[str, set[str]] = {}
        async for record in read_partition(self._servers, self._topic, partition, 0, self._options):
            key = (record.key or b"").decode()
            name, _, rest = key.partition("#")
            if not _under(name, prefix):
                continue
            live = keys.setdefault(name, set())
            (live.discard if record.value is None else live.add)(key)
            epoch, _, place = rest.partition("#")
            saved = seen.setdefault(name, {}).setdefault(int(epoch), _Saved())
            if place == "manifest":
                saved.manifest = None if record.value is None else json.loads(record.value)
            else:
                slot, _, number = place.partition("#")
                save = dict(record.headers).get("save", b"").decode()
                saved.chunks[int(slot), int(number)] = (save, record.value or b"")
        found = {}
        for name, epochs in seen.items():
            kept = await asyncio.to_thread(self._newest, name, epochs)
            if kept is not None:
                found[name] = kept
        for name, live in keys.items():
            self._keys[name] = live
        self._keys.setdefault(prefix, set())
        return found

    def _newest(self, name: str, epochs: dict[int, _Saved]) -> tuple[bytes, Meta] | None:
        promised = False
        for epoch in sorted(epochs, reverse=True):
            saved = epochs[epoch]
            promised |= saved.manifest is not None
            packed = saved.join()
            if packed is not None and saved.manifest is not None:
                self._slots.setdefault((name, epoch), saved.manifest["slot"])
                return _unpack(packed), saved.manifest["meta"]
        if promised:
            raise StoreError(f"{self._topic}: no save of {name} is complete. Is the topic's cleanup.policy 'compact'?")
        return None


async def read_partition(
    servers: str, topic: str, partition: int, start: int, options: dict[str, Any] | None = None
) -> Any:
    """Every record of a partition from `start` (or the first there is) to its end as of now; its own consumer.

    Raises `StoreError` if the broker does not hand them over in time.
    """
    tp = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=20,
        **(options or {}),
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        first = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        position = max(start, first)
        consumer.seek(tp, position)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while position < end:
            fetched = await consumer.getmany(tp, timeout_ms=200)
            for record in fetched.get(tp, ()):
                if record.offset < end:
                    yield record
            now_at = await consumer.position(tp)
            if now_at > position:
                position, heard = now_at, loop.time()
            elif loop.time() - heard > READ_LIMIT_S:
                raise StoreError(
                    f"{topic}[{partition}]: nothing arrived at {position} of {end} for {READ_LIMIT_S:.0f} s"
                )
    finally:
        with contextlib.suppress(Exception):
            await consumer.stop()


def names_in(folder: Path) -> Iterator[str]:
    """The names a file store holds, for `zhinao` commands that list state."""
    for path in sorted(folder.rglob("*" + FileStore.SUFFIX)):
        yield path.relative_to(folder).as_posix().removesuffix(FileStore.SUFFIX)
