"""Where state is kept between runs: in files beside the embedded broker, on a compacted topic with a real Kafka
(streams.topic_store).

A *table* is a set of entries under a name such as `detector/3` or `desk/0`: room and partition. It is changed by saves,
each of which is there whole or not at all, by whoever opened it last: opening fences everybody who had it before.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import zstandard
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.failpoints import Place, reach

NAME = re.compile(r"[a-z][a-z0-9_-]*/[0-9]+", re.ASCII)
MAX_KEY = 256
# zstd level 3: about 4 times smaller than msgpack of tracks at 300 MB/s; it releases the GIL.
LEVEL = 3
READ_LIMIT_S = 60.0
# Taking records out of a fetch is work of the loop: some 5 ms of it.
READ_AT_ONCE = 500
# How long one process may wait for another's transaction on the same file: the largest save, on a slow disk.
LOCK_LIMIT_S = 30.0
# A large save makes the write-ahead log as large; this much of it stays on the disk.
LOG_KEPT_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class StoreError(Exception):
    """What was stored cannot be read or written; the message says where and why."""


class StoreFenced(Exception):
    """Somebody opened the table after us: we are the past, and must stop."""


class Table(Protocol):
    """Entries under one name, ours until somebody opens them after us."""

    async def save(self, changes: Mapping[str, bytes | None]) -> None:
        """All of these or none, durable when it returns; None deletes. One save at a time, others wait their turn.

        Raises `StoreFenced` if the table was opened again, `StoreError` if it cannot be written. Nothing to change
        is no save.
        """
        ...

    async def close(self) -> None: ...


class Store(Protocol):
    """What both stores do. One contract test runs over them."""

    async def open(self, name: str) -> tuple[Table, dict[str, bytes]]:
        """Take a table over: whoever had it can save no more. Gives its entries: the last complete save of each."""
        ...

    async def read(self, name: str) -> dict[str, bytes]:
        """The entries as some complete save left them, without taking the table over."""
        ...

    async def names(self) -> list[str]:
        """The tables that hold entries, in order."""
        ...

    async def close(self) -> None:
        """Close it, and every table that is still open."""
        ...


def partition_of(name: str) -> int:
    """The partition a name lives on: the number in it."""
    return int(checked_name(name).split("/")[1])


def checked_name(name: str) -> str:
    """The name itself. Raises `ValueError` if it is none."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a store name such as detector/3")
    return name


def checked_changes(changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """A copy that the caller cannot change any more. Raises `ValueError` for a key that cannot be one."""
    for key in changes:
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            raise ValueError(f"{key!r} is not an entry's key: 1 to {MAX_KEY} printable characters")
    return dict(changes)


def pack(value: bytes, compressor: zstandard.ZstdCompressor) -> bytes:
    """A value as it is stored."""
    return compressor.compress(value)


def compressor() -> zstandard.ZstdCompressor:
    """For one thread at a time. A checksum in each value tells a damaged one."""
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=True)


# ---------------------------------------------------------------------------------------------------------------- files


class FileStore:
    """One SQLite database for each table."""

    SUFFIX = ".table"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: set[_FileTable] = set()

    async def open(self, name: str) -> tuple[Table, dict[str, bytes]]:
        table = _FileTable(self._path(name), self._open.discard)
        self._open.add(table)
        try:
            return table, await table.open()
        except BaseException:
            await table.close()
            raise

    async def read(self, name: str) -> dict[str, bytes]:
        return await asyncio.to_thread(_read, self._path(name))

    async def names(self) -> list[str]:
        return await asyncio.to_thread(self._names)

    async def close(self) -> None:
        for table in list(self._open):
            await table.close()

    def _path(self, name: str) -> Path:
        return self._folder / (checked_name(name) + self.SUFFIX)

    def _names(self) -> list[str]:
        found = []
        for path in self._folder.glob(f"*/*{self.SUFFIX}"):
            name = path.relative_to(self._folder).as_posix().removesuffix(self.SUFFIX)
            if NAME.fullmatch(name) and _read(path, limit=1):
                found.append(name)
        return sorted(found, key=lambda name: (name.split("/")[0], partition_of(name)))


class _FileTable:
    """All work on the database is done in one thread of its own, in the order asked for."""

    def __init__(self, path: Path, closed: Callable[["_FileTable"], None]) -> None:
        self._path, self._closed = path, closed
        # Its thread ends with the table: the executor is nobody's then.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store-{path.parent.name}-{path.stem}")
        self._db: sqlite3.Connection | None = None
        self._number = 0

    async def open(self) -> dict[str, bytes]:
        return await self._in_thread(self._take_over)

    async def save(self, changes: Mapping[str, bytes | None]) -> None:
        if mine := checked_changes(changes):
            await self._in_thread(lambda: self._save(mine))

    async def close(self) -> None:
        self._closed(self)
        await self._in_thread(self._close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _take_over(self) -> dict[str, bytes]:
        with _explained(self._path):
            self._db = _connect(self._path)
            with _transaction(self._db):
                (last,) = self._db.execute("SELECT coalesce(max(number), 0) FROM opened").fetchone()
                self._number = last + 1
                self._db.execute("DELETE FROM opened")
                self._db.execute("INSERT INTO opened VALUES (?)", (self._number,))
                return _entries(self._db)

    def _save(self, changes: dict[str, bytes | None]) -> None:
        if self._db is None:
            raise StoreError(f"{self._path}: the table is closed")
        packing, middle = compressor(), max(1, len(changes) // 2)
        with _explained(self._path), _transaction(self._db):
            if self._db.execute("SELECT number FROM opened").fetchone() != (self._number,):
                raise StoreFenced(f"{self._path} was opened by another")
            for number, (key, value) in enumerate(changes.items(), start=1):
                if value is None:
                    self._db.execute("DELETE FROM entries WHERE key = ?", (key,))
                else:
                    row = (key, pack(value, packing))
                    self._db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", row)
                if number == middle:
                    reach(Place.SAVING)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _connect(path: Path) -> sqlite3.Connection:
    """A connection for the thread that makes it; the file is made if there is none."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    # One process at a time: two that turn the write-ahead log on at once refuse each other without waiting.
    with _alone(path.parent):
        db = sqlite3.connect(path, timeout=LOCK_LIMIT_S, isolation_level=None)
        try:
            # FULL syncs the log at each commit. NORMAL would leave the table whole after a power cut as well, but
            # without its last saves, and what they stand for was committed behind them.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")
            db.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
            db.execute("CREATE TABLE IF NOT EXISTS opened (number INTEGER NOT NULL)")
        except BaseException:
            db.close()
            raise
    return db


def _read(path: Path, limit: int = -1) -> dict[str, bytes]:
    if not path.exists():
        return {}
    with _explained(path), contextlib.closing(_connect(path)) as db:
        return _entries(db, limit)


def _entries(db: sqlite3.Connection, limit: int = -1) -> dict[str, bytes]:
    """Every entry, once the file is seen to be whole: SQLite itself has no checksums."""
    if limit < 0:
        ((found, *_), *_) = db.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    unpacking = zstandard.ZstdDecompressor()
    rows = db.execute("SELECT key, value FROM entries LIMIT ?", (limit,))
    return {key: unpacking.decompress(value) for key, value in rows}


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# What says nothing of the file's content: another has it, the disk is full, it may not be written.
_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, zstandard.ZstdError, UnicodeDecodeError) as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _NOT_DAMAGE:
            raise StoreError(f"{path}: {exc}") from exc
        raise StoreError(
            f"{path} is damaged ({exc}). Restore it from a backup, or move it away to start without it"
        ) from exc


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --------------------------------------------------------------------------------------------------------------- topics

Isolation = Literal["read_uncommitted", "read_committed"]


async def read_partition(
    servers: str,
    topic: str,
    partition: int,
    start: int,
    options: dict[str, Any] | None = None,
    *,
    isolation: Isolation = "read_uncommitted",
) -> AsyncIterator[Any]:
    """Every record of a partition from `start` (or the first there is) to its end; its own consumer.

    The end is asked for again when it is reached: what compaction takes away while we read, because there is something
    newer, is then met further on. With `read_committed` it is where the first open transaction begins. Raises
    `StoreError` if the broker does not hand them over in time.
    """
    tp = TopicPartition(topic, partition)
    async with consumer(servers, options, isolation) as reader:
        reader.assign([tp])
        position = max(start, (await reader.beginning_offsets([tp]))[tp])
        reader.seek(tp, position)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while position < (end := (await reader.end_offsets([tp]))[tp]):
            while position < end:
                fetched = await reader.getmany(tp, timeout_ms=200, max_records=READ_AT_ONCE)
                for record in fetched.get(tp, ()):
                    yield record
                await asyncio.sleep(0)  # a fetch may hold ten thousand small records
                # Markers of transactions are not handed over, but passed.
                now_at = await reader.position(tp)
                if now_at > position:
                    position, heard = now_at, loop.time()
                elif loop.time() - heard > READ_LIMIT_S:
                    raise StoreError(
                        f"{topic}[{partition}]: nothing arrived at {position} of {end} for {READ_LIMIT_S:.0f} s"
                    )


@contextlib.asynccontextmanager
async def consumer(servers: str, options: dict[str, Any] | None, isolation: Isolation) -> AsyncIterator[Any]:
    """A consumer without a group."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=20,
        isolation_level=isolation,
        **(options or {}),
    )
    try:
        await reader.start()
        yield reader
    finally:
        with contextlib.suppress(Exception):
            await reader.stop()
