"""The contracts as one AsyncAPI document: a channel a topic, with what Kafka needs to know of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from models.contracts import CONTRACTS, VERSION, Contract, Flow, schema_file
from models.contracts_texts import Texts

Part = dict[str, Any]
JSON = "application/json"
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
BINDING = "0.5.0"
"""Version of AsyncAPI's Kafka binding."""


class Channel(NamedTuple):
    """What the broker keeps of a topic. `partition` None: that of the key, by murmur2; else always this one."""

    topic: str
    key: str
    partition: int | None
    compacted: bool
    retention_ms: int
    max_message_bytes: int


def asyncapi(channels: Iterable[Channel], texts: Texts) -> Part:
    """The document, as data."""
    pairs = [(CONTRACTS[channel.topic], channel) for channel in channels if channel.topic in CONTRACTS]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "zhinao 智脑",
            "version": f"{VERSION[1:]}.0.0",
            "description": texts.topic("document").line(),
        },
        "defaultContentType": JSON,
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka"}},
        "channels": {contract.topic: channel_part(contract, channel, texts) for contract, channel in pairs},
        "operations": {
            f"{contract.topic}.{action}": operation(contract.topic, action)
            for contract, _ in pairs
            for action in actions(contract.flow)
        },
        "components": {
            "messages": {contract.topic: message(contract, channel, texts) for contract, channel in pairs},
            "parameters": {"prefix": {"default": "zhinao", "description": texts.topic("prefix").line()}},
            "schemas": {
                "cloudEvent": headers(texts, required=True),
                "cloudEventIfSent": headers(texts, required=False),
                "deskEvent": headers(texts, required=True, fenced=True),
            },
        },
    }


def channel_part(contract: Contract, channel: Channel, texts: Texts) -> Part:
    return {
        "address": f"{{prefix}}.{contract.topic}.{VERSION}",
        "description": texts.topic(contract.topic).line(),
        "parameters": {"prefix": {"$ref": "#/components/parameters/prefix"}},
        "messages": {"record": {"$ref": f"#/components/messages/{contract.topic}"}},
        "bindings": {"kafka": {"topicConfiguration": configuration(channel), "bindingVersion": BINDING}},
        "x-partition": partition(channel),
    }


def configuration(channel: Channel) -> Part:
    kept: Part = {"cleanup.policy": ["compact" if channel.compacted else "delete"]}
    if not channel.compacted:
        kept["retention.ms"] = channel.retention_ms
    return kept | {"max.message.bytes": channel.max_message_bytes}


def partition(channel: Channel) -> Part:
    """Where a record belongs; elsewhere it is a dead letter (in) or is never found (out)."""
    if channel.partition is None:
        return {"by": "key", "hash": "murmur2"}
    return {"by": "number", "number": channel.partition}


def message(contract: Contract, channel: Channel, texts: Texts) -> Part:
    return {
        "name": f"{contract.topic}.{VERSION}",
        "title": contract.topic,
        "contentType": JSON,
        "headers": {"$ref": f"#/components/schemas/{headers_of(contract)}"},
        "payload": {
            "schemaFormat": SCHEMA_FORMAT,
            "schema": {"$ref": f"./schemas/{schema_file(contract.topic)}"},
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": texts.topic(f"key {channel.key}").line()},
                "bindingVersion": BINDING,
            }
        },
    }


def headers_of(contract: Contract) -> str:
    if contract.flow is Flow.IN:
        return "cloudEventIfSent"
    return "deskEvent" if contract.fenced else "cloudEvent"


def headers(texts: Texts, *, required: bool, fenced: bool = False) -> Part:
    """CloudEvents in Kafka's binary mode. Header values are UTF-8 text, numbers in decimal digits."""
    names = ["ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion", "content-type"]
    counted = ["ce_epoch", "ce_seq"] if fenced else []
    found: Part = {
        "type": "object",
        "properties": {name: {"type": "string", "description": texts.field("headers", name).line()} for name in names}
        | {
            name: {"type": "string", "pattern": "^[0-9]+$", "description": texts.field("headers", name).line()}
            for name in counted
        },
    }
    if required:
        found["required"] = names + counted
    return found


def actions(flow: Flow) -> tuple[str, ...]:
    """What zhinao does on the channel."""
    return {Flow.IN: ("receive",), Flow.OUT: ("send",), Flow.INTERNAL: ("send", "receive")}[flow]


def operation(topic: str, action: str) -> Part:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"#/channels/{topic}/messages/record"}],
    }
