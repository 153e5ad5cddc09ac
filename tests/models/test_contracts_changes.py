"""What breaks a contract and what does not, one change at a time and in each direction."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from models.contracts import CONTRACTS, Flow, schema_file
from models.contracts_changes import breaks
from tests.contracts.judging import PUBLISHED, schema

RELEASED = PUBLISHED / "released" / "v1"

BASE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "state", "place"],
    "properties": {
        "id": {"type": "string", "maxLength": 128, "description": "an id"},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "speed_kmh": {"type": ["number", "null"], "minimum": 0},
        "count": {"type": "integer"},
        "place": {"$ref": "#/$defs/Place"},
        "best": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "to": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "allOf": [{"anyOf": [{"required": ["speed_kmh"]}, {"required": ["count"]}]}],
    "$defs": {"Place": {"type": "object", "required": ["lon"], "properties": {"lon": {"type": "number"}}}},
}
GONE = object()


def changed(*edits: tuple[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(BASE)
    for where, what in edits:
        *way, last = where.split(".")
        part = new
        for step in way:
            part = part[step]
        if what is GONE:
            del part[last]
        else:
            part[last] = what
    return new


# what is changed → (breaks what comes in, breaks what goes out)
CHANGES: dict[str, tuple[tuple[tuple[str, Any], ...], bool, bool]] = {
    "nothing": ((), False, False),
    "a description": ((("properties.id.description", "another"),), False, False),
    "a new field that may be left out": ((("properties.lane", {"type": "number"}),), False, False),
    "a new field that is always there": (
        (("properties.lane", {"type": "number"}), ("required", ["id", "state", "place", "lane"])),
        True,
        False,
    ),
    "a field is no more": ((("properties.tags", GONE),), True, True),
    "a field inside is no more": (
        (("$defs.Place.properties.lon", GONE), ("$defs.Place.required", [])),
        True,
        True,
    ),
    "a field becomes required": ((("required", ["id", "state", "place", "count"]),), True, False),
    "a field becomes optional": ((("required", ["id", "place"]),), False, True),
    "a field inside becomes optional": ((("$defs.Place.required", []),), False, True),
    "a word more": ((("properties.state.enum", ["open", "closed", "lost"]),), False, True),
    "a word less": ((("properties.state.enum", ["open"]),), True, False),
    "any word": ((("properties.state", {"type": "string"}),), False, True),
    "null is allowed": ((("properties.count.type", ["integer", "null"]),), False, True),
    "null is no longer allowed": ((("properties.speed_kmh.type", "number"),), True, False),
    "a wider number": ((("properties.count.type", "number"),), False, True),
    "another type": ((("properties.id", {"type": "integer"}),), True, True),
    "a tighter bound": ((("properties.speed_kmh.minimum", 1),), True, False),
    "a looser bound": ((("properties.id.maxLength", 256),), False, True),
    "no bound": ((("properties.speed_kmh.minimum", GONE),), False, True),
    "a new pattern": ((("properties.id.pattern", "^i-"),), True, False),
    "a type inside a list": ((("properties.tags.items", {"type": ["string", "null"]}),), False, True),
    "a type inside a map": ((("properties.to.additionalProperties.type", "number"),), True, True),
    "a type behind a reference": ((("$defs.Place.properties.lon.type", ["number", "null"]),), False, True),
    "a reference can no longer be null": ((("properties.best", {"$ref": "#/$defs/Place"}),), True, False),
    "a condition more": (
        (("allOf", [*BASE["allOf"], {"required": ["tags"]}]),),
        True,
        False,
    ),
    "a condition less": ((("allOf", []),), False, True),
    "a keyword never used before": ((("properties.count.multipleOf", 5),), True, False),
}


@pytest.mark.parametrize(("edits", "breaks_in", "breaks_out"), CHANGES.values(), ids=CHANGES.keys())
def test_each_change_breaks_the_side_it_should(
    edits: tuple[tuple[str, Any], ...], breaks_in: bool, breaks_out: bool
) -> None:
    new = changed(*edits)
    assert bool(breaks(BASE, new, Flow.IN)) == breaks_in
    assert bool(breaks(BASE, new, Flow.OUT)) == breaks_out
    assert bool(breaks(BASE, new, Flow.INTERNAL)) == (breaks_in or breaks_out)


def test_a_break_names_its_place_and_its_side() -> None:
    new = changed(("$defs.Place.properties.lon.type", "string"))
    (found,) = {each for each in breaks(BASE, new, Flow.IN) if each.path == "$.place.lon"}
    assert found.what == "in: number is allowed on one side only"
    (gone,) = breaks(BASE, changed(("properties.tags", GONE)), Flow.OUT)
    assert gone == ("$.tags", "the field is no more")


@pytest.mark.parametrize("topic", CONTRACTS)
def test_todays_schema_breaks_nothing_that_was_released(topic: str) -> None:
    released = RELEASED / schema_file(topic)
    assert released.is_file(), "a new topic: copy its schema there when it is released"
    assert breaks(orjson.loads(released.read_bytes()), schema(topic), CONTRACTS[topic].flow) == []


def planted(topic: str) -> dict[str, Any]:
    """A break in the newest schema of a topic: what is required in, optional out."""
    new = schema(topic)
    if CONTRACTS[topic].flow is Flow.OUT:
        new["required"] = new["required"][1:]
    else:
        new["required"] = [*new.get("required", []), "a_new_one"]
        new["properties"]["a_new_one"] = {"type": "string"}
    return new


@pytest.mark.parametrize("topic", CONTRACTS)
def test_a_break_planted_in_a_released_schema_is_found(topic: str) -> None:
    released = orjson.loads((RELEASED / schema_file(topic)).read_bytes())
    assert len(breaks(released, planted(topic), CONTRACTS[topic].flow)) == 1


@pytest.mark.parametrize("topic", CONTRACTS)
def test_a_field_more_is_no_break_of_a_released_schema(topic: str) -> None:
    released = orjson.loads((RELEASED / schema_file(topic)).read_bytes())
    new = copy.deepcopy(released)
    new["properties"]["remark"] = {"type": ["string", "null"]}
    assert breaks(released, new, CONTRACTS[topic].flow) == []
