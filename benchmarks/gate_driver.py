"""One tree's core on the gate's workload, in a process of its own; `benchmarks.gate` gives both trees this same file.

    python -P gate_driver.py TREE FOLDER

Only doors that older trees have too: Settings, build_city, Detector. After `ready` a line on stdin (a form of the
workload) is one feed of all of it, answered by `done`; `tell` is answered by what was found. Of each call the least
over all feeds counts: every feed makes the same calls with the same records, what disturbs one of them disturbs
another the next time.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from traceback import extract_tb
from typing import Any, NamedTuple

TOPIC = "camera.tracks"
ROOMS = ("app", "geo", "models", "rules", "streams")
PER_CALL = {"single": 1_000, "frames": 20, "columnar": 20}
SINGLES = 500
"""So many records of the single form, the last, are fed one by one."""
SAVES = 3
AFTER_US = 10_000_000
GC_THRESHOLDS = (100_000, 50, 100)


class Record(NamedTuple):
    """What the core reads of a record, as `streams.transport` has it; that one takes half a second to import."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class WrongAnswer(Exception):
    """Not the episodes that are true."""


class Least:
    """The least nanoseconds each call of a figure took: of this process on its core, and by the clock."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[list[int], list[int]]] = {}

    def note(self, figure: str, cpu: list[int], clock: list[int]) -> None:
        if figure in self.found:
            before = self.found[figure]
            cpu, clock = list(map(min, before[0], cpu)), list(map(min, before[1], clock))
        self.found[figure] = cpu, clock

    def told(self) -> dict[str, tuple[int, int]]:
        return {figure: (sum(cpu), sum(clock)) for figure, (cpu, clock) in self.found.items()}


def records(file: Path) -> list[Record]:
    """As the transport hands them on; arrival is the newest time in a frame so far, and a little."""
    found, newest, name = [], 0, b'"frame_time":'
    for offset, line in enumerate(file.read_bytes().splitlines()):
        at = line.index(name) + len(name)
        newest = max(newest, int(line[at : at + 13]))
        found.append(Record(offset, newest + 200, b"gate", line, ()))
    return found


def timed(calls: Sequence[Callable[[], Any]]) -> tuple[list[Any], list[int], list[int]]:
    """What each call gave, its nanoseconds on the core and by the clock."""
    gave, cpu, clock = [], [], []
    for call in calls:
        began, busy = perf_counter_ns(), process_time_ns()
        gave.append(call())
        cpu.append(process_time_ns() - busy)
        clock.append(perf_counter_ns() - began)
    return gave, cpu, clock


def hand_over(detector: Any, other: Any) -> None:
    other.restore(detector.snapshot())


class Core:
    """The Detectors of one tree."""

    def __init__(self, tree: Path, folder: Path) -> None:
        # An editable install would lend its own modules where this tree has none of the name.
        sys.meta_path[:] = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable")]
        sys.path.insert(0, str(tree))
        from streams.city import build_city
        from streams.settings import Settings

        self.city = build_city(Settings.read(), rules=[folder / "rules.yaml"], zones=[folder / "zones.geojson"])
        self.fed = {shape: records(folder / f"{shape}.jsonl") for shape in PER_CALL}
        self.truth = Counter((row["track"], row["zone"]) for row in json.loads((folder / "truth.json").read_text()))
        self.least = Least()

    def run(self, shape: str, *, counts: bool) -> None:
        """Feed all of one form to a new Detector."""
        fed, size = self.fed[shape], PER_CALL[shape]
        alone = SINGLES if shape == "single" else 0
        detector = self.city.detector(0)
        gc.collect()

        def feeds(start: int, end: int, step: int) -> list[Callable[[], Any]]:
            return [partial(detector.feed, TOPIC, fed[at : min(at + step, end)]) for at in range(start, end, step)]

        parts = {shape: feeds(0, len(fed) - alone, size), "one": feeds(len(fed) - alone, len(fed), 1)}
        told: list[Any] = []
        for figure, calls in parts.items():
            if calls:
                gave, cpu, clock = timed(calls)
                told += [one for outcome in gave for one in outcome.detections]
                if counts:
                    self.least.note(figure, cpu, clock)
        if alone:
            for _ in range(SAVES):
                other = self.city.detector(0)
                _, cpu, clock = timed([partial(hand_over, detector, other)])
                if counts:
                    self.least.note("save", cpu, clock)
            detector = other
        told += detector.advance(fed[-1].timestamp * 1000 + AFTER_US)
        raised = Counter((one.key["track_id"], one.zone) for one in told if one.kind == "raised")
        if raised != self.truth:
            raise WrongAnswer(f"{shape}: {raised.total()} episodes raised, {self.truth.total()} are true")


def foreign(tree: Path) -> list[str]:
    """Modules of the rooms that were not read from this tree."""
    found = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ROOMS:
            places = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", []))
            found += [name for place in places if not Path(str(place)).resolve().is_relative_to(tree)]
    return found


def cause(why: Exception) -> str:
    """In a line: what, and where."""
    where = extract_tb(why.__traceback__)[-1]
    text = str(why).partition("\n")[0]
    return f"{type(why).__name__}: {text} ({Path(where.filename).name}:{where.lineno})"


def main() -> None:
    tree, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the tree may print is no answer

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")

    try:
        core = Core(tree, folder)
        for shape in PER_CALL:
            core.run(shape, counts=False)
        if wrong := foreign(tree):
            raise ImportError(f"not of this tree: {', '.join(wrong[:3])}")
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        answer(ready=str(tree))
        for line in sys.stdin:
            if line.strip() == "tell":
                answer(told=core.least.told())
            else:
                core.run(line.strip(), counts=True)
                answer(done=line.strip())
    except WrongAnswer as why:
        answer(wrong=str(why))
    except Exception as why:  # noqa: BLE001 - whatever an older tree can't do, the gate says so
        answer(failed=cause(why))


if __name__ == "__main__":
    main()
