"""Rule files → a checked `Bundle` and every problem of all of them in one run."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from models.problems import Place, Problem, failed, in_order
from rules.language.calendars import WeekCalendar
from rules.language.clauses import Clause, Here, shown
from rules.language.findings import File, TooMany, did_you_mean, quoted
from rules.language.model import Bundle, Rule
from rules.language.rule import read_rule
from rules.language.schema import FILE, VERSION
from rules.language.shared import Context, Shared, read_shared
from rules.language.source import MapNode, Node, ScalarNode, compose, span
from rules.language.waivers import without_waived
from rules.language.zones import ZoneBook

__all__ = ["Context", "SourceFile", "load_rules", "missing_years", "read_sources"]

MAX_RULES = 2000
"""Of a city. Each looks at every record of its stream, some 1 µs a record; and where all of them hold of one thing at
once, that is as many detections in one go, some 0.3 ms each."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A rule file's bytes under the name that problems show. `missing`: why it could not be read."""

    name: str
    data: bytes
    missing: str | None = None
    nothing: bool = False
    """A folder in which there are no rules."""


@dataclass(slots=True)
class Loaded:
    """What one file gave."""

    file: File
    rules: list[Rule]
    shared: Shared | None = None


def load_rules(sources: Sequence[SourceFile], context: Context) -> tuple[Bundle | None, list[Problem]]:
    """All rules of all files, checked together. The bundle is None when one of the problems is an error."""
    ordered = sorted(sources, key=lambda source: source.name)
    zones = None if context.zone_paths is None else ZoneBook(context.zone_paths)
    with collector_waiting():
        loaded = [load_file(source, context, zones) for source in ordered]
    check_ids(loaded)
    check_count(loaded)
    check_silenced(loaded)
    lateness_us = common_lateness(loaded)
    problems = in_order(problem for one in loaded for problem in without_waived(one.file, context.today))
    if failed(problems):
        return None, problems
    rules = tuple(rule for one in loaded for rule in one.rules)
    return Bundle(rules, lateness_us, digest(ordered)), problems


@contextmanager
def collector_waiting() -> Iterator[None]:
    """Reading makes a hundred thousand small objects and no circles; the collector would walk them all again and again
    and take a third of the time, which a worker that reloads its rules does not have.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_sources(paths: Iterable[str | Path]) -> list[SourceFile]:
    """The rule files among these files and below these folders, in order of their names; tests are left out.

    The only function of the language that opens files. What cannot be read becomes a problem when it is loaded.
    """
    found: dict[str, SourceFile] = {}
    for given in paths:
        path = Path(given)
        files = sorted(below(path)) if path.is_dir() else [path]
        found |= {str(file): read_source(file) for file in files}
        if not files:
            found[str(path)] = SourceFile(str(path), b"", nothing=True)
    return [found[name] for name in sorted(found)]


def below(folder: Path) -> Iterable[Path]:
    for suffix in ("yaml", "yml"):
        for file in folder.rglob(f"*.{suffix}"):
            if file.is_file() and not file.stem.endswith("_test"):
                yield file


def read_source(path: Path) -> SourceFile:
    try:
        return SourceFile(str(path), path.read_bytes())
    except OSError as why:
        return SourceFile(str(path), b"", missing=(why.strerror or "it cannot be read").lower())


def missing_years(bundle: Bundle, years: Iterable[int]) -> tuple[int, ...]:
    """Of these years those for which a calendar in use lacks public holidays; there it goes by the plain week."""
    wanted = tuple(years)
    calendars = (calendar for rule in bundle.rules for calendar in calendars_of(rule))
    return tuple(sorted({year for calendar in calendars for year in calendar.missing_years(wanted)}))


def calendars_of(rule: Rule) -> Iterable[WeekCalendar]:
    used = [rule.active, *(v.applies.calendar for v in rule.variants if v.applies is not None)]
    return (calendar for calendar in used if isinstance(calendar, WeekCalendar))


# -- one file ----------------------------------------------------------------------------------------------------------


def load_file(source: SourceFile, context: Context, zones: ZoneBook | None) -> Loaded:
    loaded = Loaded(File(source.name), [])
    if source.missing is not None:
        loaded.file.add("E101", f"cannot be read: {source.missing}", (1, 1, 1))
        return loaded
    if source.nothing:
        loaded.file.add("E129", f"no rules found in {quoted(source.name)}", (1, 1, 1), hint="rules are *.yaml files")
        return loaded
    try:
        check_tested(loaded.file, context)
        root = compose(loaded.file, source.data)
        if root is not None or not loaded.file.problems:
            read_file(root, loaded, context, zones)
    except TooMany:
        pass
    return loaded


def read_file(root: Node | None, loaded: Loaded, context: Context, zones: ZoneBook | None) -> None:
    if root is None:
        loaded.file.add("E112", "the file is empty", (1, 1, 1), hint="a rule file begins with version: 1")
        return
    top = Clause.read(Here(loaded.file, root), FILE)
    if not isinstance(root, MapNode):
        return
    check_version(top)
    loaded.shared = read_shared(top, context, zones)
    for number, item in enumerate(top.items("rules"), 1):
        rule = read_rule(Here(loaded.file, item.node, (rule_label(item.node, number),)), loaded.shared)
        if rule is not None:
            loaded.rules.append(rule)


def check_tested(file: File, context: Context) -> None:
    """A rule file has its tests beside it."""
    name = Path(file.name)
    beside = str(name.with_name(f"{name.stem}_test{name.suffix}"))
    if context.tests is not None and beside not in context.tests:
        file.add("W701", "no test stands beside this file: nothing tells when a rule breaks", (1, 1, 1),
                 hint=f"write {quoted(beside)}")  # fmt: skip


def check_version(top: Clause) -> None:
    here = top.get("version")
    if here is None:
        return
    version = here.node.value if isinstance(here.node, ScalarNode) else None
    if version is True or version != VERSION:
        here.problem("E121", f"version {shown(here.node)} of the language is not known", f"write version: {VERSION}")


def rule_label(node: Node, number: int) -> str:
    entry = node.entries.get("id") if isinstance(node, MapNode) else None
    if entry is not None and isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
        return f"rule {quoted(entry.value.value)}"
    return f"rule #{number}"


# -- across files ------------------------------------------------------------------------------------------------------


def check_ids(loaded: Sequence[Loaded]) -> None:
    first: dict[str, Place] = {}
    for one in loaded:
        for rule in one.rules:
            before = first.setdefault(rule.id, rule.place)
            if rule.id and before is not rule.place:
                at = rule.place
                message = f"rule id {quoted(rule.id)} is used twice (first at {before.file}:{before.line})"
                note(one.file, "E303", message, (at.line, at.column, at.length), (f'rule "{rule.id}"', "id"))


def check_count(loaded: Sequence[Loaded]) -> None:
    """The first rule too many is told, whichever file it is in."""
    counted = ((one.file, rule) for one in loaded for rule in one.rules)
    for file, rule in islice(counted, MAX_RULES, MAX_RULES + 1):
        at, total = rule.place, sum(len(one.rules) for one in loaded)
        message = f"all files together have {total} rules: at most {MAX_RULES} may be"
        note(file, "E317", message, (at.line, at.column, at.length), (f'rule "{rule.id}"', "id"))


def check_silenced(loaded: Sequence[Loaded]) -> None:
    """Who is silenced by whom: those must be there, and none may silence itself by way of others."""
    said = [(one.file, *entry) for one in loaded if one.shared is not None for entry in one.shared.silenced]
    ids = {rule.id for one in loaded for rule in one.rules}
    silencers: dict[str, list[str]] = {}
    for _, own, by, _ in said:
        silencers.setdefault(own, []).append(by)
    for file, own, by, here in said:
        spot = span(here.node)
        if by not in ids:
            note(file, "E215", f"rule {quoted(by)} is not defined", spot, here.path, did_you_mean(by, ids))
        elif own in behind(by, silencers):
            message = f"{quoted(own)} silences itself by way of {quoted(by)}: both could stay silent for ever"
            note(file, "E327", message, spot, here.path)


def behind(rule: str, silencers: Mapping[str, Sequence[str]]) -> set[str]:
    """A rule and all that silence it, directly or by way of others."""
    found: set[str] = set()
    waiting = [rule]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(silencers.get(one, ()))
    return found


def common_lateness(loaded: Sequence[Loaded]) -> dict[str, int]:
    found: dict[str, tuple[int, Here]] = {}
    for one in loaded:
        for topic, (lateness_us, here) in (one.shared.lateness if one.shared else {}).items():
            before = found.setdefault(topic, (lateness_us, here))
            if before[0] != lateness_us:
                line = f"{before[1].file.name}:{before[1].node.line}"
                spot = (here.node.line, here.node.column, len(topic))
                note(one.file, "E304", f"the lateness of {topic} is set otherwise at {line}", spot, here.path)
    return {topic: lateness_us for topic, (lateness_us, _) in sorted(found.items())}


def note(
    file: File, code: str, message: str, spot: tuple[int, int, int], path: tuple[str, ...], hint: str | None = None
) -> None:
    with suppress(TooMany):
        file.add(code, message, spot, path=path, hint=hint)


def digest(sources: Sequence[SourceFile]) -> str:
    """Of the files' bytes, in order of their names; a byte moved from one file to the next changes it."""
    whole = hashlib.blake2b(digest_size=16)
    for source in sources:
        whole.update(hashlib.blake2b(source.data, digest_size=16).digest())
    return whole.hexdigest()
