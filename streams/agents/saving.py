"""Saving beside the work: a snapshot is taken between chunks and written while the next chunks are decided."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from streams.transport import die


class Saving:
    """One save at a time. A save that fails ends the process: state that can't be stored must not be built on."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def begin(self, save: Coroutine[None, None, None]) -> None:
        """Start a save; the caller has seen that none is under way."""
        self._task = asyncio.get_running_loop().create_task(self._guarded(save))

    async def finish(self) -> None:
        """Wait for the one under way."""
        if self._task is not None:
            await self._task

    @staticmethod
    async def _guarded(save: Coroutine[None, None, None]) -> None:
        try:
            await save
        except Exception as why:  # noqa: BLE001 (whatever it is, the offsets behind it may not be committed)
            die(why)


def by_topic(stored: object) -> dict[str, int]:
    """Offsets or clocks by topic, as a save's meta holds them."""
    return {str(topic): int(at) for topic, at in dict(stored).items()}  # type: ignore[call-overload]
