"""The job in pathway: a connector that commits every 1,000 events, a UDF, a stateful reducer by vehicle. One worker.

python -m benchmarks.contestants.pathway_peer FOLDER [--events N] [--filter-first]
"""

from __future__ import annotations

import os
from time import process_time
from typing import Any

os.environ.setdefault("PATHWAY_THREADS", "1")

import pathway as pw

from benchmarks.contestants import scoring
from benchmarks.contestants.per_event import Rule, Tagger
from benchmarks.contestants.scoring import Raised

COMMIT_EVERY = 1_000


class Event(pw.Schema):
    line: bytes


def main() -> None:
    given = scoring.arguments(__doc__).parse_args()
    tag, rule = Tagger.usual(given.folder, given.filter_first), Rule(given.folder)
    lines = scoring.events(given.folder, given.events)
    raised: list[Raised] = []
    began: list[float] = []

    class Events(pw.io.python.ConnectorSubject):
        def run(self) -> None:
            began.append(process_time())  # the engine is up
            for number, line in enumerate(lines, 1):
                self.next(line=line)
                if number % COMMIT_EVERY == 0:
                    self.commit()

    def seen(line: bytes) -> pw.PyObjectWrapper:
        return pw.wrap_py_object(tag(line))

    def track(what: pw.PyObjectWrapper) -> str:
        return str(what.value.track)

    def stands(state: pw.PyObjectWrapper | None, rows: Any) -> pw.PyObjectWrapper:
        since = None if state is None else state.value
        for one in sorted((row[0].value for row, _ in rows), key=lambda one: one.time_ms):
            since, told = rule.step(since, one)
            raised.extend(told)
        return pw.wrap_py_object(since)

    table = pw.io.python.read(Events(), schema=Event, autocommit_duration_ms=None)
    table = table.select(seen=pw.udf(seen, deterministic=True, return_type=pw.PyObjectWrapper)(table.line))
    table = table.select(table.seen, track=pw.udf(track, deterministic=True, return_type=str)(table.seen))
    pw.io.null.write(
        table.groupby(table.track).reduce(table.track, since=pw.reducers.stateful_many(stands)(table.seen))
    )
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    seconds = process_time() - began[0]
    scoring.report(
        "pathway",
        given.folder,
        count=len(lines),
        seconds=seconds,
        raised=raised,
        memberships=tag.counted,
        packages=("pathway", "orjson", "shapely"),
    )


if __name__ == "__main__":
    main()
