"""A test bed: workers as processes of their own on a real Kafka, a load fed to them, and all that they leave behind.

    with Bed(kafka.bootstrap, prefix, folder) as bed:
        bed.start_worker("one")
        with bed.feeding(load, speed=10):
            bed.workers["one"].kill()
            bed.start_worker("two")
        run = bed.finish()

Every process is ended by its pid when the block ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka.admin import KafkaAdminClient, MemberToRemove

from models.streams import URGENT_DETECTIONS
from streams.agents.detectors import AT, Where
from streams.failpoints import VARIABLE
from streams.feeding import TICKED_TOPICS
from streams.publishing import CENTRE_PARTITION
from streams.recording import RecordingWriter
from streams.settings import ROOT
from streams.topic_store import TopicStore
from streams.topics import create, full_name
from tests.processes import tail
from tests.reliability.equations import ONCE
from tests.reliability.feed import BEGUN
from tests.reliability.load import DRAIN_S, Load
from tests.reliability.outputs import TP, Kept, Run
from tests.reliability.replaying import PARTITIONS, RULES

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
SETTLE_WITHIN_S = 90.0
READ_WITHIN_S = 60.0
DETECTIONS = ("detections", URGENT_DETECTIONS)
READ_TOPICS = (*ONCE, *TICKED_TOPICS, *DETECTIONS)
"""What a run is judged by."""


class Worker:
    """One `zhinao worker`, its words in a log."""

    def __init__(
        self, name: str, log: Path, environment: Mapping[str, str], guard: tuple[str, ...] = (), root: Path = ROOT
    ) -> None:
        self.name, self.log, self.started_s = name, log, time.monotonic()
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            command = [*guard, sys.executable, "-m", "app", "worker"]
            self.process = subprocess.Popen(command, cwd=root, env=dict(environment), stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def words(self) -> str:
        """What this process wrote."""
        return self.log.read_bytes()[self._from :].decode(errors="replace")

    def is_ready(self) -> bool:
        return re.search(r"^ready ", self.words(), re.MULTILINE) is not None

    def wait_ready(self) -> float:
        """Return when it has its partitions; seconds since its start."""
        while not self.is_ready():
            assert self.alive(), f"{self.name} ended with {self.process.returncode}:\n{tail(self.log, 30)}"
            assert time.monotonic() - self.started_s < READY_WITHIN_S, (
                f"{self.name} is not ready:\n{tail(self.log, 30)}"
            )
            time.sleep(0.02)
        return time.monotonic() - self.started_s

    def wait_death(self, within_s: float) -> int:
        """Its exit code; `subprocess.TimeoutExpired` if it lives on."""
        return self.process.wait(within_s)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; its exit code. One that does not end is killed: -9."""
        if self.alive():
            self.resume()
            self.process.terminate()
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def rss_mb(self) -> float:
        """Resident memory."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Bed:
    """One city on a broker: topics of one prefix, one group, workers by name."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, **environment: str) -> None:
        self.bootstrap, self.prefix, self.folder = bootstrap, prefix, folder
        self.workers: dict[str, Worker] = {}
        self.supervised: set[str] = set()
        self.restarts = 0
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "KAFKA_URL": f"kafka://{bootstrap}",
            "ZHINAO_TOPIC_PREFIX": prefix,
            "ZHINAO_GROUP": prefix,
            "ZHINAO_CLOCK": "stream",
            "ZHINAO_RULES": str(RULES),
            "ZHINAO_STORE_EVERY_S": "0.5",
            **environment,
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        create(self.bootstrap, self.prefix, PARTITIONS, embedded=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for worker in self.workers.values():
            if worker.alive():
                worker.kill()

    # workers

    def start_worker(
        self,
        name: str,
        *,
        fail_at: str = "",
        wait: bool = True,
        guard: tuple[str, ...] = (),
        root: Path = ROOT,
        **environment: str,
    ) -> Worker:
        """Start one and wait until it is ready; `fail_at` as ZHINAO_FAIL_AT, `guard` a command to run it under, `root`
        the program's folder."""
        extra = {"PYTHONPATH": str(root)} | ({VARIABLE: fail_at} if fail_at else {})
        log = self.folder / f"{name}.log"
        self.workers[name] = worker = Worker(name, log, {**self.environment, **extra, **environment}, guard, root)
        if wait:
            worker.wait_ready()
        return worker

    def forget_dead(self) -> None:
        """Have the group's dead members leave at once, as their session's end would make them: to spare the wait where
        it is not the wait that is tested. Live members that were thrown out too come back by themselves."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            members = admin.describe_groups([self.prefix])[self.prefix]["members"]
            if members:
                admin.remove_group_members(self.prefix, [MemberToRemove(member_id=m["member_id"]) for m in members])
        finally:
            admin.close()

    def mend(self) -> None:
        """What a supervisor does: start again what ended by itself. Counted in `restarts`."""
        for name, worker in list(self.workers.items()):
            if name in self.supervised and not worker.alive():
                self.restarts += 1
                self.start_worker(name, wait=False)

    def wait(self, seconds: float) -> None:
        """Let so much time pass under supervision."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.mend()
            time.sleep(0.1)

    def stop(self) -> dict[str, int]:
        """SIGTERM to all that live; exit codes by name."""
        self.supervised.clear()
        return {name: worker.stop() for name, worker in self.workers.items() if worker.alive()}

    # the load

    @contextmanager
    def feeding(self, load: Load, speed: float, drain_s: float = DRAIN_S) -> Iterator[Feeding]:
        """Feed it beside the block; when the block ends all of it is on the topics."""
        feeding = Feeding(self, load, speed, drain_s)
        try:
            while not (feeding.begun() or feeding.ended()):
                self.wait(0.1)
            yield feeding
            while not feeding.ended():
                self.wait(0.1)
        finally:
            feeding.process.kill()
            feeding.process.wait()
        assert feeding.code == 0, tail(feeding.log, 30)

    # what is left

    def settle(self, within_s: float = SETTLE_WITHIN_S) -> float:
        """Wait until the group has committed the end of every input; seconds that took."""
        began = time.monotonic()
        with self._reader() as reader:
            while True:
                self.mend()
                behind = self._behind(reader)
                if not behind:
                    return time.monotonic() - began
                if time.monotonic() - began > within_s:
                    logs = "\n".join(tail(worker.log, 15) for worker in self.workers.values())
                    raise AssertionError(f"not done after {within_s:g} s: {behind}\n{logs}")
                time.sleep(0.1)

    def finish(self, within_s: float = SETTLE_WITHIN_S) -> Run:
        """Everything is done, and read."""
        self.settle(within_s)
        return self.read()

    def read(self) -> Run:
        """All records of the topics a run is judged by, and how far the group has come."""
        run = Run()
        names = {full_name(name, self.prefix): name for name in READ_TOPICS}
        with self._reader() as reader:
            every = [TopicPartition(full, partition) for full in names for partition in range(PARTITIONS)]
            for kept in _everything(reader, names, every):
                run.records[kept.topic].append(kept)
            run.ends, run.committed = self._ends(reader), self._committed(reader)
        for records in run.records.values():
            records.sort(key=lambda record: (record.partition, record.offset))
        return run

    def positions(self) -> tuple[dict[TP, int], dict[TP, int]]:
        """(committed, end) of every input as of now."""
        with self._reader() as reader:
            return self._committed(reader), self._ends(reader)

    def stored(self) -> dict[TP, int]:
        """How far the Detectors' state has come in the store; a save that is not complete counts for nothing."""
        store = TopicStore(self.bootstrap, full_name("state", self.prefix))
        found: dict[TP, int] = {}
        for partition in range(PARTITIONS):
            for key, entry in asyncio.run(store.read(f"detector/{partition}")).items():
                topic, _, name = key.partition("/")
                if name == AT:
                    found[topic, partition] = msgspec.json.decode(entry, type=Where).offset or 0
        return found

    def state_mb(self) -> float:
        """What the Detectors' tables hold."""
        store = TopicStore(self.bootstrap, full_name("state", self.prefix))
        tables = (asyncio.run(store.read(f"detector/{partition}")) for partition in range(PARTITIONS))
        return sum(len(entry) for table in tables for entry in table.values()) / 1e6

    def _behind(self, reader: Any) -> dict[TP, tuple[int, int]]:
        try:
            ends, committed = self._ends(reader), self._committed(reader)
        except KafkaException:
            return {("no broker", 0): (0, 0)}
        return {tp: (committed.get(tp, 0), end) for tp, end in ends.items() if committed.get(tp, 0) < end}

    def _tp(self, name: str, partition: int) -> TopicPartition:
        return TopicPartition(full_name(name, self.prefix), partition)

    def _inputs(self) -> list[TP]:
        inputs = [(name, partition) for name in TICKED_TOPICS for partition in range(PARTITIONS)]
        return [*inputs, *((name, CENTRE_PARTITION) for name in DETECTIONS)]

    def _ends(self, reader: Any) -> dict[TP, int]:
        return {tp: reader.get_watermark_offsets(self._tp(*tp), timeout=5, cached=False)[1] for tp in self._inputs()}

    def _committed(self, reader: Any) -> dict[TP, int]:
        found = reader.committed([self._tp(*tp) for tp in self._inputs()], timeout=5)
        return {tp: max(0, at.offset) for tp, at in zip(self._inputs(), found, strict=True)}

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        """A client that reads and asks, and never joins the group."""
        reader = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": self.prefix, "enable.auto.commit": False, "log_level": 0}
        )
        try:
            yield reader
        finally:
            reader.close()


class Feeding:
    """The load on its way, see feed.py."""

    def __init__(self, bed: Bed, load: Load, speed: float, drain_s: float) -> None:
        recording, self.log = bed.folder / f"{load.run}.jsonl", bed.folder / "feed.log"
        with RecordingWriter(recording) as writer:
            for line in load.lines():
                writer.write(line)
        told = [str(recording), bed.bootstrap, bed.prefix, str(speed), str(drain_s)]
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "tests.reliability.feed", *told]
            self.process = subprocess.Popen(command, cwd=ROOT, env=bed.environment, stdout=output, stderr=output)
        self.code: int | None = None

    def begun(self) -> bool:
        return BEGUN in self.log.read_text()

    def ended(self) -> bool:
        self.code = self.process.poll()
        return self.code is not None


def _everything(reader: Any, names: Mapping[str, str], tps: list[TopicPartition]) -> Iterator[Kept]:
    """All records of partitions, from their beginnings to their ends as of now."""
    bounds = {tp: reader.get_watermark_offsets(tp, timeout=10, cached=False) for tp in tps}
    left = {(tp.topic, tp.partition): high for tp, (low, high) in bounds.items() if low < high}
    reader.assign([TopicPartition(*at, bounds[TopicPartition(*at)][0]) for at in left])
    deadline = time.monotonic() + READ_WITHIN_S
    while left:
        assert time.monotonic() < deadline, f"could not be read to the end: {left}"
        for message in reader.consume(2000, timeout=0.1):
            assert message.error() is None, message.error()
            at = message.topic(), message.partition()
            if message.offset() < left.get(at, 0):
                headers, at_ms = tuple(message.headers() or ()), message.timestamp()[1]
                yield Kept(names[at[0]], at[1], message.offset(), at_ms, message.key(), message.value(), headers)
        for tp in reader.position([TopicPartition(*at) for at in left]):
            if tp.offset >= left[tp.topic, tp.partition]:
                del left[tp.topic, tp.partition]
    reader.unassign()
