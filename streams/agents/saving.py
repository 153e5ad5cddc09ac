"""Saving beside the work: a snapshot is taken between chunks and written while the next chunks are decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from streams.clock import Clock
from streams.transport import die

Save = Coroutine[None, None, None]


class Saving:
    """When the state of one thing is stored: when due, if it changed, one save at a time.

    `snapshot` takes the state at once and gives the coroutine that writes it, or nothing where there is nothing to be
    stored; under `lock`, which keeps it from falling between a decision and its acks, and after `settled`. A save that
    fails ends the process: state that can't be stored must not be built on.
    """

    def __init__(
        self,
        snapshot: Callable[[], Save | None],
        settled: Callable[[], Awaitable[None]],
        lock: asyncio.Lock,
        clock: Clock,
        every_s: float,
    ) -> None:
        self.changed = False
        self._snapshot, self._settled, self._lock = snapshot, settled, lock
        self._clock, self._every_s = clock, every_s
        self._began_s = clock.monotonic_s()
        self._task: asyncio.Task[None] | None = None

    async def when_due(self) -> None:
        """Begin a save if the last one began long enough ago."""
        if self._clock.monotonic_s() - self._began_s >= self._every_s:
            await self.begin()

    async def begin(self) -> None:
        """Begin a save, unless nothing changed or one is under way: then the next turn is for what changed since."""
        async with self._lock:
            self._began_s = self._clock.monotonic_s()
            if self.changed and (self._task is None or self._task.done()):
                await self._settled()
                self.changed = False
                save = self._snapshot()
                if save is not None:
                    self._task = asyncio.get_running_loop().create_task(self._guarded(save))

    async def written(self) -> None:
        """Wait for the save under way."""
        if self._task is not None:
            await self._task

    async def last(self) -> None:
        """Everything is stored when this returns."""
        await self.written()
        await self.begin()
        await self.written()

    @staticmethod
    async def _guarded(save: Save) -> None:
        try:
            await save
        except Exception as why:  # noqa: BLE001 (whatever it is, the offsets behind it may not be committed)
            die(why)
