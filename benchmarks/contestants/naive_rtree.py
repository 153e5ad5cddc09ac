"""The job without a library of streams: event by event, json, rtree, prepared polygons and a dict.

python -m benchmarks.contestants.naive_rtree FOLDER [--events N] [--filter-first]
"""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import shapely
from rtree.index import Index

from benchmarks.contestants import scoring
from benchmarks.contestants.per_event import Rule, Since, Tagger, Zones


class Boxes(Zones):
    """An rtree of the zones' boxes in the place of STRtree."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.index = Index()
        for number, shape in enumerate(self.shapes):
            self.index.insert(number, shape.bounds)

    def at(self, lon: float, lat: float) -> list[str]:
        near, point = self.index.intersection((lon, lat, lon, lat)), shapely.Point(lon, lat)
        return [self.paths[n] for n in near if self.shapes[n].intersects(point)]


def main() -> None:
    given = scoring.arguments(__doc__).parse_args()
    tag = Tagger(Boxes(given.folder).at, json.loads, given.filter_first)
    rule, lines = Rule(given.folder), scoring.events(given.folder, given.events)
    stands: dict[str, Since] = {}
    raised = []
    began = process_time()
    for line in lines:
        seen = tag(line)
        since, told = rule.step(stands.get(seen.track), seen)
        if since is None:
            stands.pop(seen.track, None)
        else:
            stands[seen.track] = since
        raised += told
    seconds = process_time() - began
    scoring.report(
        "naive_rtree",
        given.folder,
        count=len(lines),
        seconds=seconds,
        raised=raised,
        memberships=tag.counted,
        packages=("rtree", "shapely"),
    )


if __name__ == "__main__":
    main()
