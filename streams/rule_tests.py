"""Rule tests on the doors as a replay drives them: the files of a test gathered into a city, its records sent, what
comes out told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path

import orjson

from models.privacy import Tokens
from models.problems import Problem, failed
from models.times import format_time
from rules.crews import Crews
from rules.explaining.telling import verdict_lines
from rules.explaining.texts import Words
from rules.explaining.whynot import Answer
from rules.language.load import SourceFile, load_rules, read_source
from rules.language.model import Bundle
from rules.language.shared import Context
from rules.testing.model import Reason, Sent, TestFile, Told, WhyNot
from rules.testing.reading import Head, Scene, read_head, read_tests
from streams.city import City, CityProblems, build_city, context_of
from streams.explaining import answers
from streams.recording import RecordedLine
from streams.replay import Replay
from streams.settings import Settings

SUFFIXES = ("_test.yaml", "_test.yml")
PARTITIONS = 4
"""So that areas are apart, as they are in a city."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One test file with the city that its tests run in."""

    file: TestFile
    city: City
    sources: tuple[SourceFile, ...]
    context: Context

    def drive(self, bundle: Bundle, sent: Iterator[Sent], crews: bool) -> Iterator[Told]:
        """What these rules publish over what is sent (`rules.testing.running.Stage`)."""
        city = replace(self.city, bundle=bundle)
        replay = Replay(city, partitions=PARTITIONS, crews=self.crews(crews))
        for line in replay.run(recorded(one, city.centre) for one in sent):
            if line.topic is not None and line.topic != "incidents.state":
                yield Told(line.timestamp_ms * 1000, line.topic, orjson.loads(line.value or b"null"))

    def reasons(self, bundle: Bundle, sent: Sequence[Sent], crews: bool, asked: WhyNot, at_us: int) -> list[Reason]:
        """Why a rule had not raised, by a replay that is followed."""
        city = replace(self.city, bundle=bundle)
        found = answers(
            city, lambda: (recorded(one, city.centre) for one in sent), partitions=PARTITIONS,
            rule_id=asked.rule, key=asked.key, at_us=at_us, drain_ms=0, crews=self.crews(crews),
        )  # fmt: skip
        return [Reason(answer.verdict, said_of(answer, city.zone)) for answer in found]

    def crews(self, wanted: bool) -> Crews | None:
        """Those that answer every order."""
        registry = self.city.atlas.registry
        units = () if registry is None else tuple(registry.units.values())
        return Crews(units=units, centre=self.city.centre) if wanted else None

    def load(self, sources: Sequence[SourceFile]) -> tuple[Bundle | None, list[Problem]]:
        """Rule files of other bytes, checked against the same city."""
        return load_rules(sources, self.context)


def said_of(answer: Answer, zone: tzinfo) -> str:
    """The verdict in both languages."""
    spoken = (Words(lang, lambda time_us: format_time(time_us, zone)) for lang in ("zh", "en"))
    return " / ".join("; ".join(verdict_lines(answer, words)) for words in spoken)


def recorded(one: Sent, centre: str) -> RecordedLine:
    at_ms = one.at_us // 1000
    if one.topic is None:
        return RecordedLine(None, None, at_ms, None)
    key = one.key or centre
    return RecordedLine(one.topic, key.encode(), at_ms, orjson.dumps(one.value))


def test_files(paths: Sequence[Path]) -> list[Path]:
    """The test files among these files and below these folders; of a rule file the one beside it."""
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}"))
        elif path.name.endswith(SUFFIXES):
            found.add(path)
        else:
            beside = path.with_name(f"{path.stem}_test{path.suffix}")
            found.update([beside] if beside.is_file() else [])
    return sorted(found)


def read_suite(path: Path, settings: Settings) -> tuple[Suite | None, list[Problem]]:
    """A test file, its rules and its world; without errors in any of them a suite."""
    head = read_head(read_source(path))
    rules = [found for name in head.rules or (beside(path),) if (found := present(head, path, name)) is not None]
    zones, registry, tables = (world(head, path, name) for name in (head.zones, head.registry, head.tables))
    if failed(head.problems):
        return None, head.problems
    try:
        city = build_city(
            settings,
            rules=rules,
            zones=[zones] if zones is not None else settings.zones,
            registry=registry or settings.registry,
            tables=tables,
        )
    except CityProblems as wrong:
        return None, [*head.problems, *wrong.problems]
    file = read_tests(head, Scene([rule.id for rule in city.bundle.rules], city.atlas))
    if failed(head.problems):
        return None, head.problems
    sources = tuple(read_source(file) for file in rules)
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    return Suite(file, city, sources, context_of(city.atlas.zones, city.tables, tokens)), head.problems


def beside(path: Path) -> str:
    """The pack a test file is of."""
    return path.name.replace("_test.", ".")


def world(head: Head, path: Path, name: str | None) -> Path | None:
    return None if name is None else present(head, path, name)


def present(head: Head, path: Path, name: str) -> Path | None:
    found = path.parent / name
    if found.exists():
        return found
    head.missing(name)
    return None
