"""`zhinao board` as people start it: from the topics, kept in Redis, through a stopped Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka import KafkaProducer

from streams.broker import EmbeddedBroker
from streams.sinks.keeper import READS
from streams.topics import TOPICS, all_full_names, full_name
from tests.conftest import REPOSITORY
from tests.kafka.broker import KafkaBroker
from tests.redis_server import RedisServer
from tests.streams.sinks.cards import encoded, incident, order

WITHIN_S = 60.0
MARCH_MS = 1_772_406_900_000


class Board:
    """The command in an environment, and what it reads from: topics of a broker, which `say` writes to."""

    def __init__(self, environment: dict[str, str], bootstrap: str, prefix: str, folder: Path) -> None:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("ZHINAO_") and k not in ("KAFKA_URL", "REDIS_URL")
        }
        self.environment = {**clean, **environment, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        self.producer: Any = KafkaProducer(bootstrap_servers=bootstrap, api_version=(2, 1), acks="all")
        self.prefix, self.log = prefix, folder / "serve.log"

    def say(self, topic: str, key: str, body: dict[str, Any]) -> None:
        partition = 0 if topic == "vehicle.positions" else None
        self.producer.send(
            full_name(topic, self.prefix),
            value=encoded(body),
            key=key.encode(),
            partition=partition,
            headers=[("ce_epoch", b"1")],
        ).get(timeout=WITHIN_S)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app", "board", *arguments],
            env=self.environment | environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )

    def shown(self, **environment: str) -> dict[str, Any]:
        ended = self.run("--json", **environment)
        assert ended.returncode == 0, ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    @contextmanager
    def served(self, **environment: str) -> Iterator[subprocess.Popen[str]]:
        with self.log.open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "app", "board", "--serve"],
                env=self.environment | environment,
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready redis=yes\n", self.log.read_text()
            yield child
            child.send_signal(signal.SIGTERM)
            assert child.wait(WITHIN_S) == 0, self.log.read_text()
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def say_a_city(board: Board) -> None:
    at_ms = now_ms()
    say = board.say
    for revision, state in enumerate(("confirmed", "dispatched"), 1):
        body = incident("i-parked", revision, state, changed_ms=at_ms, order_id="o-1" if revision > 1 else None)
        say("incidents.state", "i-parked", body)
    say("dispatch.orders", "i-parked", order("o-1", "i-parked", "u-jj-01"))
    say(
        "incidents.state",
        "i-fire",
        incident("i-fire", 1, "suspected", changed_ms=at_ms, severity="critical", type="X2104"),
    )
    say("incidents.state", "i-ended", incident("i-ended", 7, "closed", changed_ms=at_ms))
    say("incidents.state", "i-long-ago", incident("i-long-ago", 7, "closed", changed_ms=at_ms - 3_600_000))
    say("vehicle.positions", "pinghu", {"vehicle_id": "jj-01", "time": at_ms, "lon": 121.02, "lat": 30.69})


def check(board: Board, server: RedisServer, client: Any) -> None:
    say_a_city(board)
    built = board.shown()
    assert [(one["incident_id"], one["revision"]) for one in built["incidents"]] == [
        ("i-fire", 1), ("i-ended", 7), ("i-parked", 2),
    ]  # fmt: skip
    assert built["assigned"] == {"o-1": "u-jj-01"}
    assert built["counts"]["state"] == {"closed": 1, "dispatched": 1, "suspected": 1}
    assert [unit["vehicle_id"] for unit in built["units"]] == ["jj-01"]

    redis_url = {"REDIS_URL": server.url}
    hash_name = f"{{{board.prefix}:board}}:incidents"

    def revision_of(identity: str) -> int:
        try:
            body = client.hget(hash_name, identity)
        except redis.RedisError:
            return 0
        return int(json.loads(body)["revision"]) if body else 0

    with board.served(**redis_url) as serving:
        kept = board.shown(**redis_url)
        same = ("incidents", "assigned", "units", "counts")
        assert [kept[name] for name in same] == [built[name] for name in same]
        board.say("incidents.state", "i-fire", incident("i-fire", 2, "confirmed", changed_ms=now_ms()))
        wait_for(lambda: revision_of("i-fire") == 2)
        server.kill()
        board.say("incidents.state", "i-fire", incident("i-fire", 3, "dispatched", changed_ms=now_ms()))
        wait_for(lambda: "does not take the board" in board.log.read_text())
        assert board.run("--once", **redis_url).returncode == 2
        server.start()
        wait_for(lambda: revision_of("i-fire") == 3)
        wait_for(lambda: "takes the board again" in board.log.read_text())
        client.flushall()
        wait_for(lambda: revision_of("i-parked") == 2)
        assert serving.poll() is None
        after, anew = board.shown(**redis_url), board.shown()
        for name in ("assigned", "counts"):
            assert after["incidents"] == anew["incidents"]
            assert after[name] == anew[name]
    text = board.run("--once", "--lang", "en", **redis_url)
    assert text.returncode == 0, text.stderr
    lines = [line for line in text.stdout.splitlines() if line.startswith("i-")]
    assert [line.split()[0] for line in lines] == ["i-ended", "i-fire", "i-parked"]
    assert "Xinhua Road [N]" in lines[2]
    assert "u-jj-01" in lines[2]


@pytest.fixture
def server(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to stop."""
    with RedisServer(tmp_path) as own:
        yield own


def test_the_board_on_a_real_kafka(kafka: KafkaBroker, unique_prefix: str, server: RedisServer, tmp_path: Path) -> None:
    for name in READS:
        kafka.create_topics(
            full_name(name, unique_prefix), config={"cleanup.policy": "compact"} if TOPICS[name].compacted else None
        )
    environment = {"KAFKA_URL": f"kafka://{kafka.bootstrap}", "ZHINAO_TOPIC_PREFIX": unique_prefix}
    board = Board(environment, kafka.bootstrap, unique_prefix, tmp_path)
    with redis.Redis.from_url(server.url) as client:
        check(board, server, client)
    board.producer.close(timeout=5)


def test_a_board_whose_broker_has_gone_stands_still_and_says_so(server: RedisServer, tmp_path: Path) -> None:
    with EmbeddedBroker(all_full_names("zhinao")) as broker:
        board = Board({"ZHINAO_EMBEDDED_BROKER": broker.address}, broker.address, "zhinao", tmp_path)
        board.say("incidents.state", "i-1", incident("i-1", changed_ms=MARCH_MS))
        board.say("incidents.state", "i-2", incident("i-2", 5, "closed", changed_ms=MARCH_MS))
        with board.served(REDIS_URL=server.url):
            # The embedded broker carries recordings: their own clock decides what ended long ago.
            assert {one["incident_id"] for one in board.shown(REDIS_URL=server.url)["incidents"]} == {"i-1", "i-2"}
            board.producer.close(timeout=5)
            broker.stop()
            wait_for(lambda: "the broker does not answer" in board.log.read_text())
            first, second = (board.shown(REDIS_URL=server.url) for _ in range(2))
            assert first == second
            assert len(first["incidents"]) == 2


def test_without_redis_there_is_nothing_to_keep_it_in(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "REDIS_URL"}
    ended = subprocess.run(
        [sys.executable, "-m", "app", "board", "--serve"],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "zhinao: --serve keeps the board in Redis: set REDIS_URL=redis://host:port/0\n"


def test_a_redis_without_a_board_says_how_to_keep_one(redis_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app", "board"],
        env=os.environ | {"REDIS_URL": redis_url},
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "zhinao: no board 'zhinao' in Redis; to keep one: zhinao board --serve\n"
