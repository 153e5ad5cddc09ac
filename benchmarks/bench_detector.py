"""Our Detector and the same job on other engines: one workload, one core, a process each, every answer asserted.

    python -m benchmarks.bench_detector [--quick] [--json] [--fetch]

Contestants take turns, so that each ratio is of two neighbours in time: ours, A, B, ours, C, D, ours; the medians over
the rounds are given. Each reads its own natural form of the same events: ours single-object frames of the contract,
the others a flat object a line. Rates are by the core's seconds, latencies by the clock. The job is that of
`benchmarks.parking`: decode, find the zones, tell who stands too long.

Most of what Python peers do is find the zones of every event. Our rules are filtered before, so that ours finds only
those of slow vehicles; `…_filter_first` is the same peer with that done by hand. Quote both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.contestants import flink_java
from benchmarks.contestants.java import jvm
from benchmarks.parking import CACHE, Parking

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path(__file__).with_name("peers.txt")
PYTHON_OF_LOCK = (3, 11)
LIMIT_S = 300
INSTALL_LIMIT_S = float(os.environ.get("PEERS_LIMIT_S", "900"))
"""Seconds; 0: only what is there already."""
QUICK, FULL = Parking(events=200_000), Parking(events=500_000)
ROUNDS = {True: 2, False: 5}
LAST_ROUND_S = {True: 90, False: 1800}
"""No round begins later than this; on a busy machine a quick run has one."""


class NotRun(Exception):
    """A contestant can't run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A module of `benchmarks.contestants` that prints one JSON line.

    ratio      what ours divided by it is called
    events     how many events it is given in a quick run and in a full one; 0: not in that kind of run
    rounds     in how many rounds it takes part at most
    inverse    it is another way of ours: the ratio is it divided by ours
    brief      options of a quick run besides
    """

    module: str
    ratio: str
    events: tuple[int, int]
    options: tuple[str, ...] = ()
    peers: bool = False
    rounds: int = 99
    inverse: bool = False
    brief: tuple[str, ...] = ()


OURS = Contestant("our_detector", "", (QUICK.events, FULL.events))
CONTESTANTS = {
    "frames": Contestant("our_detector", "frames_vs_single", OURS.events, ("--shape", "frames"), inverse=True),
    "columnar": Contestant("our_detector", "columnar_vs_single", OURS.events, ("--shape", "columnar"), inverse=True),
    "c": Contestant("c_kernel", "detector_vs_c", OURS.events),
    "naive_rtree": Contestant("naive_rtree", "detector_vs_naive_rtree", (50_000, 100_000)),
    "bytewax": Contestant("bytewax_peer", "detector_vs_bytewax", (50_000, 100_000), peers=True),
    "quixstreams": Contestant("quix_peer", "detector_vs_quixstreams", (50_000, 100_000), peers=True),
    "pathway": Contestant("pathway_peer", "detector_vs_pathway", (50_000, 100_000), peers=True),
    "flink_java": Contestant("flink_java", "detector_vs_flink_java", (100_000, 500_000), rounds=1, brief=("--brief",)),
    "c_filter_first": Contestant("c_kernel", "detector_vs_c_filter_first", OURS.events, ("--filter-first",)),
    "bytewax_filter_first": Contestant(
        "bytewax_peer", "detector_vs_bytewax_filter_first", (100_000, 200_000), ("--filter-first",), peers=True
    ),
    "naive_rtree_filter_first": Contestant(
        "naive_rtree", "detector_vs_naive_rtree_filter_first", (0, 200_000), ("--filter-first",)
    ),
    "quixstreams_filter_first": Contestant(
        "quix_peer", "detector_vs_quixstreams_filter_first", (0, 200_000), ("--filter-first",), peers=True
    ),
    "pathway_filter_first": Contestant(
        "pathway_peer", "detector_vs_pathway_filter_first", (0, 100_000), ("--filter-first",), peers=True
    ),
    "flink_java_filter_first": Contestant(
        "flink_java", "detector_vs_flink_java_filter_first", (0, 500_000), ("--filter-first",), rounds=1
    ),
    "esper": Contestant("esper", "detector_vs_esper", (0, 500_000), rounds=1),
    "tile38": Contestant("tile38", "detector_vs_tile38", (0, 50_000), rounds=1),
}
"""In the order of their turns."""


@cache
def peers_python() -> Path:
    """The interpreter of the peers' own environment, made from the lock on first need."""
    if sys.version_info[:2] != PYTHON_OF_LOCK:
        wanted = ".".join(map(str, PYTHON_OF_LOCK))
        raise NotRun(f"the peers are locked for Python {wanted}, this is {sys.version_info[0]}.{sys.version_info[1]}")
    folder, digest = CACHE / "peers", hashlib.blake2b(LOCK.read_bytes(), digest_size=16).hexdigest()
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists() or complete.read_text() != digest:
        if not INSTALL_LIMIT_S:
            raise NotRun("the peers' environment was not fetched before")
        print("benchmarks: making the peers' environment, once", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        try:
            for command in ([sys.executable, "-m", "venv", str(folder)], [*install, "-r", str(LOCK)]):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
        except subprocess.CalledProcessError as why:
            raise NotRun(f"the peers can't be installed: {last_line(why.stderr)}") from why
        except subprocess.TimeoutExpired as why:
            raise NotRun(f"the peers can't be installed: not done in {INSTALL_LIMIT_S:g} s") from why
        complete.write_text(digest)
    return python


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word why")


def fetch() -> None:
    """Get what the quick run's peers need from their registries; says what can't be had and leaves it."""
    for name, get in (("Python peers", peers_python), ("Flink", flink_java.PROGRAM.build)):
        try:
            get()
            print(f"{name}: there", flush=True)
        except (NotRun, jvm.NotRun, OSError) as why:
            print(f"{name}: left out, {why}", flush=True)


def run(one: Contestant, folder: Path, events: int | None, *, quick: bool = False) -> dict[str, Any]:
    """One contestant in its own process on the last core. A wrong answer ends the benchmark."""
    if not (ROOT / "benchmarks" / "contestants" / f"{one.module}.py").exists():
        raise NotRun("there is no such contestant")
    python = str(peers_python()) if one.peers else sys.executable
    count = [] if events is None else ["--events", str(events)]
    command = [
        python,
        "-m",
        f"benchmarks.contestants.{one.module}",
        str(folder),
        *count,
        *one.options,
        *(one.brief if quick else ()),
    ]
    try:
        done = subprocess.run(pinned(command), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as why:
        raise NotRun(f"not done in {LIMIT_S} s") from why
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise NotRun(f"ended with {done.returncode}: {last_line(done.stderr)}")
    found = dict(json.loads(lines[-1]))
    if "not_run" in found:
        raise NotRun(str(found["not_run"]))
    assert_answer(one.module, found)
    return found


def pinned(command: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0))), *command]


def assert_answer(name: str, found: dict[str, Any]) -> None:
    if "latency_us" in found:
        return
    wrong = {part: found.get(part) for part in ("missed", "extra", "repeated") if found.get(part) != 0}
    counted, true = found.get("memberships"), found.get("memberships_true")
    if wrong or (None not in (counted, true) and counted != true):
        raise SystemExit(f"{name} answers wrongly: {wrong}, {counted} memberships of {true}")


class Contest:
    """Rounds of all contestants; what each measured, and each beside its neighbour of ours."""

    def __init__(self, workload: Parking, *, quick: bool) -> None:
        self.quick, self.folder = quick, workload.folder()
        self.taking_part = {name: one for name, one in CONTESTANTS.items() if self.events(one)}
        self.runs: dict[str, list[dict[str, Any]]] = {"ours": []}
        self.pairs: dict[str, list[float]] = {}
        self.not_run: dict[str, str] = {}

    def events(self, one: Contestant) -> int:
        return one.events[0 if self.quick else 1]

    def ours(self) -> dict[str, Any]:
        try:
            found = run(OURS, self.folder, self.events(OURS), quick=self.quick)
        except NotRun as why:
            raise SystemExit(f"our Detector: {why}") from why
        self.runs["ours"].append(found)
        return found

    def turn(self, name: str) -> dict[str, Any] | None:
        one = self.taking_part[name]
        if name in self.not_run or len(self.runs.get(name, ())) >= one.rounds:
            return None
        try:
            found = run(one, self.folder, self.events(one), quick=self.quick)
        except NotRun as why:
            self.not_run[name] = str(why)
            return None
        self.runs.setdefault(name, []).append(found)
        return found

    def round(self) -> None:
        before = self.ours()
        names = list(self.taking_part)
        for at in range(0, len(names), 2):
            left = self.turn(names[at])
            right = self.turn(names[at + 1]) if at + 1 < len(names) else None
            after = self.ours() if left or right else before
            for name, found, beside in ((names[at], left, before), (names[min(at + 1, len(names) - 1)], right, after)):
                if found is not None:
                    ratio = beside["events_per_s"] / found["events_per_s"]
                    self.pairs.setdefault(name, []).append(1 / ratio if CONTESTANTS[name].inverse else ratio)
            before = after

    def ratios(self) -> dict[str, float | None]:
        return {
            one.ratio: round(median(self.pairs[name]), 3) if name in self.pairs else None
            for name, one in self.taking_part.items()
        }

    def figures(self) -> dict[str, Any]:
        names = {"ours": "detector_single", "frames": "detector_frames", "columnar": "detector_columnar"}
        found: dict[str, Any] = {}
        for name, runs in self.runs.items():
            called = names.get(name, name)
            found[f"{called}_per_s"] = round(median(one["events_per_s"] for one in runs))
            found[f"{called}_peak_mb"] = max(one["peak_mb"] for one in runs)
        return found

    def versions(self) -> dict[str, str]:
        return {name: text for runs in self.runs.values() for name, text in runs[0].get("versions", {}).items()}


def latencies(folder: Path) -> dict[str, float]:
    """Microseconds a call of the Detector by how many observations it is given, single-object frames."""
    found = run(Contestant("our_detector", "", (0, 0), ("--latency",)), folder, None)["latency_us"]
    return {
        f"detector_batch_{size}_{mark.replace('.', '_')}_us": us
        for size, marks in found.items()
        for mark, us in marks.items()
    }


def measure(*, quick: bool) -> dict[str, Any]:
    """figures, ratios (null where one of the two can't run), not_run (why, by ratio), versions."""
    workload = QUICK if quick else FULL
    contest, began = Contest(workload, quick=quick), monotonic()
    for number in range(ROUNDS[quick]):
        if number == 0 or monotonic() - began < LAST_ROUND_S[quick]:
            contest.round()
    meta = json.loads((contest.folder / "meta.json").read_text())
    about = {f"parking_bytes_per_event_{shape}": size for shape, size in meta["bytes_per_event"].items()}
    about |= {f"parking_{name}": meta[name] for name in ("memberships_per_event", "slow_share", "episodes")}
    return {
        "figures": {**contest.figures(), **latencies(contest.folder), **about},
        "ratios": contest.ratios(),
        "not_run": {contest.taking_part[name].ratio: why for name, why in contest.not_run.items()},
        "versions": contest.versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and contestants")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fetch", action="store_true", help="only get what the peers need")
    given = parser.parse_args()
    if given.fetch:
        fetch()
        return
    found = measure(quick=given.quick)
    if given.json:
        print(json.dumps(found))
        return
    for part in found.values():
        for name, value in part.items():
            print(f"{name:44} {value}")


if __name__ == "__main__":
    main()
