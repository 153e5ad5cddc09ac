"""Run a Faust worker inside our own process: no Faust command line, nothing on stdout but what the caller prints.

Ends with 0 after SIGTERM or SIGINT (state stored, offsets committed), with 1 and the cause on stderr otherwise.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import faust

from streams import logs
from streams.transport import TP, ShellApp, die
from streams.watchdog import Watchdog

# For aiokafka to leave the group and close its connections, once the partitions are given up. It takes 0.1 s.
GRACE_S = 5.0
# Storing takes a second or two. Longer means that nobody takes it.
STOP_WITHIN_S = 15.0


class _Worker(faust.Worker):
    """Faust's worker: quiet, and dead when one of its services is."""

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Faust would put the folder and the ports in the process list."""

    def _crash(self, reason: BaseException) -> None:
        # Any service that crashes takes its parents with it, up to here. Faust would wind down and could commit.
        die(reason)

    def change_workdir(self, path: Path) -> None:
        """The caller's folder is the right one."""

    async def _stop_on_signal(self, signal: signal.Signals) -> None:
        hurry = asyncio.ensure_future(self._hurry())
        await super()._stop_on_signal(signal)
        hurry.cancel()

    async def _hurry(self) -> None:
        """With everything stored and committed, a client that does not come to its end is not waited for; nor is a
        broker that has gone, and with it the chance to store: the next start repeats what was not."""
        flow = cast(ShellApp, self.app).flow
        given_up_s = time.monotonic() + STOP_WITHIN_S
        while flow.assigned:
            await asyncio.sleep(0.05)
            if time.monotonic() > given_up_s:
                die(f"it could not store and let go within {STOP_WITHIN_S:g} s; is the broker there?")
        await asyncio.sleep(GRACE_S)
        die("its Kafka client did not end in time; all is stored", code=0)

    async def _sentinel_task(self) -> None:
        """Faust waits a second here before it closes its loop, for nothing we have."""


def run_worker(
    app: ShellApp,
    *,
    on_ready: Callable[[frozenset[TP]], None] | None = None,
    log_format: logs.Style = "text",
    log_level: int | str = logging.WARNING,
    timezone: str = "Asia/Shanghai",
    services: tuple[faust.Service, ...] = (),
    watchdog: Watchdog | None = None,
) -> int:
    """Run `app` until it is told to stop; returns the exit code 0.

    `on_ready` is called once, with the partitions, when records begin to flow after the first assignment. Logs go to
    stderr. `services` are started before and stopped after the app. No worker runs without a watchdog.
    """
    logs.install(log_format, timezone, level=log_level)
    if on_ready is not None:
        _call_once(app, on_ready)
    worker = _Worker(
        app,
        watchdog or Watchdog(app.flow),
        *services,
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
    )
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if end.code not in (0, None):
            die(worker.crash_reason or f"Faust's worker ended with {end.code}")
    except KeyboardInterrupt:
        pass
    return 0


def _call_once(app: ShellApp, on_ready: Callable[[frozenset[TP]], None]) -> None:
    flow = app.flow
    already: Any = flow.on_flowing

    def flowing(tps: frozenset[TP]) -> None:
        flow.on_flowing = already
        if already is not None:
            already(tps)
        on_ready(tps)

    flow.on_flowing = flowing
