"""One city, ready to run: rules, zones, registry, tables and decoder, read and checked once. It makes the two doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from geo.atlas import Atlas
from geo.check import load_registry, load_zones
from geo.zones import Zone
from models.compiling import compiled_wanted
from models.dead_letters import Vault
from models.decode import Decoder
from models.privacy import Tokens
from models.problems import Problem, failed, in_order
from models.times import zone_info
from rules.detection.detector import Detector, prepare
from rules.incidents.desk import Desk
from rules.language.load import load_rules, read_sources
from rules.language.model import Bundle
from rules.language.shared import Context
from rules.tables.load import read_tables
from rules.tables.model import Tables
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

    @property
    def urgent_rules(self) -> frozenset[str]:
        """The rules about life and safety: what they tell waits behind nothing else."""
        return frozenset(rule.id for rule in self.bundle.rules if rule.life_safety)

    @property
    def urgent_topics(self) -> frozenset[str]:
        """The inputs they read."""
        return frozenset(rule.topic for rule in self.bundle.rules if rule.life_safety)

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
    return load_rules(read_sources(paths), context_of(zones, tables, tokens))


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
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    zone_list, problems = load_zones(list(zones) or ([] if own else list(settings.zones)))
    known, more = (None, []) if own and registry is None else load_registry([registry or settings.registry], zone_list)
    problems += more
    table_set, more = read_tables(tables or settings.tables)
    problems += more
    bundle, more = read_rules(list(rules) or list(settings.rules), zone_list, table_set, tokens)
    problems += more
    if failed(problems) or bundle is None or table_set is None:
        raise CityProblems(in_order(problems))
    margin_km = settings.bounds_margin_km
    return City(
        centre=settings.centre,
        zone=zone_info(settings.timezone),
        bundle=bundle,
        atlas=Atlas.of(zone_list, known, margin_km),
        tables=table_set,
        decoder=Decoder(tokens, {m.name: m.unit for m in table_set.metrics.values() if m.unit is not None}),
        accept_unregistered=known is None or settings.unregistered == "accept",
        letters=Letters(
            None if settings.dead_letter_key is None else Vault(settings.dead_letter_key.get_secret_value().encode()),
            settings.demo_token_key,
        ),
        compiled=settings.compiled == "auto" and compiled_wanted(),
    )
