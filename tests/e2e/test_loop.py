"""The real worker against real brokers: the shipped city, killed twice on the way, comes out as a replay says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from streams.topics import all_full_names
from tests.e2e.city import RECORDING, Identity, follow, replayed, running
from tests.kafka.broker import KafkaBroker

SPEED = "30"
KILL_AFTER_S = (12.0, 26.0)
SETTLE_WITHIN_S = 120.0


@pytest.fixture(scope="module")
def expected() -> set[Identity]:
    found = replayed()
    assert len(found) >= 12
    return found


def run_city(
    environment: dict[str, str], bootstrap: str, folder: Path, expected: set[Identity], options: dict[str, object]
) -> None:
    prefix = environment["ZHINAO_TOPIC_PREFIX"]
    with running(environment, folder) as run:
        line = run.start_worker()
        assert "partitions=0,1,2,3" in line
        assert "desk=yes" in line
        crews = run.start("crews", name="crews")
        feed = run.start("feed", str(RECORDING), "--speed", SPEED, "--drain", "20m", name="feed")
        began = time.monotonic()
        for after_s in KILL_AFTER_S:
            while time.monotonic() - began < after_s:
                assert feed.poll() is None, run.log("feed")
                time.sleep(0.1)
            run.kill_worker()
            run.start_worker()
        assert feed.wait(200) == 0, run.log("feed")
        assert crews.poll() is None, run.log("crews")
        seen = follow(bootstrap, prefix, {identity[0] for identity in expected}, SETTLE_WITHIN_S, options)
        codes = run.stop()
    assert seen.identities() == expected, run.log("worker")
    assert seen.gaps() == []
    assert seen.differing == []
    assert len(seen.epochs) == 1 + len(KILL_AFTER_S)
    assert codes[-3:] == [0, 0, 0] or set(codes) <= {0, -9}, codes


@pytest.mark.slow
def test_the_city_on_a_real_kafka_with_two_kills(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, expected: set[Identity]
) -> None:
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_TOPIC_PREFIX": unique_prefix,
        "ZHINAO_GROUP": unique_prefix,
        "ZHINAO_CLOCK": "stream",
    }
    with running(environment, tmp_path) as run:
        assert run.start("topics", "create", name="topics").wait(60) == 0, run.log("topics")
        assert run.start("topics", "check", name="topics").wait(60) == 0, run.log("topics")
    run_city(environment, kafka.bootstrap, tmp_path, expected, {})


@pytest.mark.slow
def test_the_city_on_the_embedded_broker_with_two_kills(tmp_path: Path, expected: set[Identity]) -> None:
    with EmbeddedBroker(all_full_names("zhinao")) as broker:
        environment = {
            "ZHINAO_EMBEDDED_BROKER": broker.address,
            "ZHINAO_TOPIC_PREFIX": "zhinao",
            "ZHINAO_CLOCK": "stream",
            "ZHINAO_STATE_DIR": str(tmp_path / "state"),
        }
        run_city(environment, broker.address, tmp_path, expected, {"api_version": (2, 1)})
