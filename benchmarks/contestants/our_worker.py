"""Our worker as it is (`streams.commands.worker`), with a watch beside it that says when it is through.

python -m benchmarks.contestants.our_worker COUNT          settings from the environment, as for the worker itself
"""

from __future__ import annotations

import json
import os
import sys
import time

import faust

from streams.commands.worker import build_worker, spare_the_collector
from streams.settings import Settings
from streams.worker import run_worker

COUNTED = ("used", "filtered", "duplicate", "late", "dead")


class Watch(faust.Service):
    """Polls the counters; prints the figures and ends the process when all messages are through and stored."""

    def __init__(self, counts: dict[str, int], expected: int) -> None:
        self.counts, self.expected = counts, expected
        super().__init__()

    @faust.Service.task
    async def _wait(self) -> None:
        first: tuple[float, int] | None = None
        while True:
            await self.sleep(0.002)
            through = sum(self.counts.get(name, 0) for name in COUNTED)
            if through and first is None:
                first = (time.perf_counter(), through)
            if through >= self.expected and first is not None:
                seconds, measured = time.perf_counter() - first[0], through - first[1]
                found = {"messages": measured, "seconds": seconds, "raised": self.counts["raised"]}
                print(json.dumps({**found, "counts": dict(self.counts)}), flush=True)
                os._exit(0)


if __name__ == "__main__":
    app, heart = build_worker(Settings.read())
    watch = Watch(heart.agents[0].counts, int(sys.argv[1]))
    spare_the_collector()
    sys.exit(run_worker(app, services=(heart, watch)))
