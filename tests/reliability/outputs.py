"""What a run left on its topics, as a consumer finds it: every record with its place, time and headers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from models.streams import URGENT_DETECTIONS

Headers = tuple[tuple[str, bytes | None], ...]
CANARY = "zhinao-canary"
"""The rule of the detections that a worker measures itself by; no incident comes of them."""
TP = tuple[str, int]
"""Short topic name and partition."""


class Kept(NamedTuple):
    """A record as it stands on its topic. `at_ms` is the time the broker or the producer gave it."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON; nothing for a record without a value."""
        found: dict[str, Any] = orjson.loads(self.value) if self.value else {}
        return found

    def header(self, name: str) -> str | None:
        value = dict(self.headers).get(name)
        return None if value is None else value.decode()


@dataclass(slots=True)
class Run:
    """All that stands on the topics of one run, in the order of each partition, and how far its group has come."""

    records: dict[str, list[Kept]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[TP, int] = field(default_factory=dict)
    committed: dict[TP, int] = field(default_factory=dict)

    def of(self, topic: str) -> list[Kept]:
        return self.records.get(topic, [])

    def detections(self) -> list[Kept]:
        """Of both topics, without clock records and canaries."""
        every = [*self.of("detections"), *self.of(URGENT_DETECTIONS)]
        return [record for record in every if record.value is not None and record.body["rule"] != CANARY]
