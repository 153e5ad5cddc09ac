"""New inputs from old ones: bytes as libFuzzer changes them, or a change of the document that they spell."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Mutate = Callable[[bytes, int], bytes]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 5e-324, 1 << 53, 1 << 63, -(1 << 63) - 1, 10**40, "", " ", "\x00",
    "\ud800", "\U0010ffff", "é", "a" * 129, "2026-03-02T07:10:01+08:00", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z", 1772406601000, 4102444800000, "gcj02", "bd09", "wgs84", [], {}, [None], [[]], 121.01281,
    30.6899, 180, 90, 90.1, -180.1,
)  # fmt: skip
LARGE = 1e15
RAW = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"-0.0", b"9" * 400, b"\\ud800", b"\xff", b"\xef\xbb\xbf")


def changed(data: bytes, most: int, rng: Random, mutate: Mutate) -> bytes:
    """A changed input of at most so many bytes. The first byte, which chooses the topic, stays as it is."""
    head, text = data[:1], data[1:]
    choice = rng.random()
    made = None
    if choice < 0.6:
        made = changed_document(text, rng)
    elif choice < 0.7:
        made = spliced(text, rng)
    if made is None:
        made = mutate(text, max(1, most - 1))
    return (head + made)[:most]


def changed_document(text: bytes, rng: Random) -> bytes | None:
    """The document with a part of it changed, one to three times; None where it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.randint(1, 3)):
        document = with_change(document, rng)
    try:
        return json.dumps(document, ensure_ascii=rng.random() < 0.2).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None


def with_change(document: Any, rng: Random) -> Any:
    """One part of it gone, odd, doubled, moved or nested."""
    places = list(all_places(document))
    if not places:
        return deepcopy(rng.choice(ODD))
    holder, name = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del holder[name]
        case 1 | 2:
            holder[name] = deepcopy(rng.choice(ODD))
        case 3:
            other, its = rng.choice(places)
            holder[name] = deepcopy(other[its])
        case 4:
            holder[name] = {"x": holder[name]} if rng.random() < 0.5 else [holder[name], deepcopy(holder[name])]
        case _:
            if isinstance(holder, list):
                holder.insert(name, deepcopy(holder[name]))
            elif isinstance(holder[name], str):
                holder[name] = holder[name] * 2
            elif isinstance(holder[name], int | float) and abs(holder[name]) < LARGE:
                holder[name] = nudged(holder[name], rng)
    return document


def nudged(number: float, rng: Random) -> float:
    return rng.choice([-number, number + 1, number - 1, number + 0.5, number * 1000])


def all_places(part: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    waiting = [part]
    while waiting:
        holder = waiting.pop()
        steps = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for step in steps:
            found.append((holder, step))
            waiting.append(holder[step])
    return found


def spliced(text: bytes, rng: Random) -> bytes:
    """Raw pieces that no encoder would write, over or into it."""
    start = rng.randint(0, len(text))
    end = min(len(text), start + rng.choice([0, 0, 1, 2, 8]))
    return text[:start] + rng.choice(RAW) + text[end:]
