"""The AsyncAPI document against AsyncAPI's own schema, and against the topics as they are made."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from models.contracts import CONTRACTS
from streams.producer import event_headers
from streams.topics import TOPICS
from tests.contracts.judging import PUBLISHED
from tests.contracts.specs import fetch_specs


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    text = (fetch_specs() / "3.0.0-without-$id.json").read_text(encoding="utf-8")
    return Draft7Validator(json.loads(text))


@pytest.fixture
def document() -> Any:
    return yaml.safe_load((PUBLISHED / "asyncapi.yaml").read_text(encoding="utf-8"))


def test_the_document_is_asyncapi_3(validator: Draft7Validator, document: Any) -> None:
    assert [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)] == []


FAULTS: dict[str, tuple[str, Any]] = {
    "a channel with a field of no meaning": ("channels/incidents/colour", "red"),
    "a binding of no version": ("channels/incidents/bindings/kafka/bindingVersion", "9"),
    "a policy that Kafka has not": (
        "channels/incidents/bindings/kafka/topicConfiguration/cleanup.policy",
        ["shred"],
    ),
    "an action that is none": ("operations/incidents.send/action", "shout"),
    "a title that is none": ("info/title", 7),
    "another version": ("asyncapi", "2.6.0"),
}


@pytest.mark.parametrize(("where", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(validator: Draft7Validator, document: Any, where: str, what: Any) -> None:
    part = copy.deepcopy(document)
    *way, last = where.split("/")
    at = part
    for step in way:
        at = at[step]
    at[last] = what
    assert not validator.is_valid(part)


# --------------------------------------------------------------------------------------------------- what it says of us


def test_every_reference_leads_somewhere(document: Any) -> None:
    found = list(references(document))
    assert len(found) > 100
    for reference in found:
        file, _, inside = reference.partition("#")
        if file:
            assert (PUBLISHED / file).is_file(), reference
        part = document
        for step in inside.split("/")[1:]:
            part = part[step]


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for below in part.values() for found in references(below)]
    return [found for below in part for found in references(below)] if isinstance(part, list) else []


@pytest.mark.parametrize("topic", CONTRACTS)
def test_a_channel_is_the_topic_as_it_is_made(document: Any, topic: str) -> None:
    channel, spec = document["channels"][topic], TOPICS[topic]
    assert channel["address"].format(prefix="zhinao") == spec.full_name("zhinao")
    said = channel["bindings"]["kafka"]["topicConfiguration"]
    made = spec.configs()
    assert {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in said.items()} == {
        name: made[name] for name in ("cleanup.policy", "retention.ms", "max.message.bytes") if name in made
    }


def test_no_channel_is_missing(document: Any) -> None:
    assert set(document["channels"]) == set(CONTRACTS)


@pytest.mark.parametrize(("schema", "more"), [("cloudEvent", {}), ("deskEvent", {"epoch": 3, "seq": 17})])
def test_the_headers_are_those_that_we_send(document: Any, schema: str, more: dict[str, int]) -> None:
    sent = event_headers(
        event_id="i-1/1", source="/zhinao/desk", event_type="zhinao.incidents.v1", time="2026-03-02", **more
    )
    said = document["components"]["schemas"][schema]
    assert set(said["required"]) == {name for name, _ in sent}
    assert Draft7Validator(said).is_valid({name: value.decode() for name, value in sent})
