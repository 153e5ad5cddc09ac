"""How soon an order is out at a thousand observations a second, on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench_latency import measure
from tests.kafka.broker import KafkaBroker

LIMIT_MS = 500.0


@pytest.mark.slow
def test_an_order_is_out_half_a_second_after_the_lateness(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    figures = measure(kafka, tmp_path, rate=1000, seconds=20, prefix=unique_prefix)
    assert figures.orders >= 300
    assert figures.sent_per_s >= 950, "the load could not be kept up: the figure says nothing"
    assert figures.p99_ms <= LIMIT_MS, figures
