"""The batch transport: Faust hands an agent one event per (partition, fetched chunk) instead of one per record.

Plain Faust costs 100 µs of asyncio machinery a record; a chunk of some hundred records pays that once. What stays
Faust's: agents, groups, the co-partitioning assignor, rebalancing, start and stop. What is ours:

- **the drain loop**: a chunk is one `Chunk` value; nothing waits for a timer;
- **commits**: an offset is committed only when the shell has declared everything below it stored (`Flow.stored`).
  Faust's acks play no part: it acks an event whose agent raised, and the record would be lost;
- **where to start**: `Flow.on_assigned` is awaited before records flow and may name the offset of each partition;
- **giving up**: `Flow.on_revoked` is awaited while the partitions are still ours, then what it stored is committed;
- **failing**: whatever is unexpected ends the process with its cause (`die`). A supervisor restarts it, replay does the
  rest. There is no state in which a worker has lost a record and goes on.

All of this runs in the worker's event loop; the aiokafka consumer itself lives in Faust's consumer thread.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeVar, cast

import faust
from aiokafka.errors import ConsumerStoppedError
from faust.app.base import BootStrategy
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.transports import ConsumerT

from streams import logs
from streams.failpoints import Place, reach
from streams.records import Record, Records, fetched

__all__ = [
    "TP",
    "AssignmentError",
    "Chunk",
    "Flow",
    "Record",
    "Records",
    "ShellApp",
    "Sight",
    "bind_agent",
    "create_app",
    "die",
]

log = logging.getLogger(__name__)

SCHEME = "zhinao"
T = TypeVar("T")

# Records of one chunk. A fetch of 1 MiB of small records is some 8,000; more of them in one go would hold the loop
# longer than the 20 ms a tick may be late.
MAX_CHUNK_RECORDS = 4096
# What the broker gathers before it answers, unless the fetch wait ends first. A chunk costs some 0.3 ms however small,
# and a fetch as much again: answered at each record, 10,000 records a second kept half a core busy.
FETCH_MIN_BYTES = 64 * 1024
# Chunks waiting before the agent, over all partitions. Faust's default of 4096 counts records.
BUFFERED_CHUNKS = 16
# How long an assignment hook may take to load state. Faust would give up in silence at `broker_request_timeout` (90 s).
ASSIGN_LIMIT_S = 75.0
# The last commit before partitions go. Without it the next owner reads a little more again; the store knows better.
COMMIT_LIMIT_S = 10.0
# A broker that has not answered the question where partitions end is taken to be away.
ASK_LIMIT_S = 10.0
# A consumer with nothing to fetch (all buffers full, or all paused) looks again after this at the latest.
IDLE_WAIT_S = 1.0


class AssignmentError(Exception):
    """The partitions we were given cannot be worked on as a whole. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was fetched of one partition in one go: at least one record, offsets rising, gaps possible (compaction)."""

    tp: TP
    records: Sequence[Record]

    @property
    def topic(self) -> str:
        """Full Kafka name, with prefix and version."""
        return self.tp.topic

    @property
    def partition(self) -> int:
        return self.tp.partition

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def next_offset(self) -> int:
        """The offset after the last record: what `Flow.stored` takes once this chunk is in the store."""
        return self.records[-1].offset + 1

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, slots=True)
class Sight:
    """A partition of ours at one moment. `done`: the offset after what its agent has finished. `lag`: offsets from
    there to its end; none before the first fetch."""

    done: int | None
    lag: int | None
    chunks: int = 0
    """Handed on and not finished."""
    paused: bool = False


def die(cause: BaseException | str, code: int = 1) -> NoReturn:
    """End the process now, cause on stderr. Nothing is committed or stored on the way out: replay repeats the work."""
    stream = sys.__stderr__
    with contextlib.suppress(Exception):
        logs.settle(ending=True)
        stack = ""
        if isinstance(cause, BaseException):
            if not isinstance(cause, AssignmentError):
                stack = "".join(traceback.format_exception(cause))
            cause = f"{type(cause).__name__}: {cause}"
        if stream is not None:
            stream.write(logs.last_words(f"the worker stops: {cause}", stack))
            stream.flush()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(code)


AssignedHook = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
RevokedHook = Callable[[frozenset[TP]], Awaitable[None]]


class Flow:
    """What the shell may ask of the transport, and must tell it. One for each app; use it on the worker's loop only.

    `groups`: sets of full topic names whose partitions belong together: partition p of all of them must be ours or
    none. Topics of no group are checked to exist.

    Hooks, all optional, set before the worker starts:

    - `on_assigned(tps)` before any record flows, once for each rebalance, with every partition we now hold. Returns the
      offset to start from for each; one it leaves out starts at the committed offset, else at the earliest. A rebalance
      may cancel it and call it again: it must stand that. A stored offset is taken as stored: it is committed.
    - `on_revoked(tps)` after the last chunk was finished and before the partitions are gone, on rebalance and on a
      clean stop: store, call `stored`; the commit follows.
    - `on_taken(tp, records)` for all that was fetched and goes on to the agents, once, before they have it.
    - `on_flowing(tps)` when records start to flow after an assignment: the moment a worker is ready.
    """

    def __init__(
        self,
        groups: Iterable[Collection[str]] = (),
        *,
        fetch_wait_ms: int = 20,
        max_chunk_records: int = MAX_CHUNK_RECORDS,
    ) -> None:
        self.groups = tuple(frozenset(group) for group in groups)
        self.fetch_wait_ms = fetch_wait_ms
        self.max_chunk_records = max_chunk_records
        self.on_assigned: AssignedHook | None = None
        self.on_revoked: RevokedHook | None = None
        self.on_taken: Callable[[TP, Records], None] | None = None
        self.on_flowing: Callable[[frozenset[TP]], None] | None = None
        self.assigned: frozenset[TP] = frozenset()
        #: Records that were gone (retention) between the stored offset and the earliest one left, since the start.
        self.lost_records = 0
        self._consumer: ChunkConsumer | None = None
        self._ceiling: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._delivered: dict[TP, int] = {}
        self._in_flight: dict[TP, deque[int]] = {}
        self._ends: dict[TP, int] = {}
        #: True while `on_assigned` loads state.
        self.loading = False
        #: Partitions on hold (`pause`), each with the moment it began, monotonic seconds.
        self.paused: dict[TP, float] = {}

    # -- commits -------------------------------------------------------------------------------------------------------

    def stored(self, tp: TP, next_offset: int) -> None:
        """All below `next_offset` is in the store and may be committed. Never goes back, never ahead of delivery."""
        delivered = self._delivered.get(tp)
        if delivered is None:
            raise ValueError(f"{_name(tp)} is not ours, its offset {next_offset} cannot be stored by us")
        if next_offset > delivered:
            raise ValueError(f"{_name(tp)}: {next_offset} declared stored, but only {delivered} was delivered")
        if next_offset > self._ceiling.get(tp, -1):
            self._ceiling[tp] = next_offset

    def ceiling(self, tp: TP) -> int | None:
        """The highest offset that may be committed, or none yet."""
        return self._ceiling.get(tp)

    def committed(self, tp: TP) -> int | None:
        """The offset last committed (by us, or found at assignment)."""
        return self._committed.get(tp)

    async def commit(self) -> bool:
        """Commit up to the ceilings now. The timer does the same every second; true if something was committed."""
        return await self._need().commit()

    # -- where we are --------------------------------------------------------------------------------------------------

    def position(self, tp: TP) -> int | None:
        """The next offset to hand to the agent; none for a partition that is not ours."""
        return self._delivered.get(tp)

    def done(self, tp: TP) -> int | None:
        """The offset after the last chunk its agent has finished (needs `bind_agent`)."""
        waiting = self._in_flight.get(tp)
        return waiting[0] if waiting else self._delivered.get(tp)

    def high_water(self, tp: TP) -> int | None:
        """The end of the partition as of the last fetch; none before the first."""
        consumer = self._need()
        return consumer.highwater(tp) if tp in self.assigned else None

    def lag(self, tp: TP) -> int | None:
        """Offsets between what the agent has finished and the end; none before the first fetch."""
        return self._behind(tp, self.high_water(tp))

    def _behind(self, tp: TP, end: int | None) -> int | None:
        done = self.done(tp)
        if end is None or done is None:
            return None
        # Offsets without a record (compacted, markers) leave `done` below the end for ever: then nothing is left if
        # aiokafka's own position has reached the end and nothing it gave us is on its way.
        if done < end and self._need().drained_to(tp) >= end and not self._in_flight.get(tp):
            return 0
        return max(end - done, 0)

    def caught_up(self, tp: TP) -> bool:
        """True if the agent has finished all that the partition held at the last fetch."""
        return self.lag(tp) == 0

    def empty_since_s(self, tp: TP, now_s: float) -> float | None:
        """How long ago the broker last said that there is no more than what the agent has finished; none where there
        is more. `now_s`: the machine's clock, seconds, which aiokafka reads too. After a pause of ours, or the
        broker's, that is no news."""
        heard_ms = self._need().heard_ms(tp) if self.caught_up(tp) else None
        return None if heard_ms is None else max(now_s - heard_ms / 1000, 0.0)

    async def bounds(self, tps: Iterable[TP]) -> dict[TP, tuple[int, int]]:
        """Earliest offset and end of partitions (ours or not), asked of the broker."""
        return await self._need().bounds(list(tps))

    async def ask_ends(self) -> None:
        """Ask the broker where our partitions end, or, having none, where others do: for `view`. Raises TimeoutError
        or a Kafka error when it does not say. Fetching plays no part, so it works when that has died."""
        consumer = self._need()
        tps = self.assigned or frozenset(TP(topic, 0) for group in self.groups for topic in group)
        async with asyncio.timeout(ASK_LIMIT_S):
            ends = await consumer.ends(tps)
        self._ends = {tp: end for tp, end in ends.items() if tp in self.assigned}

    async def ask_thread(self) -> None:
        """Returns when the thread that fetches and keeps us in the group has a turn to spare; TimeoutError when not."""
        async with asyncio.timeout(ASK_LIMIT_S):
            await self._need().on_thread(asyncio.sleep(0))

    def view(self) -> dict[TP, Sight]:
        """Every partition we hold as it is now."""
        if self._consumer is None:
            return {}
        return {tp: self._sight(tp) for tp in self.assigned}

    def _sight(self, tp: TP) -> Sight:
        end = max((e for e in (self.high_water(tp), self._ends.get(tp)) if e is not None), default=None)
        return Sight(self.done(tp), self._behind(tp, end), len(self._in_flight.get(tp, ())), tp in self.paused)

    @property
    def started(self) -> bool:
        """Whether there is a consumer yet."""
        return self._consumer is not None

    @property
    def flowing(self) -> bool:
        """Whether records may reach the agents: partitions are ours, state is loaded, no rebalance is under way."""
        consumer = self._consumer
        return consumer is not None and bool(self.assigned and consumer.flow_active) and not consumer.app.rebalancing

    @property
    def stopping(self) -> bool:
        return self._consumer is not None and bool(self._consumer.app.should_stop)

    @property
    def rebalances(self) -> int:
        """Since the start."""
        return 0 if self._consumer is None else int(self._consumer.app.rebalancing_count)

    @property
    def member(self) -> str | None:
        """Our id in the group; none while we are not in it."""
        return None if self._consumer is None else self._consumer.member()

    def partition_count(self, topic: str) -> int | None:
        """How many partitions a subscribed topic has; none if it does not exist."""
        return self._need().partition_count(topic)

    @property
    def generation(self) -> int:
        """The group's generation as of the last assignment: rises with each rebalance of one broker's life."""
        return int(self._need().app.consumer_generation_id)

    # -- pausing -------------------------------------------------------------------------------------------------------

    def pause(self, tps: Iterable[TP]) -> None:
        """Hand on nothing more of these partitions. Up to `BUFFERED_CHUNKS` chunks already queued still arrive."""
        tps = frozenset(tps)
        now_s = time.monotonic()
        self.paused.update((tp, now_s) for tp in tps - self.paused.keys())
        self._need().pause_partitions(tps)

    def resume(self, tps: Iterable[TP]) -> None:
        """Hand on again; nothing is skipped."""
        tps = frozenset(tps)
        for tp in tps:
            self.paused.pop(tp, None)
        self._need().resume_partitions(tps)

    @property
    def chunks(self) -> int:
        """Handed over to agents and not finished: `BUFFERED_CHUNKS` wait for each agent at most, beside the one it has
        and the one that is on its way."""
        return sum(map(len, list(self._in_flight.values())))

    def finished(self, chunk: Chunk) -> None:
        """An agent not made by `bind_agent` calls this when it is through with a chunk."""
        waiting = self._in_flight.get(chunk.tp)
        if waiting and waiting[0] == chunk.first_offset:
            waiting.popleft()

    def _need(self) -> "ChunkConsumer":
        if self._consumer is None:
            raise RuntimeError("the worker's consumer has not started yet")
        return self._consumer

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            tables: tuple[dict[TP, Any], ...] = (
                self._ceiling, self._committed, self._delivered, self._in_flight, self._ends, self.paused,
            )  # fmt: skip
            for table in tables:
                table.pop(tp, None)

    def _begin(self, tp: TP, start: int, committed: int | None) -> None:
        self._delivered[tp] = start
        self._in_flight[tp] = deque()
        self._ceiling.pop(tp, None)
        if committed is None:
            self._committed.pop(tp, None)
        else:
            self._committed[tp] = committed


def _name(tp: TP) -> str:
    return f"{tp.topic}[{tp.partition}]"


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a short fetch wait and chunks in place of records."""

    consumer: "ChunkConsumer"
    #: Of the last seek this thread made. Belongs to this thread.
    seek_number = 0
    #: True from before positions move until the consumer has queued what was taken. Raised here, lowered there.
    handing_over = False

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes 1500 ms. Set between construction and start; aiokafka hands it to its fetcher at start.
        if not (hasattr(consumer, "_fetch_max_wait_ms") and hasattr(consumer, "_fetch_min_bytes")):
            raise RuntimeError("this aiokafka has no _fetch_max_wait_ms: the transport must be adapted to it")
        consumer._fetch_max_wait_ms = self.consumer.flow.fetch_wait_ms
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        if consumer._isolation_level != "read_uncommitted":
            raise RuntimeError("the transport reads uncommitted records too: no exactly_once, no read_committed")
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: AbstractSet[TP] | None,
        timeout: float | None = None,  # noqa: ASYNC109 (Faust's signature)
        max_records: int | None = None,
    ) -> Any:
        """What was fetched, with the number of the seek it was fetched after.

        A call can begin before a rebalance and end after it. What is taken from aiokafka here has moved its position:
        to drop it later loses it, unless a seek follows. So nothing is taken while the flow is stopped (a seek comes,
        or was just made), and the number tells the receiver whether the seek was before or after.
        """
        if not active_partitions:
            return None
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        limit = self.consumer.flow.max_chunk_records
        until = time.monotonic() + (timeout or 0.0)
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if fetcher._subscriptions.reassignment_in_progress:
                    return None  # what was fetched may not be ours any more
                self.handing_over = True
                drained = fetched(fetcher, active_partitions, limit)
                if drained:
                    return self.seek_number, drained
                self.handing_over = False
                wait = until - time.monotonic()
                if wait <= 0:
                    return None
                # aiokafka's own wait would hand over what arrives meanwhile before it could be marked above.
                waiter = fetcher._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=wait)
                if not waiter.done():
                    waiter.cancel()
                    return None
                if fetcher._closed:
                    return None
                waiter.result()
        return None

    async def committed_offsets(self, tps: Collection[TP]) -> dict[TP, int | None]:
        """Committed offsets of partitions, one request for each broker."""
        return cast(dict[TP, int | None], await self.call_thread(self._committed_offsets, tps))

    async def _committed_offsets(self, tps: Collection[TP]) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        return dict(zip(tps, await asyncio.gather(*(consumer.committed(tp) for tp in tps)), strict=True))

    async def bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]:
        """Earliest offset and end of each partition."""
        return cast(dict[TP, tuple[int, int]], await self.call_thread(self._bounds, list(tps)))

    async def _bounds(self, tps: list[TP]) -> dict[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        first = await consumer.beginning_offsets(tps)
        last = await consumer.end_offsets(tps)
        return {tp: (first[tp], last[tp]) for tp in tps}

    async def ends(self, tps: Collection[TP]) -> dict[TP, int]:
        """Ends of partitions. To be awaited on this thread's loop."""
        return dict(await self._ensure_consumer().end_offsets(list(tps)))

    def member(self) -> str | None:
        """Our id in the group, if we are in it."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        return getattr(coordinator, "member_id", None) or None

    async def start_at(self, starts: Mapping[TP, int], number: int) -> None:
        """Seek, in the thread that owns the consumer; drops what was fetched ahead."""
        await self.call_thread(self._start_at, starts, number)

    async def _start_at(self, starts: Mapping[TP, int], number: int) -> None:
        consumer = self._ensure_consumer()
        self.seek_number = number
        for tp, offset in starts.items():
            consumer.seek(driver.ensure_aiokafka_TP(tp), offset)

    async def counts(self, topics: Collection[str]) -> dict[str, int | None]:
        """Partition counts from fresh metadata; none for a topic that does not exist."""
        return cast(dict[str, int | None], await self.call_thread(self._counts, topics))

    async def _counts(self, topics: Collection[str]) -> dict[str, int | None]:
        client = self._ensure_consumer()._client

        def known() -> dict[str, int | None]:
            return {topic: len(client.cluster.partitions_for_topic(topic) or ()) or None for topic in topics}

        counts = known()
        if None in counts.values():
            await client.force_metadata_update()
            counts = known()
        return counts


class ChunkConsumer(driver.Consumer):
    """Faust's aiokafka consumer, but with chunks, ceilings and hooks."""

    _thread: ChunkConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flow: Flow = cast(ShellApp, self.app).flow
        self.flow._consumer = self
        self._something_active = asyncio.Event()
        self._seeking = asyncio.Lock()
        self._releasing = asyncio.Lock()
        self._seek_number = 0

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- assignment ----------------------------------------------------------------------------------------------------

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        if self.app.should_stop:
            return  # Faust closes the client under aiokafka's feet here, and both then wait for each other for a minute
        # Faust stops the flow only of a worker that had partitions. One that had none would meet what aiokafka says of
        # partitions whose place we have not told it yet, and end.
        self.stop_flow()
        try:
            await self._check_assignment(assigned)
        except AssignmentError as exc:
            die(exc)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _check_assignment(self, assigned: set[TP]) -> None:
        topics = sorted({topic for channel in self.app.topics for topic in channel.topics})
        counts = await self._thread.counts(topics)
        check_assignment(assigned, counts, self.flow.groups)

    async def perform_seek(self) -> None:
        """Called by Faust after every assignment, before records flow: load state, then seek."""
        try:
            async with self._seeking, asyncio.timeout(ASSIGN_LIMIT_S):
                await self._seek_to_start()
        except TimeoutError as exc:
            die(AssignmentError(f"loading state after an assignment took more than {ASSIGN_LIMIT_S:.0f} s: {exc!r}"))
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 (anything here would otherwise leave a worker that reads nothing)
            die(exc)

    async def _seek_to_start(self) -> None:
        flow = self.flow
        tps = frozenset(self.assignment())
        committed = await self._thread.committed_offsets(tps)
        bounds = await self._thread.bounds(tps)
        flow.loading = True
        try:
            wanted = await flow.on_assigned(tps) if flow.on_assigned is not None else {}
        finally:
            flow.loading = False
        reach(Place.ASSIGNED)
        starts = {tp: self._start(tp, wanted.get(tp), committed[tp], bounds[tp]) for tp in tps}
        self._seek_number += 1
        await self._thread.start_at(starts, self._seek_number)
        flow._forget(flow.assigned)
        for tp, start in starts.items():
            flow._begin(tp, start, committed[tp])
            if wanted.get(tp) is not None:
                flow.stored(tp, start)
        flow.assigned = tps

    def _start(self, tp: TP, wanted: int | None, committed: int | None, bounds: tuple[int, int]) -> int:
        first, end = bounds
        start = wanted if wanted is not None else committed
        if start is None:
            return first
        if start > end:
            # Seeking there would make the broker reset us to the earliest record, in silence.
            which = "stored" if wanted is not None else "committed"
            raise AssignmentError(
                f"{_name(tp)}: the {which} offset {start} is beyond its end {end}. "
                "The topic was made anew, or the state is another cluster's: use a new group and an empty store"
            )
        if start < first:
            self.flow.lost_records += first - start
            log.error("%s: offsets %d to %d are gone from the broker", _name(tp), start, first - 1)
            return first
        return start

    def resume_flow(self) -> None:
        super().resume_flow()
        self._something_active.set()
        if self.flow.on_flowing is not None:
            self.flow.on_flowing(self.flow.assigned)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.app.should_stop:
            await self.wait_empty()  # the stop does the same: whoever comes first
            return
        # Faust's own forgets the acks first and waits for the agents afterwards; ours are needed until the commit.
        await self._on_partitions_revoked(revoked)
        if self._active_partitions is not None:
            self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)

    async def wait_empty(self) -> None:
        """Called by Faust with the flow stopped, on rebalance and on stop: finish, let the shell store, commit."""
        async with self._releasing:
            while self._unacked_messages and not self.should_stop:
                self._clean_unacked_messages()
                if self._unacked_messages:
                    await self._wait_for_ack(timeout=1)
            flow, held = self.flow, self.flow.assigned
            if not held:
                return
            try:
                if flow.on_revoked is not None:
                    await flow.on_revoked(held)
                await asyncio.wait_for(self.commit(), COMMIT_LIMIT_S)
            except TimeoutError:
                log.warning(
                    "not committed within %.0f s before giving up partitions; the store is ahead", COMMIT_LIMIT_S
                )
            except Exception as exc:  # noqa: BLE001 (Faust would log it and lose the partitions with nothing stored)
                die(exc)
            flow.assigned = frozenset()
            flow._forget(held)

    # -- commits -------------------------------------------------------------------------------------------------------

    def _new_offset(self, tp: TP) -> int | None:
        return self.flow._ceiling.get(tp)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        flow = self.flow
        offsets = {
            tp: offset
            for tp in flow.assigned
            if (offset := self._new_offset(tp)) is not None and offset > flow._committed.get(tp, 0)
        }
        if not offsets:
            return False
        reach(Place.COMMITTING)
        if not await self._commit(offsets):
            return False
        reach(Place.COMMITTED)
        flow._committed.update((tp, offset) for tp, offset in offsets.items() if tp in flow._delivered)
        return True

    async def on_task_error(self, exc: BaseException) -> None:
        die(exc)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's livelock reports count acks; ours is `streams.watchdog`."""

    # -- the drain loop ------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        callback = self.callback
        suspended = self.suspend_flow.wait
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                async with contextlib.aclosing(self.getmany(timeout=1.0)) as fetched:
                    async for _tp, message in fetched:
                        # The callback waits while the flow is suspended or the agent's buffer is full.
                        await self.wait_first(callback(message), suspended())
                        if not self.flow_active:
                            break
                await asyncio.sleep(0)
        except self.consumer_stopped_errors as exc:
            if not self.app.should_stop:
                die(exc)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception as exc:  # noqa: BLE001 (a dead drain loop is a worker that does nothing)
            die(exc)

    async def getmany(self, timeout: float) -> AsyncGenerator[tuple[TP, ConsumerMessage], None]:  # noqa: ASYNC109
        answer, _active = await self._wait_next_records(timeout)
        if answer is None or self.should_stop:
            return
        number, fetched = answer
        try:
            for aiokafka_tp, records in fetched.items():
                # Both mean: a seek comes after this was taken, so it is read again. Nothing else may drop a record.
                if not self.flow_active or number != self._seek_number:
                    return
                chunk = self._register(TP(aiokafka_tp.topic, aiokafka_tp.partition), records)
                if chunk is not None:
                    yield chunk.tp, self._message(chunk)
        finally:
            self._thread.handing_over = False

    def _register(self, tp: TP, records: Records) -> Chunk | None:
        flow = self.flow
        expected = flow._delivered.get(tp)
        if expected is None:
            return None
        if records and records.offsets[0] < expected:
            records = records[bisect_left(records.offsets, expected) :]
        if not records:
            return None
        chunk = Chunk(tp, records)
        if flow.on_taken is not None:
            flow.on_taken(tp, records)
        flow._delivered[tp] = chunk.next_offset
        flow._in_flight[tp].append(chunk.first_offset)
        return chunk

    def _message(self, chunk: Chunk) -> ConsumerMessage:
        last = chunk.records[-1]
        return ConsumerMessage(
            chunk.tp.topic,
            chunk.tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            None,
            None,
            cast(bytes, chunk),  # handed on untouched by `ChunkSchema`
            None,
            0,
            0,
            chunk.tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109
        if not self.flow_active:
            await self.wait(cast(Any, self.can_resume_flow))
        active = self._get_active_partitions()
        if not active:
            # Faust sleeps a whole second here, whenever the buffer of every partition is full.
            self._something_active.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._something_active.wait(), IDLE_WAIT_S)
            return None, active
        return await self._getmany(active_partitions=set(active), timeout=timeout), active

    # -- buffers and pausing -------------------------------------------------------------------------------------------

    def on_buffer_drop(self, tp: TP) -> None:
        self._buffered_partitions.discard(tp)
        if tp not in self._paused_partitions and tp in self.flow.assigned:
            self._get_active_partitions().add(tp)
            self._something_active.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._something_active.set()

    # -- watching ------------------------------------------------------------------------------------------------------

    def drained_to(self, tp: TP) -> int:
        """Like `fetched_to`, but -1 while something taken from aiokafka is on its way to the agent's queue."""
        # In this order: the thread raises its flag before it moves a position, and only this loop lowers it then.
        position = self.fetched_to(tp)
        return -1 if self._thread.handing_over else position

    def heard_ms(self, tp: TP) -> int | None:
        """When the broker last answered for a partition, epoch milliseconds; none before the first answer."""
        assignment = self._thread._ensure_consumer()._subscription.subscription.assignment
        state = assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment is not None else None
        return None if state is None else state.timestamp

    def fetched_to(self, tp: TP) -> int:
        """The offset the next record handed over by aiokafka will have at least."""
        assignment = self._thread._ensure_consumer()._subscription.subscription.assignment
        state = assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment is not None else None
        return state.position if state is not None and state.has_valid_position else -1

    async def bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]:
        return await self._thread.bounds(tps)

    def partition_count(self, topic: str) -> int | None:
        return len(self._thread._ensure_consumer()._client.cluster.partitions_for_topic(topic) or ()) or None

    async def on_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop of the thread that owns aiokafka's consumer. Not by Faust's queue of calls: two that wait
        for a broker would keep fetches and commits from their turn."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._thread.thread_loop))

    async def ends(self, tps: Collection[TP]) -> dict[TP, int]:
        return await self.on_thread(self._thread.ends(tps))

    def member(self) -> str | None:
        return self._thread.member()


def check_assignment(
    assigned: AbstractSet[TP], counts: Mapping[str, int | None], groups: Iterable[Collection[str]] = ()
) -> None:
    """Raise `AssignmentError` unless every topic exists and partition p of a whole group is ours or none of it is."""
    missing = sorted(topic for topic, count in counts.items() if not count)
    if missing:
        raise AssignmentError(f"missing topics: {', '.join(missing)}. Create them: zhinao topics create")
    for group in groups:
        topics = sorted(set(group) & counts.keys())
        sizes = {topic: counts[topic] for topic in topics}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{topic} has {size}" for topic, size in sizes.items())
            raise AssignmentError(f"topics read together need equal partition counts: {listed}")
        held = {topic: {tp.partition for tp in assigned if tp.topic == topic} for topic in topics}
        every = set().union(*held.values())
        for topic, partitions in held.items():
            if partitions != every:
                lacking = ", ".join(map(str, sorted(every - partitions)))
                raise AssignmentError(
                    f"we hold partition {lacking} of other topics of its group but not of {topic}: "
                    "do all workers of the group run the same version and table_standby_replicas >= 1?"
                )


class ChunkTransport(driver.Transport):
    """Registered under `zhinao://`; the producer side is Faust's own."""

    Consumer: ClassVar[type[ConsumerT]] = ChunkConsumer


drivers.TRANSPORTS.aliases[SCHEME] = "streams.transport:ChunkTransport"


class ChunkSchema(faust.Schema[Any, Any]):
    """Hands the chunk on as it is: decoding is the core's."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value


class _NoWeb(BootStrategy):
    enable_web = False


class ShellApp(faust.App):
    """A Faust app on the batch transport: no web, no tables, no leader; failures end the process."""

    BootStrategy = _NoWeb

    def __init__(self, *args: Any, flow: Flow, **kwargs: Any) -> None:
        self.flow = flow
        super().__init__(*args, **kwargs)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        die(exc)

    def _create_directories(self) -> None:
        """Faust would make folders for tables; there are none."""


def create_app(
    group: str,
    servers: str,
    flow: Flow,
    *,
    embedded: bool = False,
    credentials: Any = None,
    **options: Any,
) -> ShellApp:
    """A new app of consumer group `group` on `servers` ("host:port,…"). `embedded` shortens the rejoin waits."""
    timing: dict[str, Any] = (
        {"broker_session_timeout": 4.0, "broker_heartbeat_interval": 1.0}
        if embedded
        else {"broker_session_timeout": 10.0, "broker_heartbeat_interval": 3.0}
    )
    settings: dict[str, Any] = {
        "broker": ";".join(f"{SCHEME}://{server.strip()}" for server in servers.split(",")),
        "broker_credentials": credentials,
        "autodiscover": False,
        "web_enabled": False,
        "topic_allow_declare": False,  # topics are made by `zhinao topics create`; the embedded broker cannot
        "topic_disable_leader": True,
        # With 0 and no tables Faust swaps its co-partitioning assignor for round robin.
        "table_standby_replicas": 1,
        "stream_buffer_maxsize": BUFFERED_CHUNKS,
        "stream_wait_empty": True,
        # We always seek. A reset behind our back would skip or repeat records in silence: an error, and a restart.
        "consumer_auto_offset_reset": "none",
        "broker_commit_interval": 1.0,
        "worker_redirect_stdouts": False,
        **timing,
        **options,
    }
    return ShellApp(group, flow=flow, **settings)


def bind_agent(
    app: ShellApp, name: str, topics: Collection[str], handle: Callable[[Chunk], Awaitable[None]]
) -> faust.Agent:
    """One agent over all the topics: `handle` gets chunk after chunk, one at a time, in partition order.

    Whatever `handle` raises ends the process: the chunk is not committed and comes again after the restart.
    """
    flow = app.flow

    async def run(stream: Any) -> None:
        try:
            async for chunk in stream:
                await handle(chunk)
                flow.finished(chunk)
        except asyncio.CancelledError:
            if not app.should_stop:
                die("an agent was cancelled in the middle of a chunk")
            raise
        except Exception as exc:  # noqa: BLE001 (that is the point)
            die(exc)

    run.__name__ = name
    channel = app.topic(*topics, schema=ChunkSchema(), allow_empty=True)
    return cast(faust.Agent, app.agent(channel, name=name)(run))
