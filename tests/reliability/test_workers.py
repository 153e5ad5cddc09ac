"""F03, F07: workers come and go. F05: the broker does. Nobody can tell from the result.

What was measured is printed: `make test ARGS="tests/reliability -rP"`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.conftest import StartKafka
from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed
from tests.reliability.equations import busiest, delays_s, findings, outcome, share
from tests.reliability.load import Load
from tests.reliability.replaying import as_run, replayed

RESUMES_WITHIN_S = 60.0
LOG_LINES = 1_000_000


def rebalances(kafka: KafkaBroker, group: str) -> int:
    """How often the broker saw the group's members agree on who reads what."""
    return len(re.findall(rf"Stabilized group {re.escape(group)} generation \d+ ", kafka.log_tail(LOG_LINES)))


@pytest.mark.slow
def test_workers_replaced_one_by_one_double_nothing_even_raw(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    """F03. Two workers, each told to stop and followed by another: four come, and two go before the end."""
    load = Load(31)
    with Bed(kafka.bootstrap, unique_prefix, tmp_path) as bed:
        bed.start_worker("a")
        bed.start_worker("b")
        with bed.feeding(load, speed=3):
            for old, new in (("a", "c"), ("b", "d")):
                assert bed.workers[old].stop() == 0
                bed.start_worker(new)
        bed.settle()
        seen = rebalances(kafka, unique_prefix)
        assert bed.stop() == {"c": 0, "d": 0}
        run = bed.read()
    print("rebalances:", seen)
    assert findings(run, load, raw_at_most=0) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))
    assert 1 <= seen <= 6, "one for each that comes, one for each that goes"


@pytest.mark.slow
def test_workers_that_come_and_go_under_live_traffic_take_windows_and_timers_with_them(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    """F07, by the wall clock: one worker, two, three, then only the last that came: the Desk moves to it."""
    load = Load(41, seconds=55, start_ms=int(time.time() + 8) * 1000)
    with Bed(kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_CLOCK="wall") as bed:
        first = bed.start_worker("one")
        assert "desk=yes" in first.words()
        with bed.feeding(load, speed=1, drain_s=15):
            time.sleep(8)
            bed.start_worker("two")
            time.sleep(6)
            bed.start_worker("three")
            bed.supervised.add("three")
            time.sleep(6)
            assert first.stop() == 0
            bed.workers["two"].kill()
        bed.settle()
        assert bed.stop() == {"three": 0}
        run = bed.read()
    delays = delays_s(run)
    print("restarts:", bed.restarts)
    print("delay p50, p99, most (s):", [round(share(delays, of), 2) for of in (0.5, 0.99, 1)])
    assert findings(run, load, raw_at_most=busiest(run, 15_000)) == []


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True], ids=["stopped", "killed"])
def test_a_broker_that_comes_back_finds_nothing_lost(
    start_kafka: StartKafka, unique_prefix: str, tmp_path: Path, at_once: bool
) -> None:
    """F05. Workers that end for want of it are started again, as a supervisor does."""
    load = Load(51)
    kafka = start_kafka()
    with Bed(kafka.bootstrap, unique_prefix, tmp_path / "bed") as bed:
        bed.start_worker("one")
        bed.supervised.add("one")
        with bed.feeding(load, speed=3):
            bed.wait(6)
            gone_ms = time.time() * 1000
            kafka.restart(at_once=at_once)
            back_ms = time.time() * 1000
        bed.settle()
        assert bed.stop() == {"one": 0}
        run = bed.read()
    resumed_ms = min((r.at_ms for r in run.detections() if r.at_ms > gone_ms), default=float("inf"))
    print("resumed after (s):", round((resumed_ms - back_ms) / 1000, 1))
    print("restarts:", bed.restarts)
    assert findings(run, load, raw_at_most=busiest(run, 5000)) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))
    assert resumed_ms - back_ms < RESUMES_WITHIN_S * 1000
