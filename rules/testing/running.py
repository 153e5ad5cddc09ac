"""Tests run one after the other by whoever drives the doors, each from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rules.language.model import Bundle
from rules.testing.judging import Difference, differences, result
from rules.testing.model import Plain, Sent, Test, Told
from rules.testing.sending import lines

Drive = Callable[[Bundle, Iterator[Sent], bool], Iterator[Told]]
"""Runs a new Detector and Desk with these rules over what is sent, in order, and tells what they publish before it
takes what is sent later; with crews that answer orders where asked."""


@dataclass(frozen=True, slots=True)
class Run:
    """One test's outcome."""

    test: Test
    told: tuple[Told, ...]
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def tell(test: Test, bundle: Bundle, drive: Drive) -> tuple[Told, ...]:
    """Everything the rules publish over what the test sends."""
    told: list[Told] = []
    for one in drive(bundle, lines(test, told), test.crews):
        told.append(one)  # noqa: PERF402 - what is sent next depends on what was told by then
    return tuple(told)


def run_test(test: Test, bundle: Bundle, drive: Drive, first: Run | None = None) -> Run:
    """`first`: the run of the test it must be the same as."""
    told = tell(test, bundle, drive)
    found = differences(test, told)
    if first is not None:
        found += unlike_first(test, told, first)
    return Run(test, told, tuple(found))


def run_all(tests: Sequence[Test], bundle: Bundle, drive: Drive) -> list[Run]:
    runs: dict[str, Run] = {}
    for test in tests:
        first = None if test.same_as is None else runs.get(test.same_as)
        runs[test.name] = run_test(test, bundle, drive, first)
    return list(runs.values())


def unlike_first(test: Test, told: Sequence[Told], first: Run) -> list[Difference]:
    theirs, ours = result(first.told), result(told)
    if theirs == ours:
        return []
    only_first: list[Plain] = [" ".join(one) for one in theirs if one not in ours]
    only_here: list[Plain] = [" ".join(one) for one in ours if one not in theirs]
    said = f'not the same as "{first.test.name}"'
    return [Difference(test.place, test.end_us, "same_as", only_first, only_here, said)]
