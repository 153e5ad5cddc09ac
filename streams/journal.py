"""The Desk's journal: every step it took, in order, acknowledged before the step's output leaves.

Inputs reach the Desk from several topics in no fixed order. The journal fixes the order that was taken: recovery is the
last snapshot plus the steps after it. A journal has an **epoch**, a number that rises with each opening; a step written
by an earlier opening after a later one began (a worker that does not know it is gone) is skipped on reading.

Positions rise, are not dense, and mean something only within one journal. A snapshot stores the position of the last
step it holds; recovery reads from the one after.
"""

import asyncio
import fcntl
import itertools
import logging
import math
import os
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, Self

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import TopicPartition as AdminPartition

from streams.producer import Outgoing, Producer
from streams.store import read_partition, sync_folder

log = logging.getLogger(__name__)

OPEN, STEP = 0, 1
FRAME = struct.Struct("<II")  # length of the body, crc32 of the body
BODY = struct.Struct("<BQ")  # kind, epoch
# A new segment starts at this size: what trim can drop is whole segments.
SEGMENT_BYTES = 16 * 1024 * 1024
# Trimming is for space: a broker that does not answer holds nothing up.
TRIM_LIMIT_S = 10.0
# Each one connects anew: some ten milliseconds of a processor. What a topic holds for half a minute longer is little.
TRIM_EVERY_S = 30.0
# Larger than any step; a length beyond it is a torn frame, not a reason to allocate it.
MAX_STEP_BYTES = 64 * 1024 * 1024


class JournalError(Exception):
    """The journal cannot be used; the message says where and why."""


class Journal(Protocol):
    """What both journals do. One contract test runs over them."""

    def epoch(self) -> int:
        """This opening's number: higher than every earlier one's."""
        ...

    async def append(self, step: bytes) -> int:
        """Durable when it returns; the step's position. Appends are made one after the other."""
        ...

    def read_from(self, position: int) -> AsyncIterator[tuple[int, bytes]]:
        """Steps at `position` and after, in order, to the end as of now. Raises `JournalError` if some were trimmed."""
        ...

    async def trim(self, position: int) -> None:
        """Steps before `position` are not needed any more. It may keep some."""
        ...

    async def close(self) -> None: ...


class Kept(NamedTuple):
    """What a journal holds: its highest epoch, and steps with their positions."""

    epoch: int
    steps: list[tuple[int, bytes]]


class _Fence:
    """Lets through the steps of the highest epoch seen so far."""

    __slots__ = ("highest",)

    def __init__(self, highest: int = 0) -> None:
        self.highest = highest

    def passes(self, kind: int, epoch: int) -> bool:
        if epoch < self.highest:
            return False
        self.highest = epoch
        return kind == STEP


class _Rises:
    """Where the epoch rose in what was read at opening."""

    def __init__(self) -> None:
        self.highest = 0
        self._found: list[tuple[int, int]] = []

    def pass_by(self, at: int, epoch: int) -> None:
        if epoch > self.highest:
            self.highest = epoch
            self._found.append((at, epoch))

    def before(self, position: int) -> int:
        """The highest epoch of what stands before a position; none of what was written since the opening counts."""
        return max((epoch for at, epoch in self._found if at < position), default=0)


class FileJournal:
    """Segments of framed records in one folder, one writer at a time (held by a lock). Positions count records.

    A torn tail, as a kill in the middle of a write leaves it, is cut off at opening: the step was never acknowledged.
    """

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        """Use `await FileJournal.open(folder)`. `sync=False` stands a kill of the process but not of the machine."""
        self._folder, self._sync = folder, sync
        self._lock = asyncio.Lock()
        self._file: IO[bytes] | None = None
        self._guard: IO[bytes] | None = None
        self._epoch = 0
        self._next = 0

    @classmethod
    async def open(cls, folder: Path, *, sync: bool = True, after: int = 0) -> Self:
        """Take the journal over; its epoch is higher than `after`, too. Raises `JournalError` if another process has
        it, or it is damaged before its tail."""
        journal = cls(folder, sync=sync)
        try:
            await asyncio.to_thread(journal._open, after)
        except BaseException:
            await journal.close()
            raise
        return journal

    @classmethod
    async def peek(cls, folder: Path, position: int) -> Kept:
        """What is there from `position` on, without taking it over: another may be writing. Raises as `read_from`."""
        fence, journal = _Fence(), cls(folder)
        try:
            steps = [found async for found in journal._read(position, fence)] if journal._segments() else []
        except FileNotFoundError as exc:
            raise JournalError(f"{exc.filename} was trimmed away while it was read") from exc
        return Kept(fence.highest, steps)

    def epoch(self) -> int:
        return self._epoch

    async def append(self, step: bytes) -> int:
        async with self._lock:
            return await asyncio.to_thread(self._append, STEP, step)

    def read_from(self, position: int) -> AsyncIterator[tuple[int, bytes]]:
        return self._read(position, _Fence())

    async def _read(self, position: int, fence: _Fence) -> AsyncIterator[tuple[int, bytes]]:
        segments = self._segments()
        if position < segments[0][0]:
            raise JournalError(f"{self._folder}: steps from {position} on are asked for, kept from {segments[0][0]} on")
        # Older segments are read too: a record of theirs may hold the epoch that fences one of ours.
        for first, path in segments:
            for number, kind, epoch, step in await asyncio.to_thread(_all_frames, path, first):
                if fence.passes(kind, epoch) and number >= position:
                    yield number, step

    async def trim(self, position: int) -> None:
        async with self._lock:
            await asyncio.to_thread(self._trim, position)

    async def close(self) -> None:
        async with self._lock:
            for handle in (self._file, self._guard):
                if handle is not None:
                    handle.close()
            self._file = self._guard = None

    def _segments(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in self._folder.glob("*.journal"))

    def _open(self, after: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._guard = (self._folder / "lock").open("ab")
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise JournalError(f"{self._folder}: another process has this journal open") from exc
        highest, self._next = after, 0
        segments = self._segments()
        for first, path in segments:
            if first != self._next and path != segments[0][1]:
                raise JournalError(f"{path}: starts at {first}, the segment before it ends at {self._next}")
            good, self._next = 0, first
            for _, _, epoch, step in _frames(path, first):
                highest = max(highest, epoch)
                good += FRAME.size + BODY.size + len(step)
                self._next += 1
            if good < path.stat().st_size:
                if path != segments[-1][1]:
                    raise JournalError(f"{path}: damaged at byte {good}, and it is not the last segment")
                os.truncate(path, good)
        self._epoch = highest + 1
        self._start_segment() if not segments else self._continue(segments[-1][1])

    def _continue(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._append(OPEN, b"")

    def _start_segment(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = (self._folder / f"{self._next:020d}.journal").open("ab", buffering=0)
        sync_folder(self._folder)
        self._append(OPEN, b"")  # so that the epoch survives a trim of everything before

    def _append(self, kind: int, step: bytes) -> int:
        if self._file is None:
            raise JournalError(f"{self._folder}: the journal is closed")
        if len(step) > MAX_STEP_BYTES:
            raise JournalError(f"a step of {len(step)} bytes is larger than {MAX_STEP_BYTES}")
        if kind == STEP and self._file.tell() >= SEGMENT_BYTES:
            self._start_segment()
        body = BODY.pack(kind, self._epoch) + step
        frame = FRAME.pack(len(body), zlib.crc32(body)) + body
        written = self._file.write(frame)
        if written != len(frame):
            self._file.close()
            self._file = None  # what came after a torn frame would never be read
            raise JournalError(f"{self._folder}: only {written} of {len(frame)} bytes were written. Is the disk full?")
        if self._sync:
            os.fsync(self._file.fileno())
        self._next += 1
        return self._next - 1

    def _trim(self, position: int) -> None:
        segments = self._segments()
        if position >= self._next and self._file is not None and self._file.tell() > SEGMENT_BYTES // 16:
            self._start_segment()
            segments = self._segments()
        for (_, path), (following, _) in itertools.pairwise(segments):
            if following <= position:
                path.unlink()


def _frames(path: Path, number: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Whole records of a segment: (position, kind, epoch, step). Ends at the first that is torn."""
    with path.open("rb") as file:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, checksum = FRAME.unpack(head)
            if not BODY.size <= length <= MAX_STEP_BYTES + BODY.size:
                return
            body = file.read(length)
            if len(body) < length or zlib.crc32(body) != checksum:
                return
            kind, epoch = BODY.unpack_from(body)
            yield number, kind, epoch, body[BODY.size :]
            number += 1


def _all_frames(path: Path, number: int) -> list[tuple[int, int, int, bytes]]:
    return list(_frames(path, number))


class TopicJournal:
    """A topic with retention, not compacted; one partition for each command centre. Positions are offsets."""

    def __init__(
        self, servers: str, topic: str, partition: int, producer: Producer, *, options: dict[str, Any] | None = None
    ) -> None:
        """Use `await TopicJournal.open(…)`. The producer is the caller's; `options` go to consumers and the admin."""
        self._servers, self._topic, self._partition, self._producer = servers, topic, partition, producer
        self._options = options or {}
        self._lock = asyncio.Lock()
        self._epoch = 0
        self._last = 0
        self._trimmed_s = -math.inf
        self._rises = _Rises()

    @classmethod
    async def open(
        cls,
        servers: str,
        topic: str,
        partition: int,
        producer: Producer,
        *,
        options: dict[str, Any] | None = None,
        after: int = 0,
    ) -> Self:
        """Take the journal over: from here on what an earlier opening appends is not read by anybody. Its epoch is
        higher than `after`, too."""
        journal = cls(servers, topic, partition, producer, options=options)
        end = 0
        while True:
            async for at, _, epoch, _ in journal._records(end):
                journal._rises.pass_by(at, epoch)
                end = at + 1
            journal._epoch = 1 + max(after, journal._rises.highest)
            mine = await journal._append(OPEN, b"")
            # Two that open at once may have chosen the same number: the first in the log has it.
            if not [at async for at, _, epoch, _ in journal._records(end) if epoch >= journal._epoch and at < mine]:
                return journal

    def epoch(self) -> int:
        return self._epoch

    async def append(self, step: bytes) -> int:
        async with self._lock:
            return await self._append(STEP, step)

    async def peek(self, position: int) -> Kept:
        """What is there from `position` on, without taking it over: another may be writing. Raises as `read_from`."""
        fence = _Fence()
        steps = [found async for found in self._read(position, fence, 0)]
        return Kept(fence.highest, steps)

    def read_from(self, position: int) -> AsyncIterator[tuple[int, bytes]]:
        return self._read(position, _Fence(self._rises.before(position)), position)

    async def _read(self, position: int, fence: _Fence, start: int) -> AsyncIterator[tuple[int, bytes]]:
        """`fence`: as it is when all before `start` has gone by."""
        first = True
        async for at, kind, epoch, step in self._records(start):
            if first and at > position > 0:
                raise JournalError(
                    f"{self._topic}[{self._partition}]: steps before {at} are gone, {position} is needed"
                )
            first = False
            if fence.passes(kind, epoch) and at >= position:
                yield at, step

    async def trim(self, position: int) -> None:
        # Space only: a broker that refuses keeps the steps, and nothing depends on it. Our last record stays: it holds
        # the epoch that the next opening must exceed.
        now_s = asyncio.get_running_loop().time()
        if now_s - self._trimmed_s < TRIM_EVERY_S:
            return
        self._trimmed_s = now_s
        try:
            async with asyncio.timeout(TRIM_LIMIT_S):
                await asyncio.to_thread(self._delete_before, min(position, self._last))
        except (KafkaError, TimeoutError) as why:
            what = f"{type(why).__name__}: {why}"
            log.warning("%s[%d] keeps what is not needed any more: %s", self._topic, self._partition, what)

    async def close(self) -> None:
        """Nothing stays open."""

    def _delete_before(self, position: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._servers, **self._options)
        try:
            admin.delete_records({AdminPartition(self._topic, self._partition): position})
        finally:
            admin.close()

    async def _append(self, kind: int, step: bytes) -> int:
        headers = (("kind", b"%d" % kind), ("epoch", b"%d" % self._epoch))
        record = Outgoing(self._topic, step, None, headers, self._partition)
        (sent,) = await self._producer.send_batch([record])
        self._last = sent.offset
        return self._last

    async def _records(self, start: int) -> AsyncIterator[tuple[int, int, int, bytes]]:
        async for record in read_partition(self._servers, self._topic, self._partition, start, self._options):
            headers = dict(record.headers)
            yield record.offset, int(headers["kind"]), int(headers["epoch"]), record.value or b""
