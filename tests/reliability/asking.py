"""What a worker says of itself over HTTP, and waiting for what is to come about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

WITHIN_S = 60.0


def health(port: int) -> dict[str, Any]:
    """What /healthz says, whatever its status."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            text = answer.read()
    except HTTPError as refused:
        text = refused.read()
    found: dict[str, Any] = json.loads(text)
    return found


def scraped(port: int, name: str) -> float:
    """The sum of a metric over its labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def until(what: Callable[[], bool], name: str, within_s: float = WITHIN_S) -> float:
    """Wait for it; seconds that took."""
    began_s = time.monotonic()
    while not what():
        assert time.monotonic() < began_s + within_s, f"not within {within_s:g} s: {name}"
        time.sleep(0.1)
    return time.monotonic() - began_s
