"""Ends a worker that has stopped working, with its cause: a supervisor starts it again, and replay does the rest.

Three things are watched:

- **the loop**: it must beat; a thread looks. Stuck for `LOOP_LIMIT_S`: the stacks of all threads, then the end;
- **progress**: a partition with records waiting whose agent finishes none for `limit_s`, although the broker answers;
  partitions on hold (`Flow.pause`) are exempt here and alarmed by `streams.health`;
- **membership**: no partitions for `limit_s` although the group should give us some, or partitions and no flow. A
  worker that the group has none left for is fine and stays.

Time that we did not see pass counts for nothing: a process that was stopped (SIGSTOP, a frozen container) goes on where
it was, and whether it may still write is the business of the group's generation and the stores' epochs. A broker that
does not answer is nobody's stall: time stands still until it does. What holds Python's interpreter lock for ever stops
the watching thread as well; that is seen from outside only, by /healthz not answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import faust

from streams import logs
from streams.transport import ASSIGN_LIMIT_S, TP, Flow, Sight, die

log = logging.getLogger(__name__)

BEAT_S = 0.25
"""Between two beats of the loop."""
LOOP_LIMIT_S = 5.0
"""A loop that has not beaten for so long is stuck. Its longest work, deciding 4,096 records, takes some 50 ms."""
LOOK_S = 1.0
ASK_EVERY_S = 10.0
"""Between two questions to the broker where our partitions end."""
STALL_S = 60.0
"""Without progress, or without partitions, for so long: the setting's default."""
STEP_S = 5.0
"""The wall clock has been set if it moved by so much against the steady one between two looks."""

Standby = Callable[[], Awaitable[bool]]
"""Whether others of the group hold every partition there is. Raises when the broker does not say."""


class Elapsed:
    """Seconds seen to pass. A look that comes much later than it should counts as one that came in time."""

    def __init__(self, at_s: float, most_s: float) -> None:
        self._at_s, self._most_s = at_s, most_s

    def since_last(self, now_s: float) -> float:
        passed, self._at_s = min(max(now_s - self._at_s, 0.0), self._most_s), now_s
        return passed


class LoopWatch:
    """Whether a loop beats. Knows no clock and no thread; `look` gives the seconds without a beat."""

    def __init__(self, now_s: float, look_s: float) -> None:
        self._elapsed = Elapsed(now_s, 2 * look_s)
        self._seen = 0
        self.beats = 0
        self.silent_s = 0.0

    def look(self, now_s: float) -> float:
        passed = self._elapsed.since_last(now_s)
        if self.beats != self._seen:
            self._seen, self.silent_s = self.beats, 0.0
        else:
            self.silent_s += passed
        return self.silent_s


class Progress:
    """How long each partition with something to read has stood still. Knows no clock."""

    def __init__(self, now_s: float, look_s: float = LOOK_S) -> None:
        self._elapsed = Elapsed(now_s, 2 * look_s)
        self._done: dict[TP, int | None] = {}
        self.idle_s: dict[TP, float] = {}

    def look(self, now_s: float, sights: Mapping[TP, Sight], *, counting: bool = True) -> float:
        """The longest stand-still, seconds. Not `counting` (the broker is away): time stands still for all."""
        passed = self._elapsed.since_last(now_s) * counting
        self.idle_s = {tp: self._idle(tp, sight, passed) for tp, sight in sights.items()}
        self._done = {tp: sight.done for tp, sight in sights.items()}
        return max(self.idle_s.values(), default=0.0)

    def _idle(self, tp: TP, sight: Sight, passed_s: float) -> float:
        waits = bool(sight.lag) and not sight.paused
        if not waits or self._done.get(tp) != sight.done:
            return 0.0
        return self.idle_s.get(tp, 0.0) + passed_s


class Membership:
    """How long no records could flow to us: no partitions, or a rebalance without an end. Knows no clock."""

    def __init__(self, now_s: float, look_s: float = LOOK_S) -> None:
        self._elapsed = Elapsed(now_s, 2 * look_s)
        self.without_s = 0.0

    def look(self, now_s: float, *, flowing: bool, excused: bool) -> float:
        """Seconds without. `excused`: loading state, the broker away, or the group has none left for us."""
        passed = self._elapsed.since_last(now_s)
        if flowing:
            self.without_s = 0.0
        elif not excused:
            self.without_s += passed
        return self.without_s


class WallWatch:
    """When the wall clock was last set by more than `STEP_S`. Knows no clock."""

    def __init__(self, now_us: int, now_s: float) -> None:
        self._offset_s = now_us / 1e6 - now_s
        self.steps = 0
        self.step_s = 0.0
        self.at_s: float | None = None

    def look(self, now_us: int, now_s: float) -> None:
        offset_s = now_us / 1e6 - now_s
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(step_s) > STEP_S:
            self.steps, self.step_s, self.at_s = self.steps + 1, step_s, now_s


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so, as of `at_s` (steady seconds): made on the loop every second, read by any thread."""

    at_s: float
    sights: Mapping[TP, Sight] = field(default_factory=dict)
    idle_s: Mapping[TP, float] = field(default_factory=dict)
    without_s: float = 0.0
    waiting_s: float = 0.0
    """Of the partition longest on hold."""
    broker_silent_s: float = 0.0
    flowing: bool = False
    loading: bool = False
    standby: bool = False
    generation: int = 0
    rebalances: int = 0
    lost_records: int = 0
    clock_steps: int = 0
    clock_step_s: float = 0.0
    clock_step_at_s: float | None = None

    @property
    def lag(self) -> int:
        return sum(sight.lag or 0 for sight in self.sights.values())

    @property
    def on_hold(self) -> int:
        return sum(sight.paused for sight in self.sights.values())


class Watchdog(faust.Service):
    """Runs beside the worker's app (`run_worker` sees to it). `facts` and `loop_silent_s` may be read by any thread.

    `on_beat` gets each beat's lateness in seconds, on the loop. `standby` says whether the group has none left for us;
    without it nobody is excused for having no partitions.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        limit_s: float = STALL_S,
        standby: Standby | None = None,
        on_beat: Callable[[float], None] | None = None,
    ) -> None:
        self.flow, self.limit_s, self.standby, self.on_beat = flow, limit_s, standby, on_beat
        now_s = time.monotonic()
        self.facts = Facts(now_s)
        self._loop_watch = LoopWatch(now_s, LOOP_LIMIT_S / 10)
        self._progress, self._membership = Progress(now_s), Membership(now_s)
        self._wall = WallWatch(time.time_ns() // 1000, now_s)
        self._silent_since_s: float | None = None
        self._excused = False
        self._over = threading.Event()
        super().__init__()

    @property
    def loop_silent_s(self) -> float:
        """Seconds since the loop's last beat, as far as they were seen to pass."""
        return self._loop_watch.silent_s

    async def on_start(self) -> None:
        now_s = time.monotonic()
        self._loop_watch = LoopWatch(now_s, LOOP_LIMIT_S / 10)
        self._progress, self._membership = Progress(now_s), Membership(now_s)
        threading.Thread(target=self._watch_loop, name="watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._over.set()

    # the loop, from a thread

    def _watch_loop(self) -> None:
        while not self._over.wait(LOOP_LIMIT_S / 10):
            silent_s = self._loop_watch.look(time.monotonic())
            # State is loaded in one piece, and no smaller limit than that of loading would be met by a large city.
            if silent_s > (ASSIGN_LIMIT_S if self.flow.loading else LOOP_LIMIT_S):
                end_from_outside(f"its loop has been stuck for {silent_s:.0f} s; the stacks of its threads are above")

    @faust.Service.task
    async def _beat(self) -> None:
        due_s = time.monotonic()
        while not self.should_stop:
            now_s = time.monotonic()
            self._loop_watch.beats += 1
            if self.on_beat is not None:
                self.on_beat(max(0.0, now_s - due_s))
            due_s = now_s + BEAT_S
            await asyncio.sleep(BEAT_S)

    # progress and membership, on the loop

    @faust.Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(LOOK_S)
            try:
                self._look_once(time.monotonic())
            except Exception as why:  # noqa: BLE001 (a watchdog that is gone is a worker nobody watches)
                die(why)

    def _look_once(self, now_s: float) -> None:
        flow, sights = self.flow, self.flow.view()
        answering = self._silent_since_s is None
        flowing = flow.flowing
        idle_s = self._progress.look(now_s, sights if flowing else {}, counting=answering)
        excused = flow.loading or self._excused or not answering
        without_s = self._membership.look(now_s, flowing=flowing, excused=excused)
        self._wall.look(time.time_ns() // 1000, now_s)
        self.facts = self._facts(now_s, sights, flowing, without_s)
        if self.should_stop or flow.stopping:
            return
        if idle_s > self.limit_s:
            stuck = sorted(tp for tp, seconds in self._progress.idle_s.items() if seconds > self.limit_s)
            names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in stuck)
            die(f"nothing was finished for {self.limit_s:g} s although there are records on {names}")
        if without_s > self.limit_s:
            die(
                f"no records could flow for {self.limit_s:g} s: "
                + ("it has partitions, but a rebalance does not end" if flow.assigned else "the group gives it none")
            )

    def _facts(self, now_s: float, sights: Mapping[TP, Sight], flowing: bool, without_s: float) -> Facts:
        flow, silent = self.flow, self._silent_since_s
        return Facts(
            at_s=now_s,
            sights=sights,
            idle_s=dict(self._progress.idle_s),
            without_s=without_s,
            waiting_s=max((now_s - since_s for since_s in flow.paused.values()), default=0.0),
            broker_silent_s=0.0 if silent is None else now_s - silent,
            flowing=flowing,
            loading=flow.loading,
            standby=self._excused and not flow.assigned,
            generation=flow.generation if flow.started else 0,
            rebalances=flow.rebalances,
            lost_records=flow.lost_records,
            clock_steps=self._wall.steps,
            clock_step_s=self._wall.step_s,
            clock_step_at_s=self._wall.at_s,
        )

    # the broker

    @faust.Service.task
    async def _ask(self) -> None:
        while not self.should_stop:
            if self.flow.started:
                await self._ask_once(time.monotonic())
            logs.settle()
            await asyncio.sleep(min(ASK_EVERY_S, self.limit_s / 6))

    async def _thread_answers(self) -> bool:
        for _ in range(2):  # the first may have run out while the whole process was stopped
            try:
                await self.flow.ask_thread()
                return True
            except TimeoutError:
                continue
            except RuntimeError:  # its loop is closed: we are stopping
                return False
        if not self.should_stop:
            die("the thread of its Kafka client is stuck")
        return False

    async def _ask_once(self, asked_s: float) -> None:
        if not await self._thread_answers():
            return
        try:
            await self.flow.ask_ends()
        except Exception as why:  # noqa: BLE001 (whatever a client says of a broker that is not there)
            if self._silent_since_s is None:
                self._silent_since_s = asked_s
                log.warning("Kafka 不应答 / the broker does not answer: %s: %s", type(why).__name__, why)
            return
        self._silent_since_s = None
        # Whoever has no partitions asks why, early enough to be excused in time.
        if self._excused or self._membership.without_s > self.limit_s / 4:
            self._excused = not self.flow.assigned and await self._is_standby()

    async def _is_standby(self) -> bool:
        try:
            async with asyncio.timeout(ASK_EVERY_S):
                return self.standby is not None and await self.standby()
        except Exception as why:  # noqa: BLE001 (the embedded broker knows nothing of groups; then nobody is excused)
            log.warning("消费组状态问不到 / the group cannot be described: %s: %s", type(why).__name__, why)
            return False


def end_from_outside(cause: str) -> None:
    """End the process from another thread than the stuck one: it takes no lock that one may hold, least of all
    logging's or stderr's."""
    with contextlib.suppress(Exception):
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
        os.write(2, logs.last_words(f"the worker stops: {cause}").encode())
    os._exit(1)
