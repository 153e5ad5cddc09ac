"""Is this tree's core slower than it was? Compares it with the newest commit that is older than four hours.

    python -m benchmarks.gate [--against COMMIT] [--pairs 5]

Both trees do the same work (`benchmarks.parking`) through the same driver (`benchmarks.gate_driver`), each in a process
of its own on the same core, feed by feed in turns. A pair of processes gives a ratio, new/old, for each figure; its
median over the pairs must not be over what the figure may lose (`MAY_LOSE`). No absolute time is judged.

    single, frames, columnar   observations in each form on the wire, a thousand a call
    one                        calls with one record
    save                       a snapshot and its restore

Each is judged by the process's time on the core, and more loosely by the clock: who sleeps uses no core. Uncommitted
changes count. Ends with 1 when something is slower, or when this tree's core fails or raises other episodes than are
true; with 0, and a line that says why, when there is nothing to compare with, or the older tree can't do the work with
the packages of today.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

from benchmarks.parking import Parking

ROOT = Path(__file__).resolve().parent.parent
DRIVER = Path(__file__).with_name("gate_driver.py")
ROOMS = ("geo", "models", "rules", "streams")
HOURS = 4
WORKLOAD = Parking(events=30_000, tracks=200, park_s=20)
MAY_LOSE = {"single": 1.08, "frames": 1.08, "columnar": 1.08, "one": 1.08, "save": 1.15}
"""New/old. A tree against itself gave medians of 0.989 to 1.010 on two cores with a load of 4 to 9; a single pair 0.92
to 1.08."""
CLOCK_MAY_LOSE = 1.3
SHAPES = ("single", "frames", "columnar")
PAIRS, ROUNDS = 5, 5
LEAST_PAIRS = 3
LAST_PAIR_S = 40
"""When there are the least pairs, no other begins later than this."""
LIMIT_S = 105
"""What isn't measured by then is not judged; on a machine too busy for the least pairs, nothing is."""


class CannotCompare(Exception):
    """Nothing to compare with; the text says why."""


class NotRun(Exception):
    """A tree's core can't do the work; the text says why."""


class Wrong(Exception):
    """A tree's core raises other episodes than are true."""


# what to compare with


def git(root: Path, *arguments: str) -> str:
    """What git prints. Raises CannotCompare where it can't."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as why:
        raise CannotCompare("there is no git") from why
    if done.returncode:
        raise CannotCompare(f"git {arguments[0]}: {last_line(done.stderr)}")
    return done.stdout


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word why")


def changed(root: Path, commit: str) -> bool:
    """Whether the working tree's rooms differ from the commit's."""
    return bool(
        git(root, "diff", "--name-only", commit, "--", *ROOMS)
        or git(root, "ls-files", "--others", "--exclude-standard", "--", *ROOMS)
    )


def older_commit(root: Path, now: float, hours: float = HOURS) -> str:
    """The newest commit of HEAD's history, by the committer's date, that is so old; HEAD itself only where the working
    tree has changed since. Raises CannotCompare where there is none."""
    log = [line.split() for line in git(root, "log", "--format=%H %ct", "HEAD").splitlines()]
    if log and not changed(root, "HEAD"):
        del log[0]
    old = [(int(at), commit) for commit, at in log if int(at) <= now - hours * 3600]
    if old:
        return max(old, key=lambda one: one[0])[1]
    shallow = git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    raise CannotCompare(f"no commit is older than {hours:g} hours" + (" in this shallow clone" if shallow else ""))


@contextmanager
def tree_of(root: Path, commit: str) -> Iterator[Path]:
    """The commit's files in a temporary folder. Not a worktree: git needn't know, nor be told when it is gone."""
    with tempfile.TemporaryDirectory(prefix="zhinao-gate-") as scratch:
        archive, tree = Path(scratch, "tree.tar"), Path(scratch, "tree")
        git(root, "archive", "--format=tar", f"--output={archive}", commit)
        tree.mkdir()
        subprocess.run(["tar", "-xf", str(archive), "-C", str(tree)], check=True, capture_output=True)
        yield tree


# measuring


class Ratio(NamedTuple):
    """New/old: time on the core, time by the clock."""

    core: float
    clock: float


class Side:
    """The driver at work in one tree."""

    def __init__(self, tree: Path, folder: Path, seed: int) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(DRIVER), str(tree), str(folder)],
            cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def answer(self) -> dict[str, Any]:
        """Its next line. Raises NotRun or Wrong where that is what it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise NotRun(f"the driver ended: {last_line(self.errors.read())}")
        found = dict(json.loads(line))
        if "failed" in found:
            raise NotRun(found["failed"])
        if "wrong" in found:
            raise Wrong(found["wrong"])
        return found

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # its last line says why
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        return self.answer()

    def stay_on(self, core: int) -> None:
        os.sched_setaffinity(self.process.pid, {core})


def one_pair(new: Path, old: Path, folder: Path, number: int, rounds: int) -> dict[str, Ratio]:
    """New/old of every figure, of one process each. Raises CannotCompare for what the old tree can't do."""
    with ExitStack() as running:
        sides = {"new": running.enter_context(Side(new, folder, number))}
        sides["old"] = running.enter_context(Side(old, folder, number))
        ask_each(sides, None)
        for side in sides.values():
            side.stay_on(max(os.sched_getaffinity(0)))
        for turn in range(rounds):
            names = ("new", "old") if (number + turn) % 2 else ("old", "new")
            for shape in SHAPES:
                ask_each({name: sides[name] for name in names}, shape)
        told = {name: found["told"] for name, found in ask_each(sides, "tell").items()}
    return {
        figure: Ratio(core / told["old"][figure][0], clock / told["old"][figure][1])
        for figure, (core, clock) in told["new"].items()
    }


def ask_each(sides: dict[str, Side], what: str | None) -> dict[str, dict[str, Any]]:
    """One after the other. What is wrong with this tree is the first thing to hear."""
    found: dict[str, dict[str, Any]] = {}
    for name, side in sides.items():
        try:
            found[name] = side.answer() if what is None else side.ask(what)
        except (NotRun, Wrong) as why:
            if name == "old":
                raise CannotCompare(f"the older tree can't do this work: {why}") from why
            raise
    return found


@dataclass(slots=True)
class Report:
    """The ratios of every pair."""

    pairs: list[dict[str, Ratio]] = field(default_factory=list)

    def median(self, figure: str) -> Ratio:
        return Ratio(*map(median, zip(*(pair[figure] for pair in self.pairs), strict=True)))

    def slower(self) -> list[str]:
        return [figure for figure in MAY_LOSE if self.is_slower(figure)]

    def is_slower(self, figure: str) -> bool:
        found = self.median(figure)
        return found.core > MAY_LOSE[figure] or found.clock > CLOCK_MAY_LOSE

    def lines(self) -> Iterator[str]:
        yield f"{'new/old':10}{'median':>8}{'least':>8}{'most':>8}{'may be':>8}{'clock':>9}{'may be':>8}"
        for figure, most in MAY_LOSE.items():
            cores, (core, clock) = [pair[figure].core for pair in self.pairs], self.median(figure)
            row = (
                f"{figure:10}{core:8.3f}{min(cores):8.3f}{max(cores):8.3f}{most:8.2f}{clock:9.3f}{CLOCK_MAY_LOSE:8.2f}"
            )
            yield row + ("  SLOWER" if self.is_slower(figure) else "")


class TooLate(Exception):
    """The time is over."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TooLate in the midst of what takes longer."""

    def ring(*_: object) -> NoReturn:
        raise TooLate

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measure(new: Path, old: Path, folder: Path, *, pairs: int = PAIRS, rounds: int = ROUNDS) -> Report:
    """Raises CannotCompare where the time is too short."""
    report, began = Report(), time.monotonic()
    with suppress(TooLate), at_most(LIMIT_S):
        for number in range(pairs):
            if number < LEAST_PAIRS or time.monotonic() - began < LAST_PAIR_S:
                report.pairs.append(one_pair(new, old, folder, number, rounds))
    if len(report.pairs) < min(pairs, LEAST_PAIRS):
        raise CannotCompare(f"this machine is too busy: {len(report.pairs)} pairs in {LIMIT_S} s")
    return report


def gate(
    root: Path = ROOT,
    *,
    against: str | None = None,
    workload: Path | None = None,
    pairs: int = PAIRS,
    rounds: int = ROUNDS,
) -> int:
    """Compare and tell; what the program ends with. `workload`: a folder that `benchmarks.parking` has written."""
    try:
        commit = older_commit(root, time.time()) if against is None else against
        named = git(root, "log", "-1", "--format=%h (%cd, %s)", "--date=format:%Y-%m-%d %H:%M", commit).strip()
        if not changed(root, commit):
            raise CannotCompare(f"the core is that of {named}")
        with tree_of(root, commit) as old:
            report = measure(root, old, workload or WORKLOAD.folder(), pairs=pairs, rounds=rounds)
    except CannotCompare as why:
        print(f"gate: nothing compared: {why}")
        return 0
    except (NotRun, Wrong) as why:
        print(f"gate: this tree's core {'answers wrongly' if isinstance(why, Wrong) else 'fails'}: {why}")
        return 1
    print(f"gate: this tree against {named}, {len(report.pairs)} pairs")
    print("\n".join(report.lines()))
    if slower := report.slower():
        print(f"gate: SLOWER than it may be: {', '.join(slower)}")
    return 1 if slower else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="in the place of the newest that is old enough")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    sys.exit(gate(against=given.against, pairs=given.pairs))


if __name__ == "__main__":
    main()
