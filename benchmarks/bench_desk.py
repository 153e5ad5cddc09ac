"""The Desk with few and with many open incidents: decisions a second, what a save costs, how long a restart takes.

    python -m benchmarks.bench_desk [--quick] [--json]

The same mixture of transitions and feedback at both sizes: what a step costs must not grow with how many incidents are
open. One process, no broker; CPU time of the process, so that others on the machine count little. Every answer is
asserted.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
from collections.abc import Iterable
from random import Random
from time import process_time
from typing import Any

from models.ids import content_id
from rules.incidents.desk import Crew, Desk, Output, Sites
from tests.rules.incidents.city import HOLD, MINUTE, Said, at, bytes_of, desk, detection, feedback, rule

SEED = 7
SIZES = {True: {"few": 1_000, "many": 10_000}, False: {"few": 1_000, "many": 100_000}}
STEPS = {True: 5_000, False: 20_000}
SAVED = 2_000
"""Steps between two saves, nearly as many incidents: a busy city's two seconds."""
AFTER = 500
"""Steps that a restarted Desk and one that never stopped are both told."""
OPENED_AT, STEP_S, CLEAR_FOR_S = 1000.0, 0.001, 61.0
COLUMNS, APART_DEG = 400, 0.003  # of the grid on which the incidents stand: further apart than what is joined
QUEUE = rule("queue", type_code="X2101", detect=HOLD, severity="moderate", dispatch=MINUTE)
SITES = Sites(tuple(Crew(f"u{n}", "traffic-police", 120.0 + n * 0.02, 30.0, 2) for n in range(60)))


class Day:
    """What is told: so many incidents, then words about them; and how many must be open when their time has passed."""

    def __init__(self, size: int) -> None:
        self.now, self.raised, self.words = OPENED_AT, 0, 0
        self.dice = Random(SEED)
        self.open: list[int] = []
        self.first = [self.another() for _ in range(size)]

    def another(self) -> Said:
        self.open.append(self.raised)
        self.raised += 1
        return self.of(self.open[-1], "raised")

    def of(self, number: int, kind: str) -> Said:
        row, column = divmod(number, COLUMNS)
        lon, lat = 120.0 + column * APART_DEG, 30.0 + row * APART_DEG
        return detection(
            self.now, kind, of=QUEUE, track=str(number), opened=OPENED_AT, zone=None, lon=lon, lat=lat
        )  # fmt: skip

    def word(self) -> Said:
        """Of ten: seven say that one is still there, one opens, one clears, one is a unit's."""
        self.now += STEP_S
        self.words += 1
        turn, place = self.dice.randrange(10), self.dice.randrange(len(self.open))
        number = self.open[place]
        match turn:
            case 0:
                return self.another()
            case 1:
                self.open[place] = self.open[-1]
                self.open.pop()
                return self.of(number, "cleared")
            case 2:
                identity = incident_of(number)
                return feedback(self.now, content_id("o", identity, 1), identity, "note", n=self.words)
            case _:
                return self.of(number, "still")

    def words_of(self, count: int) -> list[Said]:
        return [self.word() for _ in range(count)]


def incident_of(number: int) -> str:
    return content_id("i", content_id("d", QUEUE.id, "cam-1", str(number), None, round(OPENED_AT)))


def new_desk() -> Desk:
    return desk(QUEUE, sites=SITES)


def tell(told: Desk, said: Iterable[Said]) -> tuple[list[float], list[Output]]:
    """Seconds of each step, and what was decided. Every record is used."""
    took, outputs = [], []
    for topic, record in said:
        began = process_time()
        outcome = told.feed(topic, [record])
        took.append(process_time() - began)
        assert not outcome.failures
        assert outcome.counts.get("used") == 1, outcome.counts
        outputs += outcome.outputs
    return took, outputs


def save(told: Desk, table: dict[str, bytes]) -> tuple[float, int]:
    """Seconds, and how many entries had changed."""
    began = process_time()
    changes = told.changes()
    took = process_time() - began
    for name, blob in changes.items():
        if blob is None:
            del table[name]
        else:
            table[name] = blob
    return took, len(changes)


def resident_mb() -> float:
    """The most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_size(size: int, steps: int) -> dict[str, float]:
    day, told, table, before_mb = Day(size), new_desk(), dict[str, bytes](), resident_mb()
    tell(told, day.first)
    found: dict[str, float] = {"open": told.open_incidents, "open_mb": resident_mb() - before_mb}
    assert told.open_incidents == size
    found["first_save_ms"] = save(told, table)[0] * 1e3
    took = sorted(tell(told, day.words_of(steps))[0])
    found |= {"per_s": steps / sum(took), "p99_us": took[steps * 99 // 100] * 1e6, "longest_ms": took[-1] * 1e3}
    save(told, table)
    tell(told, day.words_of(SAVED))
    seconds, found["saved_entries"] = save(told, table)
    found["save_ms"] = seconds * 1e3
    assert table == told.snapshot()
    found["table_mb"] = sum(map(len, table.values())) / 1e6
    gc.collect()
    began = process_time()
    again = new_desk()
    again.restore(table)
    found["restore_s"] = process_time() - began
    rest = day.words_of(AFTER)
    assert bytes_of(tell(again, rest)[1]) == bytes_of(tell(told, rest)[1])
    began = process_time()
    told.advance(at(day.now + CLEAR_FOR_S))
    found["minute_ms"] = (process_time() - began) * 1e3
    assert told.open_incidents == len(day.open)
    return found


def measure(*, quick: bool) -> dict[str, Any]:
    figures: dict[str, float] = {}
    for name, size in SIZES[quick].items():
        figures |= {f"desk_{name}_{what}": value for what, value in one_size(size, STEPS[quick]).items()}
    return {"figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer open incidents and steps")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(quick=given.quick)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found["figures"].items():
        print(f"{name:32} {value:,.2f}")


if __name__ == "__main__":
    main()
