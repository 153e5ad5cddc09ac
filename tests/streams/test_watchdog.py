"""A worker that has stopped working is ended with its cause; one that only waits, or was stopped, is not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from streams.broker import EmbeddedBroker, warm_up
from streams.producer import Outgoing, Producer
from streams.standby import _given, others_hold_all
from streams.topics import all_full_names
from streams.transport import TP, Sight
from streams.watchdog import Elapsed, LoopWatch, Membership, Progress, WallWatch
from tests.conftest import REPOSITORY
from tests.kafka.broker import KafkaBroker

A, B = TP("a", 0), TP("b", 0)
LIMIT_S = 60.0

# ---------------------------------------------------------------------------------------------------------- the judges


def test_time_that_was_not_seen_to_pass_counts_as_one_look() -> None:
    elapsed = Elapsed(0.0, 2.0)
    assert [elapsed.since_last(at) for at in (1.0, 2.5, 90.0, 91.0)] == [1.0, 1.5, 2.0, 1.0]
    assert elapsed.since_last(50.0) == 0.0


def looks(watch: LoopWatch, start: float, seconds: float, *, beats: bool = False) -> float:
    """Look twice a second."""
    silent = 0.0
    for n in range(1, int(2 * seconds) + 1):
        watch.beats += beats
        silent = watch.look(start + n / 2)
    return silent


def test_a_loop_that_does_not_beat_is_silent_for_as_long_as_that() -> None:
    watch = LoopWatch(0.0, 0.5)
    assert looks(watch, 0, 10, beats=True) == 0.0
    assert looks(watch, 10, 4.5) == 4.5
    assert looks(watch, 14.5, 1.0) == 5.5
    assert looks(watch, 15.5, 0.5, beats=True) == 0.0


def test_a_stopped_process_was_not_stuck() -> None:
    watch = LoopWatch(0.0, 0.5)
    looks(watch, 0, 5, beats=True)
    assert watch.look(65.0) == 1.0
    assert looks(watch, 65, 0.5, beats=True) == 0.0


def watch_progress(progress: Progress, start: int, seconds: int, **options: Any) -> float:
    """Look once a second; `a` and `b` are sights, or functions from the second to one."""
    counting, longest = options.pop("counting", True), 0.0
    for n in range(1, seconds + 1):
        sights = {tp: options[tp.topic] for tp in (A, B) if tp.topic in options}
        now = {tp: sight(n) if callable(sight) else sight for tp, sight in sights.items()}
        longest = progress.look(start + n, now, counting=counting)
    return longest


def test_a_partition_with_lag_that_finishes_nothing_stands_still() -> None:
    progress = Progress(0.0)
    assert watch_progress(progress, 0, 31, a=Sight(done=5, lag=9)) == 30.0
    assert watch_progress(progress, 31, 1, a=Sight(done=6, lag=8)) == 0.0


def test_another_partitions_progress_excuses_none() -> None:
    progress = Progress(0.0)
    assert watch_progress(progress, 0, 31, a=Sight(5, 9), b=lambda n: Sight(n, 9)) == 30.0
    assert progress.idle_s == {A: 30.0, B: 0.0}


@pytest.mark.parametrize(
    "sight",
    [Sight(5, 0), Sight(5, None), Sight(5, 9, paused=True), lambda n: Sight(n, 1_000_000)],
    ids=["nothing to read", "not fetched yet", "on hold", "far behind and moving"],
)
def test_who_has_nothing_to_do_or_moves_does_not_stand_still(sight: Any) -> None:
    assert watch_progress(Progress(0.0), 0, 300, a=sight) == 0.0


def test_while_the_broker_is_away_time_stands_still() -> None:
    progress = Progress(0.0)
    watch_progress(progress, 0, 11, a=Sight(5, 9))
    assert watch_progress(progress, 11, 300, a=Sight(5, 9), counting=False) == 10.0
    assert watch_progress(progress, 311, 5, a=Sight(5, 9)) == 15.0


def test_a_partition_that_went_and_came_begins_anew() -> None:
    progress = Progress(0.0)
    watch_progress(progress, 0, 50, a=Sight(5, 9))
    watch_progress(progress, 50, 1)
    assert watch_progress(progress, 51, 3, a=Sight(5, 9)) == 2.0


def test_without_partitions_counts_until_records_flow_and_not_while_excused() -> None:
    membership = Membership(0.0)
    for at in range(1, 31):
        membership.look(at, flowing=False, excused=False)
    assert membership.without_s == 30.0
    for at in range(31, 91):
        membership.look(at, flowing=False, excused=True)
    assert membership.without_s == 30.0
    assert membership.look(91, flowing=True, excused=False) == 0.0


def test_a_wall_clock_that_is_set_is_told_and_one_that_drifts_or_sleeps_is_not() -> None:
    wall = WallWatch(0, 0.0)
    for s in range(1, 100):
        wall.look(s * 1_000_100, s)
    wall.look(1_000_000_000, 1000.0)  # stopped for fifteen minutes: both clocks went on
    assert wall.steps == 0
    wall.look(4_601_000_000, 1001.0)
    assert (wall.steps, round(wall.step_s), wall.at_s) == (1, 3600, 1001.0)
    wall.look(1_002_000_000, 1002.0)
    assert (wall.steps, round(wall.step_s)) == (2, -3600)


def test_standing_by_means_to_be_in_the_group_while_others_hold_everything() -> None:
    held = {"me": set[tuple[str, int]](), "x": {("a", 0), ("b", 0)}, "y": {("a", 1), ("b", 1)}}
    counts = {"a": 2, "b": 2}
    assert others_hold_all(held, "me", counts)
    assert not others_hold_all(held, "stranger", counts)
    assert not others_hold_all({**held, "y": {("a", 1)}}, "me", counts)
    assert not others_hold_all({"me": {("a", 0)}, "x": {("a", 1)}}, "me", {"a": 2})
    assert not others_hold_all({}, "me", counts)
    assert not others_hold_all({"me": set()}, "me", {})


def test_what_a_member_was_given_is_read_from_the_group() -> None:
    blob = ConsumerProtocolMemberAssignment(0, [("a", [0, 2]), ("b", [1])], b"faust's own").encode()
    assert _given(blob) == {("a", 0), ("a", 2), ("b", 1)}
    assert _given(b"") == set()


# ------------------------------------------------------------------------------------------------------- real processes


class Worker:
    """One process of tests/streams/watched_app.py."""

    def __init__(self, servers: str, topics: list[str], group: str, **options: Any) -> None:
        given = json.dumps({"servers": servers, "topics": topics, "group": group, **options})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.watched_app", given],
            cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said, self._errors = list[str](), list[str]()
        self._readers = [
            threading.Thread(target=lambda: self.said.extend(self.process.stdout or ()), daemon=True),
            threading.Thread(target=lambda: self._errors.extend(self.process.stderr or ()), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader, pipe in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join()
            assert pipe is not None
            pipe.close()

    def says(self, word: str, limit_s: float = LIMIT_S) -> str:
        def found() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.errors()}")
            return next((line for line in self.said if line.startswith(word)), None)

        return until(word, found, limit_s)

    def ends(self, limit_s: float = LIMIT_S) -> tuple[int, str]:
        code = self.process.wait(limit_s)
        return code, self.errors()

    def errors(self) -> str:
        self._readers[1].join(5)
        return "".join(self._errors)

    def runs_for(self, seconds: float) -> None:
        """It does not end on its own within this time."""
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(seconds)


def until(what: str, condition: Callable[[], Any], limit_s: float) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def topics(embedded: EmbeddedBroker, unique_prefix: str) -> list[str]:
    names = [f"{unique_prefix}a.v1", f"{unique_prefix}b.v1"]
    warm_up(embedded.address, names)
    return names


def sends(servers: str, topic: str, number: int = 1) -> None:
    async def send() -> None:
        async with Producer(servers) as producer:
            await producer.send_batch([Outgoing(topic, b"%d" % n, None, (), 0) for n in range(number)])

    asyncio.run(send())


@pytest.mark.alone
def test_a_stuck_loop_is_ended_with_the_stack_of_where_it_stood(
    embedded: EmbeddedBroker, topics: list[str], unique_prefix: str
) -> None:
    with Worker(embedded.address, topics, unique_prefix, fault="freeze", seconds=20) as worker:
        worker.says("ready")
        began_s = time.monotonic()
        code, errors = worker.ends()
        assert 5.0 < time.monotonic() - began_s < 15.0
    assert code == 1
    assert "the worker stops: its loop has been stuck for" in errors.splitlines()[-1]
    assert "watched_app.py" in errors
    assert "run_worker" in errors


@pytest.mark.alone
def test_a_loop_that_stalls_for_less_goes_on(embedded: EmbeddedBroker, topics: list[str], unique_prefix: str) -> None:
    with Worker(embedded.address, topics, unique_prefix, fault="freeze", seconds=3) as worker:
        worker.says("ready")
        worker.runs_for(5.0)
        sends(embedded.address, topics[0])
        worker.says("done 1")


@pytest.mark.slow
def test_lag_without_progress_ends_a_worker_and_lag_on_hold_does_not(
    embedded: EmbeddedBroker, topics: list[str], unique_prefix: str
) -> None:
    sends(embedded.address, topics[0], 3)
    with (
        Worker(embedded.address, topics, f"{unique_prefix}1", fault="never_finish") as stuck,
        Worker(embedded.address, topics, f"{unique_prefix}2", fault="hold", seconds=15) as on_hold,
    ):
        stuck.says("ready")
        on_hold.says("ready")
        code, errors = stuck.ends()
        assert code == 1
        cause = f"nothing was finished for 5 s although there are records on {topics[0]}[0]"
        assert errors.endswith(f"the worker stops: {cause}\n")
        assert on_hold.says("held") == "held 8\n"


@pytest.mark.slow
def test_a_client_thread_that_is_stuck_ends_the_worker(
    embedded: EmbeddedBroker, topics: list[str], unique_prefix: str
) -> None:
    with Worker(embedded.address, topics, unique_prefix, fault="block_client", seconds=60) as worker:
        worker.says("ready")
        code, errors = worker.ends()
    assert code == 1
    assert "the thread of its Kafka client is stuck" in errors


def test_an_assignment_that_never_comes_about_ends_the_worker(
    embedded: EmbeddedBroker, topics: list[str], unique_prefix: str
) -> None:
    with Worker(embedded.address, topics, unique_prefix, fault="never_assigned") as worker:
        code, errors = worker.ends()
    assert code == 1
    assert "no records could flow for 5 s: the group gives it none" in errors


REAL = {"broker_session_timeout": 6.0, "broker_heartbeat_interval": 1.0}


@pytest.mark.slow
def test_a_worker_that_the_group_has_nothing_left_for_stands_by_and_takes_over(
    kafka: KafkaBroker, unique_prefix: str
) -> None:
    topics = [f"{unique_prefix}a", f"{unique_prefix}b"]
    kafka.create_topics(*topics, partitions=1)
    with Worker(kafka.bootstrap, topics, unique_prefix, app=REAL) as first:
        first.says("ready 2")
        with Worker(kafka.bootstrap, topics, unique_prefix, app=REAL) as second:
            assert second.says("ready") == "ready 0\n"
            second.runs_for(20.0)  # four times the limit
            sends(kafka.bootstrap, topics[0])
            first.says("done 1")
            first.process.kill()
            sends(kafka.bootstrap, topics[0])
            second.says("done 2")


@pytest.mark.slow
def test_on_a_real_group_too_an_assignment_that_never_comes_about_ends_the_worker(
    kafka: KafkaBroker, unique_prefix: str
) -> None:
    topics = [f"{unique_prefix}a"]
    kafka.create_topics(*topics, partitions=1)
    with Worker(kafka.bootstrap, topics, unique_prefix, app=REAL, fault="never_assigned") as worker:
        code, errors = worker.ends()
    assert code == 1
    assert "the group gives it none" in errors


@pytest.mark.slow
def test_a_process_stopped_for_a_while_goes_on_where_it_was(kafka: KafkaBroker, unique_prefix: str) -> None:
    topics = [f"{unique_prefix}a"]
    kafka.create_topics(*topics, partitions=1)
    with Worker(kafka.bootstrap, topics, unique_prefix, app=REAL) as worker:
        worker.says("ready")
        worker.process.send_signal(signal.SIGSTOP)
        sends(kafka.bootstrap, topics[0])
        time.sleep(12.0)  # longer than the session, the loop's limit and the stall's
        worker.process.send_signal(signal.SIGCONT)
        worker.says("done 1")
        worker.runs_for(7.0)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(LIMIT_S) == 0


FROZEN = """
import asyncio, sys, time
from streams import logs
from streams.commands.worker import build_worker
from streams.settings import Settings
from streams.worker import run_worker

settings = Settings.read()
logs.install("text", settings.timezone)
app, heart = build_worker(settings)
heart.watched.serve(settings)
ready = lambda tps: (print("ready", flush=True), asyncio.get_running_loop().call_later(1.0, time.sleep, 20))
run_worker(app, on_ready=ready, services=(heart,), watchdog=heart.watched.watchdog)
"""


@pytest.mark.slow
def test_a_frozen_worker_of_the_city_is_told_over_http_before_it_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with EmbeddedBroker(all_full_names("zhinao")) as broker, log.open("w") as errors:
        environment = {
            "ZHINAO_EMBEDDED_BROKER": broker.address,
            "ZHINAO_STATE_DIR": str(tmp_path / "state"),
            "ZHINAO_HTTP": "127.0.0.1:0",
        }
        with subprocess.Popen(
            [sys.executable, "-c", FROZEN],
            cwd=REPOSITORY, env=os.environ | environment, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as worker:  # fmt: skip
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n", log.read_text()
                (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text())
                assert until("healthy", lambda: causes(port) == [], 10) is True
                assert until("stuck", lambda: causes(port) == ["loop_stuck"], 10) is True
                assert worker.wait(LIMIT_S) == 1
            finally:
                worker.kill()
    assert "its loop has been stuck for" in log.read_text().splitlines()[-1]


def causes(port: str) -> list[str]:
    """Asks a worker over HTTP what is wrong; within a second, stuck or not."""
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        found = [finding["cause"] for finding in json.load(answer)["causes"]]
        assert answer.status == (503 if found else 200)
        return found
