"""F09: Redis slow, gone, emptied while a city runs. The worker decides what it always does; the board says that it
could not be written, and is whole again afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from streams.settings import ROOT
from tests.kafka.broker import KafkaBroker
from tests.ports import free_ports
from tests.redis_server import RedisServer
from tests.reliability.asking import until
from tests.reliability.bed import Bed
from tests.reliability.equations import findings, lives, outcome
from tests.reliability.load import Load
from tests.reliability.outputs import Run
from tests.reliability.proxy import Proxy
from tests.reliability.replaying import as_run, replayed

SLOW_S = 2.5
"""More than the board waits for an answer."""


@contextmanager
def keeping(bed: Bed, url: str) -> Iterator[Path]:
    """`zhinao board --serve` beside the workers; its log."""
    log = bed.folder / "board.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "app", "board", "--serve"]
        child = subprocess.Popen(
            command, cwd=ROOT, env=bed.environment | {"REDIS_URL": url}, stdout=output, stderr=output
        )
    try:
        until(lambda: "ready redis=" in log.read_text(), "the board is kept")
        yield log
        assert child.poll() is None, log.read_text()
    finally:
        child.kill()
        child.wait()


def kept(client: Any, prefix: str) -> dict[str, int]:
    """Revision by incident, as the board in Redis has it."""
    found = client.hgetall(f"{{{prefix}:board}}:incidents")
    return {name.decode(): json.loads(body)["revision"] for name, body in found.items()}


def newest(run: Run) -> dict[str, int]:
    return {incident: max(life) for incident, life in lives(run).items()}


@pytest.mark.slow
def test_a_redis_slow_gone_and_emptied_changes_no_incident_and_gets_its_whole_board_back(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    load = Load(91, seconds=40)
    (tmp_path / "redis").mkdir()
    with (
        RedisServer(tmp_path / "redis") as server,
        Proxy(free_ports(1)[0], server.port) as proxy,
        redis.Redis(port=server.port) as client,
        Bed(kafka.bootstrap, unique_prefix, tmp_path / "bed") as bed,
    ):
        url = f"redis://127.0.0.1:{proxy.port}/0"
        bed.start_worker("one", REDIS_URL=url)
        with keeping(bed, url) as log:
            with bed.feeding(load, speed=5):
                until(lambda: bool(kept(client, unique_prefix)), "incidents on the board")
                proxy.latency_s = SLOW_S / 2
                until(lambda: "does not take the board" in log.read_text(), "it says that Redis is too slow")
            bed.settle()
            run = bed.read()
            behind = kept(client, unique_prefix)
            assert behind != newest(run)
            proxy.latency_s = 0.0
            until(lambda: kept(client, unique_prefix) == newest(run), "the board after a slow Redis")
            client.flushall()
            until(lambda: kept(client, unique_prefix) == newest(run), "the board after it was emptied")
            server.kill()
            server.start()
            until(lambda: kept(client, unique_prefix) == newest(run), "the board after Redis had gone")
        assert bed.stop() == {"one": 0}
    assert findings(run, load, raw_at_most=0) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))
