"""Programs for the JVM: jars by Maven from a pom, classes by javac, both kept in .cache/peers; one pinned run.

The rate is the steady one. In one JVM: all events once, which warms it up; then a quarter and all of them in turn,
three times. Events per second are those between the two sizes by the difference of the smallest figures: neither the
engine's start nor the JVM's warming up is in it, though both are long (`first_run_s`). Less than a million events would
drown in the start's scatter: they come in several copies, each with vehicles of its own, and all with the same answer.

Seconds are the core's, all threads together. On a quiet machine the clock says the same (2.71 s and 2.70 s for a run);
with others on it the clock's difference of two runs says anything, once a tenth (`clock_s`).

`--brief`, for the quick run: 600,000 events in place of a million. The JVM has then optimised less, so the rate is a
third too low: not to be quoted, and no floor hangs on it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import scoring
from benchmarks.contestants.scoring import Raised

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "peers"
LEAST, LEAST_BRIEF = 1_000_000, 600_000
WARM_RUNS, ROUNDS, ROUNDS_BRIEF = 1, 3, 3
HEAP = "-Xmx1g"

_OLDEST_JAVA = 17
_RUN_S = 600.0
FETCH_LIMIT_S = float(os.environ.get("PEERS_LIMIT_S", "600"))
"""Seconds for the jars and for the classes; 0: only what is there already."""


class NotRun(Exception):
    """This machine can't have the contestant; the text says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """A folder beside this file (pom.xml and sources) that with `common` makes a program."""

    name: str
    main: str

    @property
    def pom(self) -> Path:
        return HERE / self.name / "pom.xml"

    @property
    def sources(self) -> list[Path]:
        return sorted([*(HERE / "common").glob("*.java"), *(HERE / self.name).glob("*.java")])

    def versions(self) -> dict[str, str]:
        """Those the pom names, and Java's."""
        named = re.findall(r"<(\w+)\.version>([^<]+)</", self.pom.read_text())
        return {**dict(named), "java": _java_version()}

    def build(self) -> str:
        """The class path; fetched and compiled on first need, and again where the pom or a source changed."""
        _java_version()
        CACHE.mkdir(parents=True, exist_ok=True)
        with locked(CACHE / f"{self.name}.lock"):
            jars = _made(CACHE / f"{self.name}-jars", [self.pom], self._fetch)
            classes = _made(CACHE / f"{self.name}-classes", [self.pom, *self.sources], self._compile)
        return f"{classes}:{jars}/*"

    def _fetch(self, into: Path) -> None:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into}"]
        _run([_tool("mvn"), "-q", "-B", "-f", str(self.pom), *goal], "the jars can't be had")

    def _compile(self, into: Path) -> None:
        jars = CACHE / f"{self.name}-jars"
        # -implicit and -proc: nothing but these sources.
        options = ["-nowarn", "-proc:none", "-parameters", "-d", str(into), "-cp", f"{jars}/*"]
        _run([_tool("javac"), *options, *map(str, self.sources)], "javac failed")

    def contend(self, name: str, mode: str, given: argparse.Namespace) -> int:
        """Build, run, print the line; 1 where the answer was wrong, 0 where it was right or can't be had."""
        try:
            class_path = self.build()
        except NotRun as why:
            return not_run(name, why)
        events = scoring.events(given.folder, given.events)
        lines, copies = _copied(events, LEAST_BRIEF if given.brief else LEAST)
        rounds = ROUNDS_BRIEF if given.brief else ROUNDS
        few = len(lines) // 4
        with tempfile.TemporaryDirectory(prefix="peer-") as scratch:
            part, whole, out = (Path(scratch) / file for file in ("part.jsonl", "whole.jsonl", "out.jsonl"))
            part.write_bytes(b"\n".join(lines[:few]) + b"\n")
            whole.write_bytes(b"\n".join(lines) + b"\n")
            inputs = [whole] * WARM_RUNS + [part, whole] * rounds
            options = [mode, "slow" if given.filter_first else "all", given.folder / "zones.geojson"]
            park_ms = int(scoring.meta(given.folder)["park_s"]) * 1000
            command = [_tool("java"), HEAP, "-cp", class_path, self.main, *options, park_ms, out, *inputs]
            runs = _reports([str(word) for word in command])
            raised = _of_one_copy(out, copies) if out.exists() else None
        first, parts, wholes = runs[0], runs[WARM_RUNS::2], runs[WARM_RUNS + 1 :: 2]
        each = {
            of: (min(run[of] for run in wholes) - min(run[of] for run in parts)) / (len(lines) - few)
            for of in ("cpu_s", "seconds")
        }
        count = len(events)
        more = {
            "sizes": [few, len(lines)],
            "rounds": rounds,
            "clock_s": round(each["seconds"] * count, 4),
            "first_run_s": round(first["seconds"], 2),
            "peak_mb": round(first["peak_mb"]),
            "versions": self.versions(),
        }
        memberships = None if given.filter_first else int(wholes[-1]["memberships"]) // copies
        return finish(name, given.folder, count, each["cpu_s"] * count, raised, memberships, more)


def arguments(about: str | None) -> argparse.ArgumentParser:
    parser = scoring.arguments(about)
    parser.add_argument("--brief", action="store_true", help="fewer events and rounds")
    return parser


def _copied(events: list[bytes], least: int) -> tuple[list[bytes], int]:
    """The events, and again with other track ids, until they are enough; how often."""
    lines, copies = list(events), 1
    while len(lines) < least:
        lines += [line.replace(b'"track":"', b'"track":"%d~' % copies, 1) for line in events]
        copies += 1
    return lines, copies


def _of_one_copy(out: Path, copies: int) -> list[Raised]:
    """What was raised of the events themselves; of each copy it must have been the same."""
    raised: list[list[Raised]] = [[] for _ in range(copies)]
    for line in out.read_text().splitlines():
        told = Raised(**json.loads(line))
        copy, mark, track = told.track.rpartition("~")
        raised[int(copy) if mark else 0].append(told._replace(track=track))
    if any(sorted(other) != sorted(raised[0]) for other in raised):
        raise AssertionError(f"of {copies} copies of one input not all had the same answer")
    return raised[0]


def finish(
    name: str,
    folder: Path,
    count: int,
    seconds: float,
    raised: list[Raised] | None,
    memberships: int | None,
    more: dict[str, Any],
) -> int:
    """Print the line. `raised`: None where the run was only for its time."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        scoring.report(
            name,
            folder,
            count=count,
            seconds=seconds,
            raised=raised or [],
            memberships=memberships,
            more={"peer": name, **more},
        )
    line = json.loads(said.getvalue())
    if raised is None:
        line |= dict.fromkeys(("missed", "extra", "repeated"))
    print(json.dumps(line), flush=True)
    counted = memberships is None or line["memberships_true"] in (None, memberships)
    return 0 if counted and not any(line[wrong] for wrong in ("missed", "extra", "repeated")) else 1


def not_run(name: str, why: NotRun) -> int:
    print(json.dumps({"name": name, "peer": name, "not_run": str(why)}), flush=True)
    return 0


def _reports(command: Sequence[str]) -> list[dict[str, float]]:
    core = max(os.sched_getaffinity(0))
    pinned = [_tool("taskset"), "--cpu-list", str(core), *command]
    ended = subprocess.run(
        pinned, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_RUN_S, check=False
    )
    if ended.returncode != 0:
        raise RuntimeError(f"the JVM ended with {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def _made(folder: Path, origins: Sequence[Path], make: Any) -> Path:
    """`folder`, made anew unless it was made from just these files."""
    wanted = hashlib.blake2b(b"".join(file.read_bytes() for file in origins), digest_size=16).hexdigest()
    complete = folder / "complete"
    if not (complete.is_file() and complete.read_text() == wanted):
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="make-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            make(made)
            (made / "complete").write_text(wanted)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotRun(f"{name} missing")
    return found


def _java_version() -> str:
    ended = subprocess.run([_tool("java"), "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "((?:1\.)?(\d+)[^"]*)"', ended.stderr)
    if found is None or int(found[2]) < _OLDEST_JAVA:
        raise NotRun(f"java {found[1] if found else '?'} is older than {_OLDEST_JAVA}")
    return found[1]


def _run(command: Sequence[str], failure: str) -> None:
    if not FETCH_LIMIT_S:
        raise NotRun(f"{failure}: not fetched before")
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{failure}: not done within {FETCH_LIMIT_S:g} s") from error
    if ended.returncode != 0:
        said = (ended.stdout + ended.stderr).splitlines()
        raise NotRun(f"{failure}: {next((line for line in said if 'ERROR' in line or 'error' in line), said[:1])}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
