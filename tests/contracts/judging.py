"""The two judges of a record: the published schema and our decoder. And the golden samples they judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from models.contracts import CONTRACTS, Flow, schema_file
from models.decode import Decoder
from models.observations import WIRE_TYPES, DecodeFailure
from models.privacy import Tokens
from tests.conftest import REPOSITORY
from tests.support import ARRIVAL_MS, record

PUBLISHED = REPOSITORY / "docs" / "contracts"
SAMPLES = PUBLISHED / "samples"
IN = [topic for topic, contract in CONTRACTS.items() if contract.flow is Flow.IN]
SENT = [topic for topic, contract in CONTRACTS.items() if contract.flow is not Flow.IN]
LATEST_ARRIVAL_MS = ARRIVAL_MS + 24 * 3600 * 1000
"""A day after the samples were taken: none of their stamps is in the future."""

DECODER = Decoder(Tokens(b"a key for tests"), {"water_level": "cm"})
TYPED = {topic: msgspec.json.Decoder(contract.kind) for topic, contract in CONTRACTS.items()}


def schema(topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PUBLISHED / "schemas" / schema_file(topic)).read_text(encoding="utf-8"))
    return found


def validator(whole: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


VALIDATORS = {topic: validator(schema(topic)) for topic in CONTRACTS}


def objections(topic: str, body: Any) -> list[str]:
    """What the published schema has against a record; empty: nothing."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATORS[topic].iter_errors(body)]


def refusal(topic: str, body: Any) -> DecodeFailure | str | None:
    """Why our own decoder does not take it; None where it does."""
    raw = record(body, timestamp=LATEST_ARRIVAL_MS)
    match topic:
        case "dispatch.feedback":
            found: Any = DECODER.decode_feedback(raw)
        case "commands":
            found = DECODER.decode_command(raw)
        case "detections":
            found = DECODER.decode_detection(raw)
        case _ if topic in WIRE_TYPES:
            found = next(iter(DECODER.decode(topic, [raw]).failures), None)
        case _:
            return untyped(topic, raw.value or b"")
    return found if isinstance(found, DecodeFailure) else None


def untyped(topic: str, value: bytes) -> str | None:
    """Of what only goes out: whether it is of its type."""
    try:
        TYPED[topic].decode(value)
    except msgspec.MsgspecError as why:
        return str(why)
    return None


def samples(topic: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The golden samples of a topic."""
    for path in sorted((SAMPLES / topic).glob("*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))
