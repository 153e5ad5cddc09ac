"""Orders on their way to the units' own system: each goes out in its turn, until somebody has taken it.

The promise is the contract's: at least once on the wire, one effect at a receiver that knows `Idempotency-Key`. An
order is done when the receiver took it (2xx), knew it (409) or refused it for good (other 4xx); everything else is
tried again without end. Orders of one incident go one after the other, those of different incidents side by side; how
many are on their way, and how many wait, is bounded. Nothing here knows HTTP or Kafka.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from models.dispatch import DispatchOrder, Feedback
from models.faults import is_id
from models.ids import content_id
from models.times import BadTime, parse_time_us
from streams.clock import Clock

ACTIONS = frozenset(("accepted", "arrived", "handled", "returned", "extension_requested", "rejected", "note"))
MAX_NOTE = 1000
# Orders that are told apart from their repeats; a city issues some thousand a day.
MAX_KNOWN = 100_000

KNOWN, TOO_EARLY, TIMED_OUT, TOO_MANY, UNAVAILABLE = 409, 425, 408, 429, 503
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_RETRY_AFTER_S = 120.0
PARALLEL = 8
# Read and not delivered; some MB. Beyond it nothing more is read.
MAX_WAITING = 2000

_decode_order = msgspec.json.Decoder(DispatchOrder).decode


class Parcel(NamedTuple):
    """An order to deliver. `key` is its Idempotency-Key, `place` where it was read, `since_us` when it was issued."""

    key: str
    order: DispatchOrder
    body: bytes
    place: tuple[Hashable, int]
    since_us: int


class Reply(NamedTuple):
    """What the receiver said. A body that was too long is empty."""

    status: int
    body: bytes = b""
    retry_after_s: float = 0.0


class NoReply(Exception):
    """Nobody answered, or not in time: whether the order was taken is not known."""


class Receiver(Protocol):
    """Where orders go."""

    async def post(self, parcel: Parcel) -> Reply:
        """Hand one over. Raises NoReply."""


class Outcome(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    KNOWN = "known"
    REFUSED = "refused"
    RETRY = "retry"


def judge(status: int) -> Outcome:
    """A redirect is no answer about the order, so it is tried again: it may be somebody's login page."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == KNOWN:
        return Outcome.KNOWN
    if 400 <= status < 500 and status not in (TIMED_OUT, TOO_EARLY, TOO_MANY):
        return Outcome.REFUSED
    return Outcome.RETRY


# ------------------------------------------------------------------------------------------------------------- reading


@dataclass(slots=True)
class Orders:
    """Reads `dispatch.orders` as the contract says: lower epochs are ignored, each order and each cancelling is taken
    once. An epoch counts in its partition: elsewhere the records of the one before may still be unread."""

    epochs: dict[Hashable, int] = field(default_factory=dict)
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, record: Any, place: tuple[Hashable, int]) -> Parcel | None:
        """The parcel of a record, or None with its cause counted."""
        epoch = _epoch(record)
        if epoch < self.epochs.get(place[0], 0):
            self.counts["old_epoch"] += 1
            return None
        self.epochs[place[0]] = epoch
        try:
            order = _decode_order(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.counts["unreadable"] += 1
            return None
        key = f"{order.order_id}/cancelled" if order.cancelled else order.order_id
        if key in self.known:
            self.counts["repeated"] += 1
            return None
        self.known[key] = None
        if len(self.known) > MAX_KNOWN:
            self.known.popitem(last=False)
        return Parcel(key, order, record.value, place, record.timestamp * 1000)

    def untake(self, parcels: Iterable[Parcel]) -> None:
        """They were not delivered by us: read again, they are taken again."""
        for parcel in parcels:
            self.known.pop(parcel.key, None)


def _epoch(record: Any) -> int:
    text = dict(record.headers).get("ce_epoch", b"0")
    return int(text) if text.isdigit() else 0


class Offsets:
    """Which offset of each partition may be committed: the first whose order is not done, else the end of what was
    read."""

    def __init__(self) -> None:
        self._next: dict[Hashable, int] = {}
        self._open: dict[Hashable, set[int]] = {}

    def begin(self, partition: Hashable, offset: int) -> None:
        self._next[partition], self._open[partition] = offset, set()

    def read(self, partition: Hashable, offset: int, *, done: bool) -> None:
        """A record was read; `done`: nothing is to be delivered of it."""
        self._next[partition] = offset + 1
        if not done:
            self._open[partition].add(offset)

    def done(self, partition: Hashable, offset: int) -> None:
        """Its order is done. Nothing where the partition has gone."""
        self._open.get(partition, set()).discard(offset)

    def forget(self, partition: Hashable) -> None:
        self._next.pop(partition, None)
        self._open.pop(partition, None)

    def committable(self) -> dict[Hashable, int]:
        return {tp: min(self._open[tp], default=end) for tp, end in self._next.items()}


# ------------------------------------------------------------------------------------------------------------- circuit


class Circuit:
    """Keeps from a receiver in trouble what it cannot take. After so many failures in a row it opens; when `open_s` has
    passed one order goes as a probe, and its fate closes the circuit or keeps it open for twice as long."""

    def __init__(self, clock: Clock, *, failures: int = 5, open_s: float = 2.0, longest_s: float = 60.0) -> None:
        self._clock, self._most, self._first_s, self._longest_s = clock, failures, open_s, longest_s
        self._failures, self._open_s, self._until_s = 0, open_s, 0.0
        self._probing = False
        self._changed = asyncio.Event()
        self.openings = 0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._most

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Entered when an attempt may be made. `succeeded` or `failed` is called inside."""
        while (wait_s := self._wait_s()) > 0 or (self.is_open and self._probing):
            self._changed.clear()
            try:
                async with asyncio.timeout(max(wait_s, 0.01) if not self._probing else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
        probe = self._probing = self.is_open
        try:
            yield
        finally:
            if probe:
                self._probing = False
            self._changed.set()

    def succeeded(self) -> None:
        self._failures, self._open_s = 0, self._first_s

    def failed(self) -> None:
        was_open = self.is_open
        self._failures += 1
        if self.is_open:
            self._open_s = min(2 * self._open_s, self._longest_s) if was_open and self._probing else self._open_s
            self.rest(self._open_s)
            self.openings += not was_open

    def rest(self, seconds: float) -> None:
        """Nobody goes for so long, as the receiver asked."""
        self._until_s = max(self._until_s, self._clock.monotonic_s() + seconds)

    def _wait_s(self) -> float:
        return self._until_s - self._clock.monotonic_s()


# ------------------------------------------------------------------------------------------------------------- courier

Done = Callable[[Parcel, Outcome, Reply], Awaitable[None]]


class Courier:
    """Delivers what is put. `on_done` is awaited once for each parcel, before the next of its incident goes; what it
    raises ends the courier: `failed` has it."""

    def __init__(self, receiver: Receiver, circuit: Circuit, on_done: Done, *, parallel: int = PARALLEL) -> None:
        self._receiver, self.circuit, self._on_done = receiver, circuit, on_done
        self._slots = asyncio.Semaphore(parallel)
        self._lanes: dict[str, deque[Parcel]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.counts: Counter[str] = Counter()

    def put(self, parcel: Parcel) -> None:
        """Take a parcel; returns at once. Ask `full` before more is read."""
        incident = parcel.order.incident_id
        lane = self._lanes.get(incident)
        if lane is not None:
            lane.append(parcel)
            return
        self._lanes[incident] = deque((parcel,))
        self._tasks[incident] = asyncio.get_running_loop().create_task(self._walk(incident))

    @property
    def waiting(self) -> int:
        """Parcels that are not done."""
        return sum(map(len, self._lanes.values()))

    @property
    def full(self) -> bool:
        return self.waiting >= MAX_WAITING

    def oldest_us(self) -> int | None:
        """When the oldest parcel that is not done was issued."""
        return min((lane[0].since_us for lane in self._lanes.values()), default=None)

    async def settle(self, within_s: float) -> None:
        """Give what is on its way the time to arrive."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=within_s)

    async def forget(self, partitions: Collection[Hashable] | None = None) -> list[Parcel]:
        """Of these partitions, or all: others deliver them. What is on its way may arrive all the same. Gives what was
        not done."""
        going = [
            incident
            for incident, lane in self._lanes.items()
            if partitions is None or lane[0].place[0] in partitions  # an incident's orders are on one partition
        ]
        left, tasks = list[Parcel](), [self._tasks.pop(incident) for incident in going]
        for incident, task in zip(going, tasks, strict=True):
            task.cancel()
            left += self._lanes.pop(incident)
        await asyncio.gather(*tasks, return_exceptions=True)
        return left

    async def _walk(self, incident: str) -> None:
        lane = self._lanes[incident]
        try:
            while lane:
                await self._deliver(lane[0])
                lane.popleft()
        except Exception as why:  # noqa: BLE001 (whatever it is, what was not done must not be committed)
            if not self.failed.done():
                self.failed.set_exception(why)
            return
        del self._lanes[incident], self._tasks[incident]

    async def _deliver(self, parcel: Parcel) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            reply = await self._attempt(parcel)
            outcome = Outcome.RETRY if reply is None else judge(reply.status)
            self.counts[outcome] += 1
            if reply is not None and outcome is not Outcome.RETRY:
                await self._on_done(parcel, outcome, reply)
                return
            after_s = 0.0 if reply is None else reply.retry_after_s
            await asyncio.sleep(max(pause_s * (0.5 + random.random() / 2), after_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _attempt(self, parcel: Parcel) -> Reply | None:
        """One try; None where nobody answered."""
        async with self._slots, self.circuit.turn():
            try:
                reply = await self._receiver.post(parcel)
            except NoReply:
                self.counts["no_reply"] += 1
                self.circuit.failed()
                return None
            if judge(reply.status) is not Outcome.RETRY:
                self.circuit.succeeded()
            elif reply.status == TOO_MANY:  # it is well, and says when it wants more
                self.circuit.rest(reply.retry_after_s)
            else:
                self.circuit.failed()
                if reply.status == UNAVAILABLE:
                    self.circuit.rest(reply.retry_after_s)
            return reply


# ------------------------------------------------------------------------------------------------------------ feedback


class Said(msgspec.Struct):
    """What a reply's body may tell of the order."""

    action: str
    actor: str | None = None
    time: int | str | None = None
    note: str | None = None


_decode_said = msgspec.json.Decoder(Said).decode


def feedback_id(order_id: str, action: str) -> str:
    """What a feedback goes by that comes of a reply: the same for every attempt, and for a callback that uses it."""
    return content_id("f", order_id, action)


def feedback_of(parcel: Parcel, reply: Reply, now_ms: int) -> Feedback | None:
    """What a reply says of its order; None where it says nothing that we know, or its order is taken back."""
    try:
        said = _decode_said(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if said.action not in ACTIONS or parcel.order.cancelled:
        return None
    order = parcel.order
    actor = said.actor if said.actor is not None and is_id(said.actor) else order.unit_id or order.department
    return msgspec.convert(
        {
            "feedback_id": feedback_id(order.order_id, said.action),
            "order_id": order.order_id,
            "incident_id": order.incident_id,
            "action": said.action,
            "actor": actor,
            "time": _instant(said.time, now_ms),
            "note": said.note[:MAX_NOTE] if said.note else None,
        },
        Feedback,
    )


def _instant(said: int | str | None, now_ms: int) -> int:
    """Epoch milliseconds; now where nothing usable is said, and never later."""
    if said is None:
        return now_ms
    try:
        return min(parse_time_us(said) // 1000, now_ms)
    except BadTime:
        return now_ms
