"""What the shipped atlas tells the Desk."""

from __future__ import annotations

from functools import cache

from geo.atlas import Atlas
from geo.registry import read_registry
from geo.zones import read_zones
from models.decode import Decoder
from models.privacy import Tokens
from rules.incidents.desk import Desk
from rules.incidents.places import OnAtlas
from rules.language.model import Bundle
from tests.rules.incidents.city import REPOSITORY, ZONE, Told, tables, ticket


@cache
def atlas() -> Atlas:
    zones, _ = read_zones([("pinghu.geojson", (REPOSITORY / "geo/zones/pinghu.geojson").read_bytes())])
    folder = REPOSITORY / "geo" / "registry"
    registry, _ = read_registry([(f"{n}.geojson", (folder / f"{n}.geojson").read_bytes()) for n in FILES], zones)
    return Atlas.of(zones, registry)


FILES = ("devices", "segments", "units")


def test_a_point_in_a_named_zone_is_called_after_the_smallest():
    zone = next(z for z in atlas().zones if z.path == "no-parking/xinhua-road-n")
    point = zone.geometry.representative_point()
    assert OnAtlas(atlas()).around(point.x, point.y) == zone.name


def test_a_point_by_the_road_is_near_it_and_one_in_the_sea_is_nowhere():
    places = OnAtlas(atlas())
    name = places.around(121.00847, 30.68843)
    assert name is not None
    assert not name.en[0].isdigit()
    assert places.around(125.0, 30.0) is None


def test_every_department_of_the_tables_has_a_unit():
    departments = {unit.department for unit in OnAtlas(atlas()).units}
    assert departments == set(tables().departments)


def test_a_call_from_outside_the_city_is_a_dead_letter_and_one_in_it_has_its_area():
    told = Told(Desk(Bundle((), {}, ""), tables(), atlas(), zone=ZONE, decoder=Decoder(Tokens(b"k"), {})))
    outside = told.desk.feed("hotline.tickets", [ticket(100, "T1", "道路积水", lon=100.0)[1]])
    assert [f.reason for f in outside.failures] == ["position_out_of_bounds"]
    assert outside.counts == {"dead": 1}
    told.tell(ticket(110, "T2", "道路积水", lon=121.0157, lat=30.6842))
    assert told.last.area is not None
    assert told.order.unit_id is not None
