"""The tables that are shipped, and what is said of broken ones."""

from __future__ import annotations

import pytest

from models.times import HOUR_US
from rules.tables import load_tables, read_tables
from tests.rules.incidents.city import REPOSITORY, tables

FOLDER = REPOSITORY / "rules" / "tables"


def test_the_shipped_tables_have_no_problems():
    _, problems = read_tables(FOLDER)
    assert problems == []


def test_every_type_has_a_department_in_charge_and_a_deadline():
    for code, kind in tables().types.items():
        assert tables().department_of(code, "danghu", 8 * HOUR_US) == kind.department, code
        assert tables().deadline_of(code, kind.severity) is not None, code


def test_a_cover_of_any_owner_is_a_cover():
    kind = tables().type_of("C0112")
    assert kind is not None
    assert kind.code == "C01"
    assert tables().type_of("X9999") is None


def test_parking_goes_to_the_police_and_vendors_to_urban_management():
    assert tables().department_of("0505", None, 0) == "traffic-police"
    assert tables().department_of("0501", "danghu", 0) == "urban-management"
    assert tables().department_of("Z1", "danghu", 0) is None


def files() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "says"),
    [
        ("types", "clock: urgent, severity: critical, radius: 50m", "clock: lunar, radius: 50m", "T106", "'lunar'"),
        ("types", "radius: 10m, window: 30m", "radius: ten, window: 30m", "T106", "'ten'"),
        ("types", "  - {code: \"0101\"", "  - {cod: \"0101\"", "T107", "'code' is missing"),
        ("types", "department: elder-care-96345", "department: elves", "T111", "'elves'"),
        ("departments", "id: fire-119, zh: 消防", "id: fire-119, zh: 消防, zh: 火", "T104", "repeated"),
        ("calendars", "2018-09-29, 2018-09-30]", "2018-09-29, 2018-10-01]", "T114", "both off and worked"),
        ("calendars", "year: 2018", "year: 2017", "T114", "2017"),
        ("traffic", "above: 40%", "above: 60%", "T115", "below the one before"),
        ("traffic", "level: 3", "level: 4", "T115", "1 to 5"),
        ("traffic", "above: 0%", "above: 10%", "T115", "last at 0%"),
        ("traffic", "above: 70%", "above: 0.7", "T106", "70%"),
        ("traffic", 'road_class: "*"', "road_class: lane", "T115", "any other road"),
        ("traffic", "kmh: 100", "kmh: 0", "T106", "1 to 999"),
        ("calendars", "2018-10-01/2018-10-07", "2018-10-01/2018-13-07", "T106", "2018-13-07"),
        ("categories", "type: X2109}", "type: X9}", "T112", "'X9'"),
        ("metrics", "metric: tilt", "meter: tilt", "T107", "'metric' is missing"),
        ("deadlines", "accept: 30s", "accept: soon", "T106", "'soon'"),
        ("types", "types:", "types: [", "T100", "not YAML"),
    ],
)  # fmt: skip
def test_a_broken_table_is_named_with_its_place(name, old, new, code, says):
    data = files()
    text = data[f"{name}.yaml"].decode()
    assert old in text
    data[f"{name}.yaml"] = text.replace(old, new, 1).encode()
    found, problems = load_tables(data)
    assert found is None
    problem = next(p for p in problems if p.code == code)
    assert says in problem.message
    assert problem.place.file == f"{name}.yaml"
    assert problem.place.line > 1


def test_a_mistyped_key_gets_a_hint():
    data = files()
    data["types.yaml"] = data["types.yaml"].replace(b"raise_at: 10", b"raise_att: 10", 1)
    _, problems = load_tables(data)
    assert [(p.code, p.hint) for p in problems] == [("T109", "did you mean 'raise_at'?")]


def test_a_missing_file_is_named():
    data = files()
    del data["calendars.yaml"]
    found, problems = load_tables(data)
    assert found is None
    assert [(p.code, p.place.file) for p in problems] == [("T101", "calendars.yaml")]
