"""What looks odd about zones that can be used, and what does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, shape

from geo.advice import advise
from geo.check import check_zones, load_registry
from geo.crs import from_wgs84
from geo.neighbours import far_groups, swapped_among
from geo.offset import Ground
from geo.zones import read_written
from models.problems import Problem
from streams.commands.group import zhinao
from tests.conftest import REPOSITORY
from tests.geo.shapes import LAT, LON, collection, feature, square

ZONES = REPOSITORY / "geo/zones/pinghu.geojson"
M = 1 / 95_800  # degrees of longitude


def advice(*features: Any, kinds: Sequence[str] = ()) -> list[Problem]:
    found, problems = read_written([("z.geojson", collection(*features))])
    assert problems == []
    return advise(found, kinds, None)


def zone_of(kind: str, name: str = "x", lon: float = LON) -> dict[str, Any]:
    return feature(name, square(lon, LAT, 0.001), kind=kind)


@pytest.mark.parametrize("written", ["no_parking", "no-parkng", "NO-PARKING", "noparking", "No_Parking"])
def test_a_kind_that_looks_like_a_known_one_is_a_warning_at_each_zone(written: str) -> None:
    found = advice(zone_of(written), zone_of(written, "y"))
    assert [(p.code, p.severity, p.place.line, p.hint) for p in found] == [
        ("Z019", "warning", line, 'did you mean "no-parking"?') for line in (2, 3)
    ]


def test_a_kind_like_none_is_advice_once_and_nothing_where_the_rules_are_not_known() -> None:
    ponds = [zone_of("pond"), zone_of("pond", "y"), zone_of("lake")]
    assert [(p.severity, p.path[0]) for p in advice(*ponds, kinds=["core"])] == [
        ("advice", "feature 0 (x)"),
        ("advice", "feature 2 (x)"),
    ]
    assert advice(*ponds) == []


@pytest.mark.parametrize("pattern", ["pond", "po*", "*"])
def test_a_kind_that_a_rule_names_is_known(pattern: str) -> None:
    assert advice(zone_of("pond"), kinds=[pattern]) == []


def test_zones_far_from_the_most_are_told_once_a_group() -> None:
    city = [zone_of("core", f"c{n}", LON + n / 10) for n in range(9)]  # a long one: each is near the next
    assert advice(*city) == []
    lost = [zone_of("core", "a", 0.0), zone_of("core", "b", 0.01)]
    (found,) = advice(*lost, *city)
    assert (found.code, found.severity, found.path[0]) == ("Z020", "warning", "feature 0 (a)")
    assert found.message.startswith('the zone "core/a" and 1 more: ')
    assert [p.path[0] for p in advice(*lost[:1], zone_of("core", "d", 60.0), *city)] == [
        "feature 0 (a)",
        "feature 1 (d)",
    ]


@pytest.mark.parametrize(("away_deg", "told_of"), [(0.15, 0), (0.6, 1), (5.0, 1)])
def test_twenty_kilometres_are_near_and_sixty_are_far(away_deg: float, told_of: int) -> None:
    city = [zone_of("core", f"c{n}", LON + n / 1000) for n in range(3)]
    assert len(advice(*city, zone_of("core", "off", LON + away_deg))) == told_of


@given(st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), min_size=1, max_size=12))
def test_groups_hold_each_place_once_and_lie_apart(places: list[tuple[float, float]]) -> None:
    boxes = [(x, y, x, y) for x, y in places]
    groups = far_groups(boxes)
    members = [number for group in groups for number in group.members]
    assert len(set(members)) == len(members) < len(places)
    for group in groups:
        mine = shapely.multipoints([places[n] for n in group.members])
        rest = shapely.multipoints([place for n, place in enumerate(places) if n not in group.members])
        assert mine.distance(rest) > 0.2 - 1e-9
        assert group.away_m > 0


@given(st.integers(2, 20), st.data())
def test_one_swapped_place_is_found_among_any_number(count: int, data: st.DataObject) -> None:
    odd = data.draw(st.integers(0, count))
    places = [(11.3 + n / 100, 44.5) for n in range(count + 1)]
    assert swapped_among(places) == []
    places[odd] = places[odd][::-1]
    assert swapped_among(places) == ([odd] if count > 1 else [])


def test_a_sliver_is_told_even_as_a_part_and_a_bay_is_none() -> None:
    bay = shapely.box(LON, LAT, LON + 2.2 * M, LAT + 0.00005)
    thin = shapely.box(LON + 0.001, LAT, LON + 0.001 + 0.3 * M, LAT + 0.001)
    assert advice(feature("bay", bay, kind="permit")) == []
    (found,) = advice(feature("both", MultiPolygon([bay, thin]), kind="permit"))
    assert (found.code, found.severity) == ("Z022", "warning")
    assert "30 cm wide" in found.message


# ---------------------------------------------------------------------------------------------- another system


def shipped_as(system: str, *, kinds: frozenset[str] | None = None) -> bytes:
    """The shipped zones as a web map would have given them."""
    document = json.loads(ZONES.read_bytes())
    kept = [f for f in document["features"] if kinds is None or f["properties"]["kind"] in kinds]
    for one in kept:
        moved = shapely.transform(
            shape(one["geometry"]), lambda at: np.column_stack(from_wgs84(system, at[:, 0], at[:, 1]))
        )
        one["geometry"] = shapely.geometry.mapping(moved)
    return json.dumps(document | {"features": kept}).encode()


@pytest.fixture(scope="module")
def ground() -> Ground:
    made = Ground.of([], load_registry([REPOSITORY / "geo/registry"])[0])
    assert made is not None
    return made


def told(data: bytes, ground: Ground) -> list[tuple[str, str]]:
    found, problems = read_written([("z.geojson", data)])
    assert problems == []
    return [(p.code, p.message.partition(":")[0]) for p in advise(found, (), ground)]


@pytest.mark.parametrize("system", ["gcj02", "bd09"])
def test_a_zone_file_in_another_system_is_advice(system: str, ground: Ground) -> None:
    expected = [("Z021", f"the zones look like {system}")]
    assert told(shipped_as(system), ground) == expected
    assert told(shipped_as(system, kinds=frozenset({"no-parking"})), ground) == expected


def test_zones_in_place_off_the_roads_or_of_another_city_are_left_alone(ground: Ground) -> None:
    assert told(shipped_as("wgs84"), ground) == []
    assert told(shipped_as("wgs84", kinds=frozenset({"core", "market"})), ground) == []
    assert told(shipped_as("gcj02", kinds=frozenset({"area"})), ground) == []
    elsewhere = [feature(f"x{n}", square(113 + n / 200, 23, 0.001), kind="no-parking") for n in range(20)]
    assert told(collection(*elsewhere), ground) == []


def test_the_command_knows_the_rules_and_the_segments(tmp_path: Path) -> None:
    file = tmp_path / "z.geojson"
    file.write_bytes(shipped_as("gcj02").replace(b'"kind": "core"', b'"kind": "cores"'))
    ended = CliRunner().invoke(zhinao, ["zones", "check", "--json", str(file)], prog_name="zhinao")
    assert ended.exit_code == 0
    assert [(p["code"], p["severity"]) for p in json.loads(ended.stdout)] == [
        ("Z021", "advice"),
        ("Z019", "warning"),
        ("Z019", "warning"),
        ("Z019", "warning"),
    ]
    assert check_zones([ZONES])[1] == []
