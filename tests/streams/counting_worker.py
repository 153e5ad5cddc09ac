"""The real worker, telling what its accounts and canaries say: `python -m tests.streams.counting_worker '<options>'`.

Every second it prints a JSON line. Options: `minute_s` of the accounts; `lose`: from the chunk of that number on, the
first record of one chunk is kept from the Detectors' agent; `pause_after`: so many canaries after which the Desk hears
no more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from typing import Any

from streams.accounts import Accounts
from streams.agents.detectors import DetectorAgent
from streams.commands import worker
from streams.publishing import CENTRE_PARTITION
from streams.settings import Settings
from streams.topics import full_name
from streams.transport import TP, Chunk
from streams.worker import run_worker


def lose(number: int) -> None:
    """Have the Detectors' agent pass over one record."""
    agents: Any = DetectorAgent
    take, taken = agents.take, iter(range(sys.maxsize))

    async def losing(agent: DetectorAgent, chunk: Chunk) -> None:
        if next(taken) >= number and len(chunk) > 1 and not lost:
            lost.append(chunk)
            chunk = Chunk(chunk.tp, chunk.records[1:])
        await take(agent, chunk)

    lost: list[Chunk] = []
    agents.take = losing


def said(heart: worker.Heart) -> dict[str, Any]:
    watch, accounts = heart.agents[1].canaries, heart.accounts
    return {
        "canaries": {str(p): d.count for p, d in watch.delays.items()},
        "delays_s": {str(p): d.newest_s for p, d in watch.delays.items()},
        "missing_s": {str(p): s for p, s in watch.missing_s().items()},
        "records": {f"{topic} {name}": n for (topic, name), n in accounts.records.items()},
        "mismatches": dict(accounts.mismatches),
        "in_flight": accounts.in_flight(),
    }


async def report(heart: worker.Heart, pause_after: int | None, detections: TP) -> None:
    paused = False
    while True:
        await asyncio.sleep(1)
        now = said(heart)
        if pause_after is not None and not paused and min(now["canaries"].values(), default=0) >= pause_after:
            heart.flow.pause([detections])
            paused = True
        print(json.dumps({**now, "paused": paused}), flush=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    minute_us = round(options.get("minute_s", 60) * 1e6)
    made_with: Any = worker
    made_with.Accounts = partial(Accounts, minute_us=minute_us)
    if "lose" in options:
        lose(options["lose"])
    settings = Settings.read()
    app, heart = worker.build_worker(settings)
    detections = TP(full_name("detections", settings.topic_prefix), CENTRE_PARTITION)
    tasks = []

    def ready(_tps: frozenset[TP]) -> None:
        print(json.dumps({"ready": True}), flush=True)
        tasks.append(asyncio.get_running_loop().create_task(report(heart, options.get("pause_after"), detections)))

    sys.exit(run_worker(app, on_ready=ready, services=(heart,)))


if __name__ == "__main__":
    main()
