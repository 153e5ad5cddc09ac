"""One city, ready to run: rules, zones, registry, tables and decoder, read and checked once. It makes the two doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from geo.atlas import Atlas
from geo.registry import read_registry
from geo.zones import Zone, read_zones
from models.compiling import compiled_wanted
from models.dead_letters import Vault
from models.decode import Decoder
from models.privacy import Tokens
from models.problems import Problem, failed, in_order
from models.times import zone_info
from rules.detection.detector import Detector, prepare
from rules.incidents.desk import Desk
from rules.language.load import SourceFile, load_rules, read_sources
from rules.language.model import Bundle
from rules.language.shared import Context
from rules.tables.load import load_tables
from rules.tables.model import Tables
from streams.bundle import Files, read_files
from streams.publishing import Letters
from streams.settings import Settings


class CityProblems(Exception):
    """Files of the city are wrong; every problem of every file is in `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(p.text() for p in problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class City:
    """What all Detectors and the Desk of one process share. Nothing in it changes."""

    centre: str
    zone: tzinfo
    bundle: Bundle
    atlas: Atlas
    tables: Tables
    decoder: Decoder
    accept_unregistered: bool
    letters: Letters
    compiled: bool
    files: Files
    """What all this was read from."""

    @property
    def urgent_rules(self) -> frozenset[str]:
        """The rules about life and safety: what they tell waits behind nothing else."""
        return frozenset(rule.id for rule in self.bundle.rules if rule.life_safety)

    @property
    def urgent_topics(self) -> frozenset[str]:
        """The inputs they read."""
        return frozenset(part.topic for rule in self.bundle.rules if rule.life_safety for part in rule.parts or (rule,))

    def detector(self, partition: int) -> Detector:
        """A new Detector for one partition."""
        return Detector(
            self.bundle,
            self.atlas,
            self.decoder,
            partition=partition,
            zone=self.zone,
            accept_unregistered=self.accept_unregistered,
            compiled=self.compiled,
            traffic=self.tables.traffic,
        )

    def prepare(self) -> None:
        """Have the loops compiled before time matters."""
        if self.compiled:
            prepare()

    def desk(self) -> Desk:
        """A new Desk for the command centre."""
        return Desk(
            self.bundle,
            self.tables,
            self.atlas,
            zone=self.zone,
            decoder=self.decoder,
        )


def read_rules(
    paths: Sequence[Path], zones: Sequence[Zone] | None, tables: Tables | None, tokens: Tokens
) -> tuple[Bundle | None, list[Problem]]:
    """The rules of files and folders, checked against zones (None: unchecked) and tables."""
    return rules_of(read_sources(paths), zones, tables, tokens)


def rules_of(
    sources: Sequence[SourceFile], zones: Sequence[Zone] | None, tables: Tables | None, tokens: Tokens
) -> tuple[Bundle | None, list[Problem]]:
    """The same of files that were read."""
    return load_rules(sources, context_of(zones, tables, tokens))


def context_of(zones: Sequence[Zone] | None, tables: Tables | None, tokens: Tokens) -> Context:
    """What rules are checked against."""
    return Context(
        zone_paths=None if zones is None else [zone.path for zone in zones],
        types=None if tables is None else tables.types,
        departments=None if tables is None else tables.departments,
        holidays=None if tables is None else tables.working.holidays,
        tokens=lambda field, clear: tokens.token("plate" if field == "plate" else "caller", clear),
    )


def build_city(
    settings: Settings,
    *,
    rules: Sequence[Path] = (),
    zones: Sequence[Path] = (),
    registry: Path | None = None,
    tables: Path | None = None,
) -> City:
    """Read and check everything. Paths given here stand in for the settings'; rules of one's own come without the
    shipped zones and registry: what isn't given then isn't there, and any sensor is believed.

    Raises CityProblems with all that is wrong.
    """
    own = bool(rules)
    files = read_files(
        list(rules) or settings.rules,
        list(zones) or (() if own else settings.zones),
        None if own and registry is None else registry or settings.registry,
        tables or settings.tables,
    )
    return city_of(files, settings)


def city_of(files: Files, settings: Settings) -> City:
    """The city of files that were read, checked as a whole. Raises CityProblems with all that is wrong."""
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    zone_list, problems = read_zones([(file.shown, file.data) for file in files.of("zones")])
    problems += files.problems
    registered = [(file.shown, file.data) for file in files.of("registry")]
    known, more = read_registry(registered, zone_list) if registered else (None, [])
    problems += more
    table_set, more = load_tables({Path(file.name).name: file.data for file in files.of("tables")})
    problems += more
    sources = [SourceFile(file.shown, file.data) for file in files.of("rules")]
    bundle, more = rules_of(sources, zone_list, table_set, tokens)
    problems += more
    if failed(problems) or bundle is None or table_set is None:
        raise CityProblems(in_order(problems))
    return City(
        centre=settings.centre,
        zone=zone_info(settings.timezone),
        bundle=bundle,
        atlas=Atlas.of(zone_list, known, settings.bounds_margin_km),
        tables=table_set,
        decoder=Decoder(tokens, {m.name: m.unit for m in table_set.metrics.values() if m.unit is not None}),
        accept_unregistered=known is None or settings.unregistered == "accept",
        letters=Letters(
            None if settings.dead_letter_key is None else Vault(settings.dead_letter_key.get_secret_value().encode()),
            settings.demo_token_key,
        ),
        compiled=settings.compiled == "auto" and compiled_wanted(),
        files=files,
    )
