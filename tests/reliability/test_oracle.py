"""The oracle and the core agree on every load, and the oracle knows nothing of the core."""

from __future__ import annotations

import ast
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest
from shapely.geometry import Point

from streams.settings import ROOT
from tests.reliability import load as loads
from tests.reliability import oracle
from tests.reliability.equations import lost_and_phantom
from tests.reliability.load import Load, stamp_of
from tests.reliability.oracle import Raised
from tests.reliability.replaying import as_run, replayed

OWN = ("models", "geo", "rules", "streams", "tests", "benchmarks", "app")


@pytest.mark.parametrize("seed", range(20))
def test_the_core_raises_what_the_oracle_says(seed: int) -> None:
    load = Load(seed, seconds=50 + seed)
    published, summary = replayed(load)
    assert lost_and_phantom(as_run(published, load), oracle.raised(load)) == []
    fates = sum(load.ledger().values(), Counter())
    dead = sum(count for fate, count in fates.items() if fate.startswith("dead:"))
    said = {"duplicate": fates["duplicate"], "late": fates["late"], "dead": dead}
    assert {name: summary.bins[name] for name in said} == said
    assert summary.bins["used"] + summary.bins["filtered"] == fates["used"]


def test_a_load_raises_every_rule_and_ends_records_in_every_bin() -> None:
    load = Load(1)
    assert {r.rule for r in oracle.raised(load)} == {"parked", "flooded", "slow", "cover-gone", "sos"}
    fates = sum(load.ledger().values(), Counter())
    assert fates.keys() >= {"used", "duplicate", "late", "dead:not_json"}


def test_every_detection_opens_an_incident_of_its_own_and_every_placed_ticket_too() -> None:
    load = Load(2)
    _, summary = replayed(load)
    opened = [incident for incident in summary.newest.values() if incident.rule is not None]
    assert len(opened) == len(oracle.raised(load))
    placed = [ticket for ticket in load.used("hotline.tickets") if "lon" in ticket]
    assert len(summary.newest) == len(opened) + len(placed)


def test_the_same_seed_makes_the_same_load_and_another_another() -> None:
    assert list(Load(5).lines()) == list(Load(5).lines())
    assert list(Load(5).lines()) != list(Load(6).lines())


def test_every_record_bears_a_stamp_of_its_own_that_fits_it() -> None:
    load = Load(5)
    stamps = [stamp_of(line.headers) for line in load.lines()]
    assert None not in stamps
    doubles = sum(load.ledger().values(), Counter())["duplicate"]
    assert len(set(stamps)) == len(stamps) - doubles


def test_a_late_ghost_would_be_seen_if_it_counted() -> None:
    """What is late must matter, or to count it would go unnoticed."""
    load = Load(3, late=0.3)
    ghosts = [r for r in load.records if r.fate == "late"]
    as_used = [orjson.loads(r.value or b"") for r in ghosts]
    assert len(as_used) > 20
    load.records += [r._replace(fate="used") for r in ghosts]
    with_them = oracle.raised(load)
    assert {r for r in with_them if "ghost" in r.key}
    assert not {r for r in oracle.raised(Load(3, late=0.3)) if "ghost" in r.key}


def test_the_boundary_of_a_zone_counts_as_inside_and_a_metre_beyond_does_not() -> None:
    zone = loads.zones()[0]
    lon, lat = zone.ground.exterior.coords[0]  # type: ignore[attr-defined]
    assert zone.ground.covers(Point(lon, lat))
    assert not zone.ground.covers(Point(lon - 200 * loads.METRE_LON, lat))


def test_a_stay_that_is_too_short_by_an_instant_raises_nothing() -> None:
    def stay(last_ms: int) -> list[Raised]:
        times = [*range(0, 8000, 1000), last_ms]
        return list(oracle.stays("k", "z", [oracle.Sighting(at, 121.0, 30.7) for at in times]))

    assert stay(7999) == []
    assert stay(8000) == [Raised("parked", "k", "z", 0, 8000)]


def imported(path: Path) -> set[str]:
    """The modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def reached(module: str, seen: set[str]) -> set[str]:
    """All modules of ours that a module imports, and those that they import."""
    for name in sorted(imported(Path(find_spec(module).origin))):  # type: ignore[union-attr, arg-type]
        if name.split(".")[0] in OWN and name not in seen and is_module(name):
            seen.add(name)
            reached(name, seen)
    return seen


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file()


@pytest.mark.parametrize("module", ["tests.reliability.oracle", "tests.reliability.equations"])
def test_nothing_of_the_rules_is_imported(module: str) -> None:
    found = reached(module, {module})
    assert not [name for name in found if name.split(".")[0] == "rules"]


def test_the_search_for_imports_finds_the_rules_where_they_are() -> None:
    assert any(name.startswith("rules.") for name in reached("tests.reliability.replaying", set()))
