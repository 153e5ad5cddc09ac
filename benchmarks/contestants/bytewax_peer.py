"""The job in bytewax: a source in batches of 1,000, map, and a stateful map keyed by vehicle. One worker.

python -m benchmarks.contestants.bytewax_peer FOLDER [--events N] [--filter-first]
"""

from __future__ import annotations

from time import process_time

from bytewax import operators
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from benchmarks.contestants import scoring
from benchmarks.contestants.per_event import Rule, Seen, Tagger
from benchmarks.contestants.scoring import Raised


def main() -> None:
    given = scoring.arguments(__doc__).parse_args()
    tag, rule, lines = Tagger.usual(given.folder, given.filter_first), Rule(given.folder), []
    lines = scoring.events(given.folder, given.events)
    raised: list[Raised] = []

    def keyed(line: bytes) -> tuple[str, Seen]:
        seen = tag(line)
        return seen.track, seen

    flow = Dataflow("parking")
    seen = operators.map("tag", operators.input("events", flow, TestingSource(lines, batch_size=1000)), keyed)
    told = operators.stateful_flat_map("rule", seen, rule.step)
    operators.output("told", operators.map("value", told, lambda pair: pair[1]), TestingSink(raised))
    began = process_time()
    run_main(flow)
    seconds = process_time() - began
    scoring.report(
        "bytewax",
        given.folder,
        count=len(lines),
        seconds=seconds,
        raised=raised,
        memberships=tag.counted,
        packages=("bytewax", "orjson", "shapely"),
    )


if __name__ == "__main__":
    main()
