"""`zhinao rules test`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from streams.commands.durations import DURATION
from streams.commands.failing import CannotRun
from streams.commands.findings import CHECKED_PATH, counted

if TYPE_CHECKING:
    from rules.testing.coverage import Covered
    from rules.testing.model import Equivalent
    from rules.testing.running import Run
    from streams.rule_mutants import Judged
    from streams.rule_tests import Suite

PROCESSES = 2


class Share(click.ParamType):
    """`80%` as 0.8."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).removesuffix("%")
        if not text.isdecimal() or int(text) > 100:
            self.fail(f"{value!r} is no percentage such as 80%", param, ctx)
        return int(text) / 100


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=CHECKED_PATH)
@click.option("--json", "as_json", is_flag=True, help="All results as JSON, instead of text.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also a JUnit report in this file.")
@click.option("--coverage", "with_coverage", is_flag=True, help="Which clauses of which rules the tests reach.")
@click.option("--min-coverage", type=Share(), help="Less coverage, e.g. than 80%, is a finding.")
@click.option("--mutate", is_flag=True, help="Change the rules a little: does some test notice each change?")
@click.option("--min-killed", type=Share(), help="Fewer mutants noticed is a finding; without it any survivor is.")
@click.option("--budget", type=DURATION, default="5m", show_default=True, help="How long mutants may take.")
@click.option("--processes", type=click.IntRange(1, 64), default=PROCESSES, show_default=True)
def test(
    paths: tuple[Path, ...],
    as_json: bool,
    junit: Path | None,
    with_coverage: bool,
    min_coverage: float | None,
    mutate: bool,
    min_killed: float | None,
    budget: float,
    processes: int,
) -> int:
    """运行规则测试 / Run the tests of rules: files *_test.yaml; without PATH those beside the rules of the settings.

    Each test sends its records through the real Detector and Desk on its own clock. No test at all is a finding.
    """
    from rules.testing import reports
    from streams.rule_tests import test_files
    from streams.settings import Settings

    settings = Settings.read()
    files = test_files(paths or settings.rules)
    suites = read_all(files)
    if suites is None:
        return CannotRun.exit_code
    started = time.perf_counter()
    results = [(str(path), run_suite(suite)) for path, suite in suites]
    took_s = time.perf_counter() - started
    report = {"tests": reports.data(results)}
    said = [reports.text(results)] if reports.text(results) else []
    runs = [run for _, of_file in results for run in of_file]
    failed = sum(not run.passed for run in runs)
    said.append(
        f"{counted(len(runs), 'test')} of {counted(len(files), 'file')}: "
        + (f"{failed} failed" if failed else "all passed")
        + f", {took_s:.1f}s"
    )
    code = 1 if failed or not runs else 0
    if junit is not None:
        junit.write_bytes(reports.junit(results))
    wants_coverage = with_coverage or min_coverage is not None
    judged = []
    if (wants_coverage or mutate) and not failed:
        judged = judged_by([path for path, _ in suites], processes, budget, clauses_only=not mutate)
    if wants_coverage and not failed:
        covered = covered_by(suites, results, judged)
        report["coverage"] = [coverage_data(one) for one in covered]
        said.append(coverage_text(covered))
        code = max(code, int(min_coverage is not None and share_of(covered) < min_coverage))
    if mutate and not failed:
        declared = [one for _, suite in suites for one in suite.file.equivalent]
        report["mutants"] = [mutant_data(one) for one in judged]
        text, enough = mutants_text(judged, declared, min_killed)
        said.append(text)
        code = max(code, int(not enough))
    if as_json:
        sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        click.echo("\n".join(said))
    return code


def read_all(files: Sequence[Path]) -> list[tuple[Path, Suite]] | None:
    """Every file with its rules and its world, or None with all problems of all of them told."""
    from models.problems import in_order
    from streams.rule_tests import read_suite
    from streams.settings import Settings

    settings = Settings.read()
    found = [(path, *read_suite(path, settings)) for path in files]
    wrong = in_order(problem for _, suite, problems in found for problem in problems if suite is None)
    for problem in wrong:
        click.echo(problem.text(), err=True)
    if wrong:
        return None
    return [(path, suite) for path, suite, _ in found if suite is not None]


def run_suite(suite: Suite) -> list[Run]:
    from rules.testing.running import run_all

    return run_all(suite.file.tests, suite.city.bundle, suite)


# -- coverage ----------------------------------------------------------------------------------------------------------


def covered_by(
    suites: Sequence[tuple[Path, Suite]], results: Sequence[tuple[str, Sequence[Run]]], judged: Sequence[Judged]
) -> list[Covered]:
    from streams.rule_mutants import coverage

    return [
        one
        for (_, suite), (_, runs) in zip(suites, results, strict=True)
        for one in coverage(suite, runs, [one for one in judged if is_of(suite, one)])
    ]


def is_of(suite: Suite, judged: Judged) -> bool:
    return judged.mutant.place.file in {source.name for source in suite.sources}


def share_of(covered: Sequence[Covered]) -> float:
    from rules.testing.coverage import share

    return share(covered)


def coverage_text(covered: Sequence[Covered]) -> str:
    lines = []
    for rule in dict.fromkeys(one.rule for one in covered):
        of_rule = [one for one in covered if one.rule == rule]
        missed = ", ".join(one.what for one in of_rule if not one.covered)
        lines.append(f"{rule:<24} {sum(one.covered for one in of_rule):>3}/{len(of_rule):<3} {missed}".rstrip())
    return "\n".join([*lines, f"coverage: {share_of(covered):.0%}"])


def coverage_data(one: Covered) -> dict[str, object]:
    return {"rule": one.rule, "what": one.what, "covered": one.covered}


# -- mutants -----------------------------------------------------------------------------------------------------------


def judged_by(files: Sequence[Path], processes: int, budget_s: float, *, clauses_only: bool) -> list[Judged]:
    from streams.rule_mutants import judge_all

    return judge_all(files, processes=processes, budget_s=budget_s, clauses_only=clauses_only)


def mutants_text(
    judged: Sequence[Judged], declared: Sequence[Equivalent], min_killed: float | None
) -> tuple[str, bool]:
    """Every survivor with its place, then the sum; and whether enough were killed."""
    excused = {(one.rule, one.path): one.reason for one in declared}
    survivors = [one for one in judged if one.fate == "survived"]
    left = [one for one in survivors if (one.mutant.rule, one.mutant.name) not in excused]
    fates = Counter(one.fate for one in judged)
    lines = [survivor_text(one) for one in sorted(left, key=lambda one: one.mutant.place)]
    gone = [] if fates["no time"] else unused(declared, survivors)
    lines += [f"{one.place.file}:{one.place.line}: no mutant that survives is called {one.path!r}" for one in gone]
    total = fates["killed"] + len(left)
    share = fates["killed"] / total if total else 1.0
    lines.append(
        f"mutants: {fates['killed']}/{total} killed ({share:.0%}), {len(survivors) - len(left)} declared equivalent"
        + (f", {fates['no time']} not reached in time" if fates["no time"] else "")
    )
    enough = (not left if min_killed is None else share >= min_killed) and not fates["no time"] and not gone
    return "\n".join(lines), enough


def unused(declared: Sequence[Equivalent], survivors: Sequence[Judged]) -> list[Equivalent]:
    """What is declared equivalent and is killed after all, or is no mutant."""
    names = {(one.mutant.rule, one.mutant.name) for one in survivors}
    return [one for one in declared if (one.rule, one.path) not in names]


def survivor_text(judged: Judged) -> str:
    one = judged.mutant
    seen = " (told otherwise, but nothing expects it)" if judged.noticed else ""
    return f"{one.place.file}:{one.place.line}:{one.place.column}: {one.rule}: survived: {one.name}{seen}"


def mutant_data(judged: Judged) -> dict[str, object]:
    one = judged.mutant
    return {
        "rule": one.rule,
        "path": one.name,
        "file": one.place.file,
        "line": one.place.line,
        "column": one.place.column,
        "fate": judged.fate,
        "by": judged.by or None,
    }
