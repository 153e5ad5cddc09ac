"""A small worker with a fault in it, for the watchdog's tests: `python -m tests.streams.watched_app '<json options>'`.

It prints `ready <partitions>` when records first flow and `done <offset>` after each chunk. `fault`, from then on:

`freeze`          the loop sleeps for `seconds`
`never_finish`    its agent never comes to the end of a chunk
`hold`            as `never_finish`, but its partitions are on hold
`never_assigned`  (from the start) an assignment is never taken up
`block_client`    the Kafka client's thread sleeps for `seconds`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from streams.standby import standby_of
from streams.transport import TP, Chunk, ChunkConsumer, Flow, bind_agent, create_app
from streams.watchdog import Watchdog
from streams.worker import run_worker


def main() -> None:
    options = json.loads(sys.argv[1])
    fault, topics, servers, group = options.get("fault"), options["topics"], options["servers"], options["group"]
    flow = Flow([topics])
    app = create_app(group, servers, flow, **options.get("app", {"embedded": True}))
    standby = standby_of(
        servers, group, {}, me=lambda: flow.member, counts=lambda: {t: flow.partition_count(t) or 0 for t in topics}
    )
    watchdog = Watchdog(flow, limit_s=options.get("stall_s", 5.0), standby=standby)

    async def take(chunk: Chunk) -> None:
        if fault in ("never_finish", "hold"):
            await asyncio.Event().wait()
        print("done", chunk.next_offset, flush=True)
        flow.stored(chunk.tp, chunk.next_offset)

    def flowing(tps: frozenset[TP]) -> None:
        print("ready", len(tps), flush=True)
        loop = asyncio.get_running_loop()
        if fault == "freeze":
            loop.call_later(0.5, time.sleep, options["seconds"])
        elif fault == "block_client":
            assert flow._consumer is not None
            flow._consumer._thread.thread_loop.call_soon_threadsafe(time.sleep, options["seconds"])
        elif fault == "hold":
            loop.call_later(0.5, flow.pause, tps)
            loop.call_later(0.5 + options["seconds"], lambda: print("held", len(flow.paused), flush=True))

    bind_agent(app, "take", topics, take)
    if fault == "never_assigned":
        ChunkConsumer.on_partitions_assigned = _never  # type: ignore[assignment,method-assign]
    run_worker(app, on_ready=flowing, watchdog=watchdog, log_level=options.get("log", "ERROR"))


async def _never(*_: Any) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
