"""Tests run one after the other by whoever drives the doors, each from nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rules.language.model import Bundle
from rules.testing.judging import Difference, differences, result, unreasoned
from rules.testing.model import Plain, Reason, Sent, Test, Told, WhyNot
from rules.testing.sending import lines


class Stage(Protocol):
    """Where rules are run, each time from nothing."""

    def drive(self, bundle: Bundle, sent: Iterator[Sent], crews: bool) -> Iterator[Told]:
        """Runs a new Detector and Desk with these rules over what is sent, in order, and tells what they publish before
        it takes what is sent later; with crews that answer orders where asked."""

    def reasons(self, bundle: Bundle, sent: Sequence[Sent], crews: bool, asked: WhyNot, at_us: int) -> Sequence[Reason]:
        """Why a rule had not raised at a time (UTC), of each part of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One test's outcome."""

    test: Test
    told: tuple[Told, ...]
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def tell(test: Test, bundle: Bundle, stage: Stage) -> tuple[tuple[Sent, ...], tuple[Told, ...]]:
    """What the test sends, and everything the rules publish over it."""
    told: list[Told] = []
    sent: list[Sent] = []

    def noted() -> Iterator[Sent]:
        for one in lines(test, told):
            sent.append(one)
            yield one

    for one in stage.drive(bundle, noted(), test.crews):
        told.append(one)  # noqa: PERF402 - what is sent next depends on what was told by then
    return tuple(sent), tuple(told)


def run_test(test: Test, bundle: Bundle, stage: Stage, first: Run | None = None) -> Run:
    """`first`: the run of the test it must be the same as."""
    sent, told = tell(test, bundle, stage)
    found = differences(test, told)
    for expected in test.expected:
        if expected.why_not is not None:
            at_us = test.start_us + expected.at_us
            reasons = stage.reasons(bundle, sent, test.crews, expected.why_not, at_us)
            found += unreasoned(expected, expected.why_not, reasons)
    if first is not None:
        found += unlike_first(test, told, first)
    return Run(test, told, tuple(found))


def run_all(tests: Sequence[Test], bundle: Bundle, stage: Stage) -> list[Run]:
    runs: dict[str, Run] = {}
    for test in tests:
        first = None if test.same_as is None else runs.get(test.same_as)
        runs[test.name] = run_test(test, bundle, stage, first)
    return list(runs.values())


def unlike_first(test: Test, told: Sequence[Told], first: Run) -> list[Difference]:
    theirs, ours = result(first.told), result(told)
    if theirs == ours:
        return []
    only_first: list[Plain] = [" ".join(one) for one in theirs if one not in ours]
    only_here: list[Plain] = [" ".join(one) for one in ours if one not in theirs]
    said = f'not the same as "{first.test.name}"'
    return [Difference(test.place, test.end_us, "same_as", only_first, only_here, said)]
