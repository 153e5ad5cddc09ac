"""Small things that tests of several rooms build with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.columns import Batch, Column, Columns, Flags, Mixed, Numbers, Scalar, Texts
from models.streams import STREAMS

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


def batch_of(topic: str, rows: Sequence[Mapping[str, Scalar]]) -> Batch:
    """A batch of one record for each row. A row is field → value, what it lacks is null; `time_us` is its time."""
    stream = STREAMS[topic]
    columns = {name: column_of(field.kind, [row.get(name) for row in rows]) for name, field in stream.fields.items()}
    times = np.array([int(row.get("time_us") or 0) for row in rows], dtype=np.int64)
    number = np.arange(len(rows), dtype=np.int32)
    return Batch(topic, times, number, Columns(columns), times, number)


def column_of(kind: str, values: Sequence[Scalar]) -> Column:
    """One column; of a mixed one each value goes to the part of its type."""
    if kind == "number":
        return Numbers(np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64))
    if kind == "flag":
        return Flags(np.array([-1 if v is None else int(v) for v in values], dtype=np.int8))
    if kind == "text":
        return Texts.encode([None if v is None else str(v) for v in values])
    numbers = [v if isinstance(v, int | float) and not isinstance(v, bool) else None for v in values]
    flags = [v if isinstance(v, bool) else None for v in values]
    texts = [v if isinstance(v, str) else None for v in values]
    parts = (column_of("number", numbers), column_of("flag", flags), column_of("text", texts))
    return Mixed(*parts)  # type: ignore[arg-type]  # each is the kind it was asked for
