"""Small things that tests of several rooms build with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

ARRIVAL_MS = 1_772_406_700_000  # 2026-03-02T07:11:40+08:00, after every stamp of the contract's samples


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as the core reads it."""

    value: bytes | None
    key: bytes | None = b"danghu"
    timestamp: int = ARRIVAL_MS
    headers: tuple[tuple[str, bytes], ...] = ()
    offset: int = 0


def record(body: Any, **more: Any) -> Record:
    """Of bytes as they are, None, or anything JSON can hold."""
    value = body if body is None or isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Record(value, **more)
