"""The batch transport in a real Faust worker process, against the embedded broker and against a real Kafka."""

import asyncio
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.broker import EmbeddedBroker, warm_up
from streams.transport import TP, AssignmentError, Chunk, Flow, Record, check_assignment

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0  # of anything awaited; a loaded machine joins a group in some 10 s


def until(what: str, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition, which says what it found."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit_s} s")
        time.sleep(0.01)
    return found


@dataclass
class Cluster:
    servers: str
    embedded: bool
    make: Callable[..., None]

    def app_options(self) -> dict[str, Any]:
        # A real broker takes no session below 6 s.
        return (
            {"embedded": True} if self.embedded else {"broker_session_timeout": 6.0, "broker_heartbeat_interval": 1.0}
        )


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    if request.param == "kafka":
        kafka = request.getfixturevalue("kafka")
        return Cluster(kafka.bootstrap, False, kafka.create_topics)
    broker = request.getfixturevalue("embedded")
    return Cluster(broker.address, True, lambda *names: warm_up(broker.address, names))


@pytest.fixture
def topics(cluster: Cluster, unique_prefix: str) -> list[str]:
    names = [f"{unique_prefix}a.v1", f"{unique_prefix}b.v1"]
    cluster.make(*names)
    return names


class Worker:
    """One worker process of the test's."""

    def __init__(self, folder: Path, servers: str, topics: list[str], group: str, **options: Any) -> None:
        self.journal, self.state = folder / "journal.jsonl", folder / "state"
        self._said: list[str] = []
        self._stderr: list[str] = []
        given = {
            "group": group, "servers": servers, "topics": topics,
            "journal": str(self.journal), "state": str(self.state), **options,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.worker_app", json.dumps(given)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=lambda: self._said.extend(self.process.stdout or ()), daemon=True),
            threading.Thread(target=lambda: self._stderr.extend(self.process.stderr or ()), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def ready(self) -> str:
        return until("ready", lambda: self._said or self.ended())[0]

    def ended(self) -> Any:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}: {self.stderr()}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def exit_code(self) -> int:
        return self.process.wait(LIMIT_S)

    def stderr(self) -> str:
        self._readers[1].join(5)
        return "".join(self._stderr)

    def events(self) -> list[dict[str, Any]]:
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def offsets(self) -> dict[str, list[int]]:
        seen: dict[str, list[int]] = defaultdict(list)
        for event in self.events():
            if event["what"] == "chunk":
                seen[event["tp"]] += event["offsets"]
        return seen

    def holds(self) -> list[str]:
        """The partitions of its last assignment; none after they were revoked."""
        changes = [event for event in self.events() if event["what"] in ("assigned", "revoked")]
        return list(changes[-1]["tps"]) if changes and changes[-1]["what"] == "assigned" else []

    def has(self, number: int) -> bool:
        return self.count() == number or self.ended()

    def count(self) -> int:
        return sum(len(set(offsets)) for offsets in self.offsets().values())


def send(servers: str, topics: list[str], number: int, start: int = 0) -> dict[str, list[str]]:
    """`number` records to each topic, over 17 keys; gives the values by topic/partition, in order."""

    async def run() -> dict[str, list[str]]:
        async with AIOKafkaProducer(bootstrap_servers=servers, linger_ms=2) as producer:
            waiting = [
                (topic, str(n), await producer.send(topic, value=b"%d" % n, key=b"k%d" % (n % 17)))
                for n in range(start, start + number)
                for topic in topics
            ]
            placed = defaultdict(list)
            for topic, value, future in waiting:
                placed[f"{topic}/{(await future).partition}"].append(value)
            return placed

    return asyncio.run(run())


def stored(folder: Path) -> dict[str, int]:
    """What the worker's store holds, by topic/partition."""
    files = [file for file in folder.glob("*+*") if file.is_file()] if folder.exists() else []
    return {file.name.replace("+", "/"): int(file.read_text()) for file in files}


def store(folder: Path, offsets: dict[str, int]) -> None:
    folder.mkdir()
    for tp, offset in offsets.items():
        (folder / tp.replace("/", "+")).write_text(str(offset))


def committed(servers: str, group: str, topics: list[str]) -> dict[str, int]:
    async def run() -> dict[str, int]:
        async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=group) as consumer:
            tps = [TopicPartition(topic, partition) for topic in topics for partition in range(4)]
            found = [(tp, await consumer.committed(tp)) for tp in tps]
            return {f"{tp.topic}/{tp.partition}": offset for tp, offset in found if offset is not None}

    return asyncio.run(run())


def test_every_record_arrives_in_partition_order_and_a_clean_stop_commits_all(
    cluster: Cluster, topics: list[str], tmp_path: Path
) -> None:
    placed = send(cluster.servers, topics, 2000)
    group = topics[0]
    with Worker(tmp_path, cluster.servers, topics, group, app=cluster.app_options(), values=True) as worker:
        assert worker.ready() == "ready 8\n"
        until("all records", lambda: worker.count() == 4000 or worker.ended())
        more = send(cluster.servers, topics, 100, start=2000)
        until("the later ones", lambda: worker.count() == 4200 or worker.ended())
        assert worker.stop() == 0, worker.stderr()
        got: dict[str, list[str]] = defaultdict(list)
        for event in worker.events():
            if event["what"] == "chunk":
                got[event["tp"]] += event["values"]
        assert got == {tp: placed[tp] + more.get(tp, []) for tp in placed}
        assert worker.events()[-1]["what"] == "revoked"
        assert not [event for event in worker.events() if event["what"] == "lied"], "caught up, but not all was handled"
        ends = {tp: len(values) for tp, values in got.items()}
        assert {tp: offset for tp, offset in committed(cluster.servers, group, topics).items() if offset} == ends
        assert stored(worker.state) == ends


@pytest.mark.slow
def test_kill_at_any_point_and_nothing_is_skipped_and_nothing_committed_beyond_the_store(
    cluster: Cluster, topics: list[str], tmp_path: Path
) -> None:
    send(cluster.servers, topics, 1500)
    group = topics[0]
    # The store is behind what was processed when the kill comes: every third chunk is stored.
    for kill_after in (1, 4, 5):
        options = {"app": cluster.app_options(), "store_every": 3, "kill_after": kill_after}
        with Worker(tmp_path, cluster.servers, topics, group, **options) as worker:
            assert worker.exit_code() == -signal.SIGKILL
        kept = stored(worker.state)
        for tp, offset in committed(cluster.servers, group, topics).items():
            assert offset <= kept.get(tp, 0), f"{tp} was committed beyond the store"
        send(cluster.servers, topics, 200)
    with Worker(tmp_path, cluster.servers, topics, group, app=cluster.app_options()) as worker:
        total = 2 * (1500 + 3 * 200)
        until("all records", lambda: worker.count() == total or worker.ended())
        assert worker.stop() == 0
    expected: dict[str, int] = {}
    for event in worker.events():
        if event["what"] == "assigned":
            expected = {}
        elif event["what"] == "chunk":
            offsets = event["offsets"]
            assert offsets == list(range(offsets[0], offsets[-1] + 1))
            assert offsets[0] == expected.get(event["tp"], offsets[0]), "a gap or a repetition within one life"
            expected[event["tp"]] = offsets[-1] + 1
    for tp, offsets in worker.offsets().items():
        assert set(offsets) == set(range(max(offsets) + 1)), f"records of {tp} were skipped"


def test_the_stored_offset_is_where_it_starts_though_kafka_knows_none(
    cluster: Cluster, topics: list[str], tmp_path: Path
) -> None:
    placed = send(cluster.servers, topics, 400)
    kept = {tp: len(values) // 2 for tp, values in placed.items()}
    store(tmp_path / "state", kept)
    with Worker(tmp_path, cluster.servers, topics, topics[0], app=cluster.app_options()) as worker:
        left = sum(len(values) - kept[tp] for tp, values in placed.items())
        until("the rest", lambda: worker.count() == left or worker.ended())
        assert {tp: offsets[0] for tp, offsets in worker.offsets().items()} == kept
        assert worker.stop() == 0


def test_an_agent_that_raises_ends_the_process_and_commits_nothing(
    cluster: Cluster, topics: list[str], tmp_path: Path
) -> None:
    send(cluster.servers, topics[:1], 100)
    options = {"app": cluster.app_options(), "fail_on": "50"}
    with Worker(tmp_path, cluster.servers, topics, topics[0], **options) as worker:
        assert worker.exit_code() == 1
        assert "RuntimeError: the agent met the record it cannot stand" in worker.stderr()
        failed_at = {event["tp"] for event in worker.events() if event["what"] == "chunk"}
    found = committed(cluster.servers, topics[0], topics)
    kept = stored(worker.state)
    assert all(offset == 0 or (tp in failed_at and offset <= kept[tp]) for tp, offset in found.items())


@pytest.mark.slow
def test_a_stored_offset_beyond_the_end_is_refused_and_not_reset_in_silence(
    cluster: Cluster, topics: list[str], tmp_path: Path
) -> None:
    store(tmp_path / "state", {f"{topics[0]}/1": 77})
    with Worker(tmp_path, cluster.servers, topics, topics[0], app=cluster.app_options()) as worker:
        assert worker.exit_code() == 1
        assert "stored offset 77 is beyond its end 0" in worker.stderr()


@pytest.mark.slow
def test_a_paused_partition_waits_and_loses_nothing(cluster: Cluster, topics: list[str], tmp_path: Path) -> None:
    sign = tmp_path / "go on"
    held = f"{topics[0]}/0"
    options = {"app": cluster.app_options(), "pause_until": str(sign)}
    with Worker(tmp_path, cluster.servers, topics, topics[0], **options) as worker:
        worker.ready()
        placed = send(cluster.servers, topics, 500)
        assert placed[held]
        others = 1000 - len(placed[held])
        until("the other partitions", lambda: worker.count() >= others or worker.ended())
        assert held not in worker.offsets()
        sign.touch()
        until("the held one", lambda: worker.count() == 1000 or worker.ended())
        assert worker.offsets()[held] == list(range(len(placed[held])))
        assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.kafka
def test_missing_topics_and_unequal_counts_end_the_worker_with_the_cause(
    kafka: Any, unique_prefix: str, tmp_path: Path
) -> None:
    options = {"app": {"broker_session_timeout": 6.0, "broker_heartbeat_interval": 1.0}}
    names = [f"{unique_prefix}a.v1", f"{unique_prefix}b.v1"]
    kafka.create_topics(names[0])
    with Worker(tmp_path, kafka.bootstrap, names, names[0], **options) as worker:
        assert worker.exit_code() == 1
        assert f"missing topics: {names[1]}" in worker.stderr()
    kafka.create_topics(names[1], partitions=3)
    with Worker(tmp_path, kafka.bootstrap, names, names[0], **options) as worker:
        assert worker.exit_code() == 1
        assert "equal partition counts" in worker.stderr()


@pytest.mark.slow
@pytest.mark.kafka
def test_two_workers_share_partitions_as_wholes_and_hand_them_over(
    kafka: Any, unique_prefix: str, tmp_path: Path
) -> None:
    names = [f"{unique_prefix}a.v1", f"{unique_prefix}b.v1"]
    kafka.create_topics(*names)
    shared, other = tmp_path / "state", tmp_path / "two"
    other.mkdir()
    # One state for both, as a compacted topic is. The journals are their own.
    options = {"app": {"broker_session_timeout": 6.0, "broker_heartbeat_interval": 1.0}}
    with Worker(tmp_path, kafka.bootstrap, names, names[0], **options) as first:
        assert first.ready() == "ready 8\n"
        send(kafka.bootstrap, names, 300)
        until("the first batch", lambda: first.count() == 600 or first.ended())
        with Worker(other, kafka.bootstrap, names, names[0], **options | {"state": str(shared)}) as second:
            assert second.ready() == "ready 4\n"
            kept = until("the first has four", lambda: first.ended() or (len(first.holds()) == 4 and first.holds()))
            by_topic = [{tp.rpartition("/")[2] for tp in kept if tp.startswith(name)} for name in names]
            assert by_topic[0] == by_topic[1]
            assert not set(kept) & set(second.holds())
            send(kafka.bootstrap, names, 300, start=300)
            until("both", lambda: first.count() + second.count() >= 1200 or first.ended() or second.ended())
            assert second.stop() == 0
        until("all are the first's again", lambda: len(first.holds()) == 8 or first.ended())
        send(kafka.bootstrap, names, 300, start=600)
        until("the last batch", lambda: sum(map(len, merged(first, second).values())) == 1800 or first.ended())
        assert first.stop() == 0
    for tp, offsets in merged(first, second).items():
        assert offsets == set(range(len(offsets))), f"records of {tp} were skipped"


def merged(*workers: Worker) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for worker in workers:
        for tp, offsets in worker.offsets().items():
            found[tp] |= set(offsets)
    return found


@pytest.mark.slow
@pytest.mark.alone
def test_an_idle_partition_answers_within_the_fetch_wait(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    names = ["latency.a.v1", "latency.b.v1"]
    warm_up(embedded.address, names)

    async def trickle() -> None:
        async with AIOKafkaProducer(bootstrap_servers=embedded.address, linger_ms=0) as producer:
            for number in range(60):
                value = b"%.3f" % (time.time() * 1000)
                await producer.send_and_wait(names[number % 2], value=value, partition=number % 4)
                await asyncio.sleep(0.03)  # so that the partitions are idle again

    with Worker(tmp_path, embedded.address, names, "latency", latency=True) as worker:
        worker.ready()
        asyncio.run(trickle())
        until("all of them", lambda: worker.count() == 60 or worker.ended())
        waits = sorted(ms for event in worker.events() if event["what"] == "chunk" for ms in event["late_ms"])
        assert worker.stop() == 0
    print(f"hop on the embedded broker, idle: p50 {statistics.median(waits):.1f} ms, p99 {waits[-1]:.1f} ms")
    assert statistics.median(waits) < 60  # with Faust's own wait it would be 786


@pytest.mark.slow
@pytest.mark.parametrize("when_s", [0.6, 1.2, 1.8, 2.4])
def test_a_stop_in_the_middle_of_the_start_is_quick_and_clean(
    embedded: EmbeddedBroker, tmp_path: Path, unique_prefix: str, when_s: float
) -> None:
    names = [f"{unique_prefix}a.v1"]
    warm_up(embedded.address, names)
    with Worker(tmp_path, embedded.address, names, names[0]) as worker:
        with pytest.raises(subprocess.TimeoutExpired):
            worker.process.wait(when_s)
        worker.process.send_signal(signal.SIGTERM if when_s < 2 else signal.SIGINT)
        # Before Python has installed the handler the signal itself is the end.
        assert worker.process.wait(15) in (0, -signal.SIGTERM), worker.stderr()


@pytest.mark.slow
@pytest.mark.kafka
def test_a_broker_that_dies_and_comes_back_costs_nothing(start_kafka: Any, tmp_path: Path) -> None:
    kafka = start_kafka()
    names = ["a.v1", "b.v1"]
    kafka.create_topics(*names)
    options = {"app": {"broker_session_timeout": 6.0, "broker_heartbeat_interval": 1.0}}
    with Worker(tmp_path, kafka.bootstrap, names, "group", **options) as worker:
        worker.ready()
        for round_ in range(2):
            send(kafka.bootstrap, names, 200, start=200 * round_)
            until("all so far", partial(worker.has, 400 * (round_ + 1)))
            kafka.restart(at_once=True)
        send(kafka.bootstrap, names, 200, start=400)
        until("the last ones", lambda: worker.count() == 1200 or worker.ended())
        assert worker.stop() == 0, worker.stderr()
    for tp, offsets in worker.offsets().items():
        assert set(offsets) == set(range(len(set(offsets)))), f"records of {tp} were skipped"


def test_groups_are_checked_as_wholes() -> None:
    both = {"a": 4, "b": 4, "alone": 1}
    group = [{"a", "b"}]
    check_assignment({TP("a", 0), TP("b", 0), TP("alone", 0)}, both, group)
    check_assignment(set(), both, group)
    with pytest.raises(AssignmentError, match="partition 1 of other topics of its group but not of b"):
        check_assignment({TP("a", 0), TP("b", 0), TP("a", 1)}, both, group)
    with pytest.raises(AssignmentError, match="a has 4, b has 3"):
        check_assignment(set(), {"a": 4, "b": 3}, group)
    with pytest.raises(AssignmentError, match="missing topics: b"):
        check_assignment(set(), {"a": 4, "b": None}, group)


def test_the_ceiling_never_goes_back_and_never_ahead_of_delivery() -> None:
    flow, tp = Flow(), TP("a", 0)
    with pytest.raises(ValueError, match="not ours"):
        flow.stored(tp, 1)
    flow._begin(tp, 10, None)
    flow._delivered[tp] = 20
    flow.stored(tp, 15)
    flow.stored(tp, 12)
    assert flow.ceiling(tp) == 15
    with pytest.raises(ValueError, match="21 declared stored, but only 20 was delivered"):
        flow.stored(tp, 21)


def test_a_chunk_knows_its_offsets() -> None:
    records = [Record(5, 1, None, b"x", ()), Record(9, 2, None, b"y", ())]  # compacted in between
    chunk = Chunk(TP("a", 3), records)
    assert (chunk.topic, chunk.partition, chunk.first_offset, chunk.next_offset, len(chunk)) == ("a", 3, 5, 10, 2)
