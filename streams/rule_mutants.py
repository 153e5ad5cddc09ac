"""Mutants of rule files against their tests, in a few processes, until a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from rules.language.load import SourceFile
from rules.language.model import Bundle, Rule
from rules.testing.coverage import Covered, fired, firing, is_clause, tests_of
from rules.testing.judging import effect
from rules.testing.model import Test
from rules.testing.mutants import Mutant, meaning, mutants
from rules.testing.running import Run, run_all
from streams.rule_tests import Suite, read_suite
from streams.settings import Settings

Fate = Literal["killed", "survived", "invalid", "same", "no time"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a mutant: `invalid` does not load, `same` means the same rule. `noticed`: some test told something
    else, whether or not it expected anything of it. `by`: the test that killed it."""

    mutant: Mutant
    fate: Fate
    noticed: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's share of one test file's mutants: every `of`-th from `first`."""

    path: Path
    first: int
    of: int
    clauses_only: bool
    until: float


def judge_all(paths: Sequence[Path], *, processes: int, budget_s: float, clauses_only: bool = False) -> list[Judged]:
    """All mutants of the rules of these test files; with `clauses_only` those that leave out a clause. What is not
    reached within the budget is told so."""
    until = time.time() + budget_s
    batches = [Batch(path, first, processes, clauses_only, until) for path in paths for first in range(processes)]
    if processes == 1:
        return [judged for batch in batches for judged in judge(batch)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [judged for found in pool.map(judge, batches) for judged in found]


def judge(batch: Batch) -> list[Judged]:
    suite = suite_of(batch.path)
    runs = runs_of(batch.path)
    every = [(source, one) for source in suite.sources for one in mutants(source.name, source.data)]
    wanted = [(source, one) for source, one in every if not batch.clauses_only or is_clause(one)]
    return [
        Judged(one, "no time") if time.time() > batch.until else judged(suite, runs, source, one)
        for source, one in wanted[batch.first :: batch.of]
    ]


@cache
def suite_of(path: Path) -> Suite:
    """Of a file that was read without errors before."""
    suite, problems = read_suite(path, Settings.read())
    if suite is None:
        raise ValueError("\n".join(problem.text() for problem in problems))
    return suite


@cache
def runs_of(path: Path) -> tuple[Run, ...]:
    suite = suite_of(path)
    return tuple(run_all(suite.file.tests, suite.city.bundle, suite))


def judged(suite: Suite, runs: Sequence[Run], source: SourceFile, mutant: Mutant) -> Judged:
    others = [one for one in suite.sources if one is not source]
    bundle, _ = suite.load([*others, SourceFile(source.name, mutant.text.encode())])
    if bundle is None:
        return Judged(mutant, "invalid")
    rule = rule_of(suite.city.bundle, mutant.rule)
    if meaning(rule) == meaning(rule_of(bundle, mutant.rule)):
        return Judged(mutant, "same")
    noticed = False
    for run in by_promise(rule, runs):
        again = rerun(run, runs, suite, bundle)
        if not again.passed:
            return Judged(mutant, "killed", True, run.test.name)
        noticed = noticed or effect(again.told) != effect(run.told)
    return Judged(mutant, "survived", noticed)


def rerun(run: Run, runs: Sequence[Run], suite: Suite, bundle: Bundle) -> Run:
    """The same test of other rules; what it must be the same as runs with them too."""
    tests: list[Test] = [run.test]
    if run.test.same_as is not None:
        tests = [*(one.test for one in runs if one.test.name == run.test.same_as), run.test]
    return run_all(tests, bundle, suite)[-1]


def by_promise(rule: Rule, runs: Sequence[Run]) -> Iterator[Run]:
    """The tests of a rule, those that it fires in first."""
    names = {test.name for test in tests_of(rule, [run.test for run in runs])}
    of_it = [run for run in runs if run.test.name in names]
    yield from sorted(of_it, key=lambda run: (not fired(rule.id, run.told), len(run.told)))


def rule_of(bundle: Bundle, name: str) -> Rule:
    return next(rule for rule in bundle.rules if rule.id == name)


def coverage(suite: Suite, runs: Sequence[Run], found: Sequence[Judged]) -> list[Covered]:
    """What these runs reach of a suite's rules, given what became of its clauses."""
    clauses = [
        Covered(one.mutant.rule, one.mutant.path, one.fate == "killed" or one.noticed)
        for one in found
        if is_clause(one.mutant) and one.fate in ("killed", "survived")
    ]
    covered: list[Covered] = []
    for rule in suite.city.bundle.rules:
        covered += [*firing(rule, runs), *(one for one in clauses if one.rule == rule.id)]
    return covered
