"""The shipped city through real processes, and what a replay says must come of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from kafka import KafkaConsumer

from rules.crews import Crews
from streams.city import build_city
from streams.recording import read_recording
from streams.replay import Replay
from streams.settings import ROOT, Settings
from streams.topics import full_name

RECORDING = ROOT / "streams" / "recordings" / "pinghu.jsonl.gz"
READY_WITHIN_S = 60.0
ENDED = {"closed", "withdrawn", "false_alarm", "merged"}
Identity = tuple[str, str | None, str | None, str, str]
"""An incident as both sides must see it: id, rule, zone, opened_at, final state."""


def replayed() -> set[Identity]:
    """What the whole core makes of the recording, without a broker."""
    city = build_city(Settings.read())
    assert city.atlas.registry is not None
    crews = Crews(units=tuple(city.atlas.registry.units.values()), centre=city.centre)
    run = Replay(city, partitions=4, crews=crews)
    for _ in run.run(read_recording(RECORDING), drain_ms=3_600_000):
        pass
    return {(i.incident_id, i.rule, i.zone, i.opened_at, str(i.state)) for i in run.summary.newest.values()}


@dataclass(slots=True)
class Seen:
    """What a consumer that follows the rule of the contract sees: each (incident, revision) once."""

    revisions: dict[tuple[str, int], dict[str, object]] = field(default_factory=dict)
    epochs: set[int] = field(default_factory=set)
    differing: list[tuple[str, int]] = field(default_factory=list)

    def take(self, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        incident = orjson.loads(value)
        at = (incident["incident_id"], incident["revision"])
        self.epochs.add(int(dict(headers)["ce_epoch"]))
        if self.revisions.setdefault(at, incident) != incident:
            self.differing.append(at)

    def newest(self) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = {}
        for (identity, _), incident in sorted(self.revisions.items()):
            found[identity] = incident
        return found

    def identities(self) -> set[Identity]:
        return {
            (k, i["rule"], i["zone"], i["opened_at"], i["state"])  # type: ignore[misc]
            for k, i in self.newest().items()
        }

    def gaps(self) -> list[str]:
        """Incidents whose revisions are not 1, 2, 3, …"""
        by: dict[str, list[int]] = {}
        for identity, revision in sorted(self.revisions):
            by.setdefault(identity, []).append(revision)
        return [k for k, numbers in by.items() if numbers != list(range(1, len(numbers) + 1))]


class Running:
    """Worker, crews and feed as a user starts them, each its own process, all ended by pid."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.folder = folder
        self.children: list[subprocess.Popen[str]] = []
        self.worker: subprocess.Popen[str] | None = None

    def start(self, *command: str, name: str) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "app", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE if name == "worker" else log,
                stderr=log,
                text=True,
            )
        self.children.append(child)
        return child

    def start_worker(self) -> str:
        """Start the worker and wait until it says it is ready; its line."""
        self.worker = self.start("worker", name="worker")
        assert self.worker.stdout is not None
        line = self.worker.stdout.readline()
        assert line.startswith("ready"), f"the worker did not start:\n{self.log('worker')}"
        return line

    def kill_worker(self) -> None:
        """kill -9, as a crash would."""
        assert self.worker is not None
        assert self.worker.poll() is None, self.log("worker")
        self.worker.send_signal(signal.SIGKILL)
        self.worker.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def stop(self) -> list[int | None]:
        """SIGTERM to all that still run; their exit codes."""
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
        codes: list[int | None] = []
        for child in self.children:
            try:
                codes.append(child.wait(30))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                codes.append(None)
            if child.stdout is not None:
                child.stdout.close()
        return codes


@contextmanager
def running(environment: dict[str, str], folder: Path) -> Iterator[Running]:
    run = Running(environment, folder)
    try:
        yield run
    finally:
        run.stop()


def follow(bootstrap: str, prefix: str, until: set[str], within_s: float, options: dict[str, object]) -> Seen:
    """Read `incidents` from the start until all these incidents have ended, or time is up."""
    seen, deadline = Seen(), time.monotonic() + within_s
    consumer = KafkaConsumer(
        full_name("incidents", prefix), bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options
    )
    try:
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    seen.take(record.value, record.headers)
            newest = seen.newest()
            if until <= newest.keys() and all(newest[k]["state"] in ENDED for k in until):
                break
    finally:
        consumer.close()
    return seen
