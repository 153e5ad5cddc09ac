"""What each topic carries, and its JSON Schema made from the type.

A schema is as strict as our decoder on what comes in and no stricter, so that whoever checks against it sends nothing
in vain; on what goes out it says all that we keep to. What the types cannot say is in `models.contracts_terms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from models.bundles import RuleBundle
from models.contracts_terms import Schema, Words, narrow
from models.contracts_texts import Texts
from models.dead_letters import DeadLetter, LateRecord
from models.detections import Detection
from models.dispatch import (
    Command,
    DispatchOrder,
    Feedback,
    HotlineReply,
    Notice,
    RecognitionRequest,
    VerificationResult,
)
from models.incidents import Incident
from models.observations import WIRE_TYPES
from models.streams import URGENT_DETECTIONS
from models.traffic import TrafficState

VERSION = "v1"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Flow(StrEnum):
    """Who speaks: others to us, we to others, or our own parts to each other (others may listen)."""

    IN = "in"
    OUT = "out"
    INTERNAL = "internal"


class Contract(NamedTuple):
    """`fenced`: bears `ce_epoch` and `ce_seq`, because the Desk publishes it."""

    topic: str
    kind: type[msgspec.Struct]
    flow: Flow
    fenced: bool = False


CONTRACTS: dict[str, Contract] = {
    c.topic: c
    for c in (
        *(Contract(topic, kind, Flow.IN) for topic, kind in WIRE_TYPES.items()),
        Contract("dispatch.feedback", Feedback, Flow.IN),
        Contract("commands", Command, Flow.IN),
        Contract("detections", Detection, Flow.INTERNAL),
        Contract(URGENT_DETECTIONS, Detection, Flow.INTERNAL),
        Contract("incidents", Incident, Flow.OUT, fenced=True),
        Contract("incidents.state", Incident, Flow.OUT, fenced=True),
        Contract("incidents.shadow", Incident, Flow.OUT, fenced=True),
        Contract("dispatch.orders", DispatchOrder, Flow.OUT, fenced=True),
        Contract("verification.results", VerificationResult, Flow.OUT, fenced=True),
        Contract("notices", Notice, Flow.OUT, fenced=True),
        Contract("recognition.requests", RecognitionRequest, Flow.OUT, fenced=True),
        Contract("hotline.replies", HotlineReply, Flow.OUT, fenced=True),
        Contract("traffic.states", TrafficState, Flow.OUT),
        Contract("rules.bundle", RuleBundle, Flow.INTERNAL),
        Contract("late", LateRecord, Flow.OUT),
        Contract("dead-letters", DeadLetter, Flow.OUT),
    )
}
"""In the order of the wire contracts."""


def schema_file(topic: str) -> str:
    return f"{topic}.{VERSION}.schema.json"


def schemas(words: Words, texts: Texts) -> dict[str, Schema]:
    """The schema of every topic."""
    return {topic: schema_of(contract, words, texts) for topic, contract in CONTRACTS.items()}


def schema_of(contract: Contract, words: Words, texts: Texts) -> Schema:
    """One topic's. Raises MissingText where a field has no text."""
    found = structs(contract.kind)
    narrow(found, words)
    if contract.flow is not Flow.IN:
        for name, schema in found.items():
            schema["required"] = always_sent(name, schema)
    for name, schema in found.items():
        describe(name, schema, texts)
        if not schema["required"]:
            del schema["required"]
    top = found.pop(contract.kind.__name__)
    head: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:zhinao:{contract.topic}:{VERSION}",
        "title": f"{contract.topic} {VERSION}",
        "description": texts.topic(contract.topic).line(),
    }
    return head | {k: v for k, v in top.items() if k != "title"} | ({"$defs": found} if found else {})


def describe(name: str, schema: Schema, texts: Texts) -> None:
    for field, part in schema["properties"].items():
        part["description"] = texts.field(name, field).line()


def always_sent(name: str, schema: Schema) -> list[str]:
    """Our encoder writes every field, but those of `Evidence` that have nothing to say."""
    return [field for field in schema["properties"] if (name, field) not in LEFT_OUT]


LEFT_OUT = {("Evidence", "ref")}


# ------------------------------------------------------------------------------------------------- from the types


def structs(kind: type[msgspec.Struct]) -> dict[str, Schema]:
    """The type and all it is made of, by name, as plain as JSON Schema allows: words and nulls are written in place."""
    _, components = msgspec.json.schema_components((kind,), ref_template="#/$defs/{name}")
    enums = {f"#/$defs/{name}": part["enum"] for name, part in components.items() if "enum" in part}
    return {
        name: {
            "title": name,
            "type": "object",
            "required": list(part["required"]),
            "properties": {field: plain(found, enums) for field, found in part["properties"].items()},
        }
        for name, part in components.items()
        if "enum" not in part
    }


def plain(schema: Mapping[str, Any], enums: Mapping[str, list[str]]) -> Schema:
    """A part without `default: null`, with its enums in place and null as one of its types."""
    if "anyOf" in schema:
        return joined([plain(part, enums) for part in schema["anyOf"]])
    if schema.get("$ref") in enums:
        return {"type": "string", "enum": enums[schema["$ref"]]}
    found = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
    if "enum" in found:
        found = {"type": "string", **found}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), Mapping):
            found[key] = plain(found[key], enums)
    return found


def joined(parts: list[Schema]) -> Schema:
    """One schema for alternatives of different types; `anyOf` only where one of them is a `$ref`."""
    if any("$ref" in part for part in parts):
        return {"anyOf": parts}
    found: Schema = {"type": list(flat(part["type"] for part in parts))}
    for part in parts:
        found |= {key: value for key, value in part.items() if key != "type"}
    if "enum" in found and "null" in found["type"]:
        found["enum"] = [*found["enum"], None]
    return found


def flat(types: Iterable[str | list[str]]) -> Iterable[str]:
    for each in types:
        yield from [each] if isinstance(each, str) else each
