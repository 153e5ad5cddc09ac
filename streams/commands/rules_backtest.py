"""`zhinao rules backtest` and `zhinao rules diff`: rules over recordings, counted, scored, compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from streams.commands.rules_explain import LANG, explanation_lines, lines_of, of_ground, words_of

if TYPE_CHECKING:
    from streams.backtest import Changed, Difference, Job, Load, Score, Tested
    from streams.explaining import Explanation
    from streams.sweeping import Sweep

RULES = click.Path(exists=True, path_type=Path)
LABELS = click.Path(exists=True, dir_okay=False, path_type=Path)
CLASSES = ("only_a", "only_b", "changed")


def of_recordings(command: Callable[..., int]) -> Callable[..., int]:
    option = click.option("--input", "recordings", multiple=True, required=True, help="A recording; repeats.")
    return option(command)


@click.command()
@click.argument("paths", metavar="RULES...", nargs=-1, required=True, type=RULES)
@of_recordings
@click.option("--param", "swept", help="Try values: [RULE:]PATH=LOW..HIGH/STEP, e.g. case=2m..10m/1m.")
@click.option(
    "--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What was true, JSON Lines."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for backtest.json and sweep.svg.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of tables.")
@of_ground
def backtest(
    paths: tuple[Path, ...],
    recordings: tuple[str, ...],
    swept: str | None,
    labels: Path | None,
    out: Path | None,
    as_json: bool,
    zones: tuple[Path, ...],
    registry: Path | None,
    tables: Path | None,
    drain: float,
) -> int:
    """回测规则 / Run rules over recordings: incidents per rule, zone and day, load per department and hour.

    With --param once for each value, as a table and a picture; with --labels precision and recall.
    """
    from streams.backtest import BadLabel, read_labels, run_all

    try:
        known = None if labels is None else read_labels(labels)
    except BadLabel as why:
        raise click.BadParameter(str(why), param_hint="labels") from None
    with TemporaryDirectory() as folder:
        jobs = jobs_of(paths, recordings, swept, Path(folder), zones, registry, tables, drain)
        found = run_all(jobs)
    data = backtest_data(found, known)
    if as_json:
        write(data)
    else:
        for line in backtest_lines(found, known):
            click.echo(line)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "backtest.json").write_bytes(encoded(data))
        if swept is not None:
            (out / "sweep.svg").write_text(picture(swept, found, known))
    return 0


@click.command()
@click.argument("a", type=RULES)
@click.argument("b", type=RULES)
@of_recordings
@click.option("--samples", default=3, show_default=True, type=click.IntRange(0, 20), help="Explained of each class.")
@click.option("--fail", is_flag=True, help="Exit code 1 when A and B differ.")
@click.option("--lang", type=LANG, default="zh", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of tables.")
@of_ground
def diff(
    a: Path,
    b: Path,
    recordings: tuple[str, ...],
    samples: int,
    fail: bool,
    lang: Literal["zh", "en"],
    as_json: bool,
    zones: tuple[Path, ...],
    registry: Path | None,
    tables: Path | None,
    drain: float,
) -> int:
    """比较两版规则 / Compare rules A and B on the same recordings: incidents only in one, in both but changed."""
    from streams.backtest import difference, run_all

    jobs = [job_of(str(path), (path,), recordings, zones, registry, tables, drain) for path in (a, b)]
    tested = run_all(jobs)
    found = difference(*tested)
    shown = sampled(jobs, found, samples)
    if as_json:
        write(diff_data(found, shown))
    else:
        for line in (*diff_lines(found), *sample_lines(jobs[0], shown, lang)):
            click.echo(line)
    return 1 if fail and found.differs else 0


# ------------------------------------------------------------------------------------------------- jobs


def job_of(
    name: str, rules: Sequence[Path], recordings: Sequence[str], zones: Sequence[Path], registry: Path | None,
    tables: Path | None, drain: float,
) -> Job:  # fmt: skip
    from streams.backtest import Job

    return Job(name, tuple(rules), tuple(recordings), tuple(zones), registry, tables, round(drain * 1000))


def jobs_of(
    paths: Sequence[Path], recordings: Sequence[str], swept: str | None, folder: Path, zones: Sequence[Path],
    registry: Path | None, tables: Path | None, drain: float,
) -> list[Job]:  # fmt: skip
    """One job, or one for each value of the sweep with rule files of its own."""
    if swept is None:
        return [job_of("", paths, recordings, zones, registry, tables, drain)]
    from rules.language.load import read_sources
    from streams.sweeping import with_value

    sweep = sweep_of(swept)
    files = [Path(source.name) for source in read_sources(paths)]
    jobs = []
    for number, value in enumerate(sweep.values):
        into = folder / f"{number:03}"
        into.mkdir()
        try:
            rules = with_value(files, sweep, value, into)
        except LookupError as why:
            raise click.BadParameter(str(why.args[0]), param_hint="param") from None
        jobs.append(job_of(value, rules, recordings, zones, registry, tables, drain))
    return jobs


def sweep_of(text: str) -> Sweep:
    from streams.sweeping import read_sweep

    try:
        return read_sweep(text)
    except ValueError as why:
        raise click.BadParameter(str(why), param_hint="param") from None


# ------------------------------------------------------------------------------------------------- telling


def backtest_data(found: Sequence[Tested], labels: Any) -> list[dict[str, object]]:
    from streams.backtest import counts, loads, scores

    return [
        {
            "value": tested.name or None,
            "bundle": tested.bundle,
            "records": tested.records,
            "days": round(tested.days, 6),
            "incidents": len(tested.made),
            "counts": counts(tested.made),
            "loads": loads(tested.made),
            "scores": [] if labels is None else [score_data(s) for s in scores(tested.made, labels)],
            "made": tested.made,
        }
        for tested in found
    ]


def score_data(score: Score) -> dict[str, object]:
    import msgspec

    return {**msgspec.structs.asdict(score), "precision": score.precision, "recall": score.recall}


def backtest_lines(found: Sequence[Tested], labels: Any) -> Iterator[str]:
    from streams.backtest import counts, loads, scores

    if len(found) > 1:
        yield from sweep_lines(found, labels)
        return
    made = found[0].made
    yield from table(("rule", "zone", "day", "incidents"),
                     [(c.rule, c.zone or "-", c.day, c.incidents) for c in counts(made)])  # fmt: skip
    yield from load_lines(loads(made))
    if labels is not None:
        yield ""
        yield from table(("of", "incidents", "right", "labels", "found", "precision", "recall"),
                         [(s.of, s.incidents, s.right, s.labels, s.found, share(s.precision), share(s.recall))
                          for s in scores(made, labels)])  # fmt: skip


def load_lines(found: Sequence[Load]) -> Iterator[str]:
    yield ""
    yield from table(("department", "day", "hour", "incidents"),
                     [(x.department, x.day, f"{x.hour:02}", x.incidents) for x in found])  # fmt: skip


def sweep_lines(found: Sequence[Tested], labels: Any) -> Iterator[str]:
    rows = []
    for tested in found:
        precision, recall = overall(tested, labels)
        rows.append((tested.name, len(tested.made), share(precision), share(recall)))
    yield from table(("value", "incidents", "precision", "recall"), rows)


def overall(tested: Tested, labels: Any) -> tuple[float | None, float | None]:
    """Precision and recall of all that labels speak of."""
    from streams.backtest import scores

    found = [] if labels is None else scores(tested.made, labels)
    incidents, named = sum(s.incidents for s in found), sum(s.labels for s in found)
    precision = sum(s.right for s in found) / incidents if incidents else None
    return precision, sum(s.found for s in found) / named if named else None


def picture(swept: str, found: Sequence[Tested], labels: Any) -> str:
    from streams.drawing import chart

    shares = [overall(tested, labels) for tested in found]
    series: list[tuple[str, list[float | None]]] = [
        ("incidents", [float(len(tested.made)) for tested in found]),
        ("precision", [precision for precision, _ in shares]),
        ("recall", [recall for _, recall in shares]),
    ]
    return chart(swept, [tested.name for tested in found], [s for s in series if any(n is not None for n in s[1])])


def share(of: float | None) -> str:
    return "-" if of is None else f"{of:.3f}"


def diff_lines(found: Difference) -> Iterator[str]:
    yield f"only A {len(found.only_a)}, only B {len(found.only_b)}, changed {len(found.changed)}, same {found.same}"
    yield from table(("rule", "zone", "day", "only A", "only B", "changed", "same"),
                     [(rule, zone or "-", *more) for rule, zone, *more in found.tally])  # fmt: skip
    for one in found.changed:
        yield changed_line(one)
    for name, load in (("A", found.load_a), ("B", found.load_b)):
        yield f"\nload of {name}"
        yield from load_lines(load)


def changed_line(one: Changed) -> str:
    parts = [f"{one.a.incident_id} → {one.b.incident_id} {one.b.rule or one.b.type}"]
    if one.opened_s:
        parts.append(f"opened {one.opened_s:+g} s")
    if one.ended_s:
        parts.append(f"ended {one.ended_s:+g} s")
    if (one.a.ended_us is None) != (one.b.ended_us is None):
        parts.append("ended only in " + ("A" if one.b.ended_us is None else "B"))
    if one.severity is not None:
        parts.append(f"severity {one.severity[0]} → {one.severity[1]}")
    if one.moved_m:
        parts.append(f"moved {one.moved_m:g} m")
    if one.a.zone != one.b.zone:
        parts.append(f"zone {one.a.zone} → {one.b.zone}")
    if one.steps is not None:
        parts.append(f"{len(one.steps[0])} → {len(one.steps[1])} steps")
    parts += [f"{step} {shift:+g} s" for step, shift in one.shifted.items()]
    return ", ".join(parts)


def sampled(jobs: Sequence[Job], found: Difference, samples: int) -> dict[str, list[Explanation]]:
    """The first few of each class explained: of B where it is there, else of A."""
    a = [made.incident_id for made in found.only_a[:samples]]
    b = [made.incident_id for made in found.only_b[:samples]]
    changed = [one.b.incident_id for one in found.changed[:samples]]
    told = {**explained(jobs[0], a), **explained(jobs[1], [*b, *changed])}
    return {name: [told[i] for i in ids if i in told] for name, ids in zip(CLASSES, (a, b, changed), strict=True)}


def explained(job: Job, incidents: Sequence[str]) -> dict[str, Explanation]:
    from streams.backtest import city_of
    from streams.explaining import Asked, explanations
    from streams.settings import Settings

    if not incidents:
        return {}
    found = explanations(
        city_of(job), lines_of(job.recordings), partitions=Settings.read().partitions,
        asked=Asked(frozenset(incidents)), drain_ms=job.drain_ms,
    )  # fmt: skip
    return {one.incident_id: one for one in found if one.incident_id is not None}


def sample_lines(job: Job, shown: dict[str, list[Explanation]], lang: Literal["zh", "en"]) -> Iterator[str]:
    from streams.backtest import city_of

    if not any(shown.values()):
        return
    words = words_of(city_of(job), lang)
    for name, explanations in shown.items():
        for one in explanations:
            yield ""
            yield f"[{name}]"
            yield from explanation_lines(one, words)


def diff_data(found: Difference, shown: dict[str, list[Explanation]]) -> dict[str, object]:
    import msgspec

    return {**msgspec.structs.asdict(found), "differs": found.differs, "samples": shown}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def encoded(data: object) -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"


def write(data: object) -> None:
    sys.stdout.write(encoded(data).decode())
