"""How soon an order is out at a thousand observations a second, on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench_latency import measure
from tests.kafka.broker import KafkaBroker

LIMIT_MS = 500.0
TRIES = 3
"""What else runs on the machine only adds; the best of three is nearest to what is ours."""


@pytest.mark.slow
@pytest.mark.alone
def test_an_order_is_out_half_a_second_after_the_lateness(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    tries = []
    for number in range(TRIES):
        figures = measure(kafka, tmp_path, rate=1000, seconds=15, prefix=f"{unique_prefix}{number}")
        assert figures.orders >= 200
        if figures.sent_per_s >= 950:  # else the load could not be kept up, and the figure says nothing
            tries.append(figures)
            if figures.p99_ms <= LIMIT_MS:
                return
    raise AssertionError(f"not once within {LIMIT_MS:g} ms: {tries}")
