"""The demo as a stranger runs it: one command, no Kafka, ends by itself with a summary. And a worker killed in it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.commands.demo import SHIPPED
from streams.recording import RecordingWriter, read_recording
from tests.conftest import REPOSITORY

# The machine may be busy with other things; a run that hangs is ended.
LIMIT_S = 240
FIRST_MINUTES = 9
INCIDENT = re.compile(r"^\d\d:\d\d:\d\d  i-[0-9a-f]{8}  ")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first minutes of the shipped city: illegal parking, ponding, tickets."""
    path = tmp_path_factory.mktemp("demo") / "short.jsonl.gz"
    with RecordingWriter(path) as writer:
        end_ms = None
        for line in read_recording(SHIPPED):
            end_ms = end_ms or line.timestamp_ms + FIRST_MINUTES * 60_000
            if line.timestamp_ms > end_ms:
                break
            writer.write(line)
    return path


@pytest.fixture(scope="module")
def replayed(short: Path) -> dict[str, Any]:
    """What the core makes of it without a broker."""
    command = [sys.executable, "-m", "app", "replay", str(short), "--crews", "--drain", "20m", "--out", os.devnull]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    summary: dict[str, Any] = json.loads(ended.stderr.splitlines()[-1])
    return summary


class Running:
    """`python -m app demo …`, its stdout read line by line."""

    def __init__(self, *arguments: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ZHINAO_") and k != "KAFKA_URL"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "demo", *arguments],
            cwd=REPOSITORY,
            env=environment | {"LANG": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.started_s = time.monotonic()

    def read(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            yield self.lines[-1]
            if time.monotonic() - self.started_s > LIMIT_S:
                self.process.terminate()

    def end(self) -> tuple[int, dict[str, Any]]:
        """Its exit code and its summary."""
        for _ in self.read():
            pass
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        code = self.process.wait(LIMIT_S)
        self.process.stdout.close()
        self.process.stderr.close()
        assert self.lines, said
        return code, json.loads(self.lines[-1])

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_the_demo_ends_by_itself_with_incidents_opened_handled_and_closed(
    short: Path, replayed: dict[str, Any]
) -> None:
    code, summary = Running("--recording", str(short), "--drain", "20m", "--speed", "40").end()
    assert (code, summary["exit_cause"], summary["restarts"]) == (0, "feed_done", 0), summary
    assert summary["incidents_by_state"]["closed"] >= 3
    for same in ("observations", "incidents", "incidents_by_state"):
        assert summary[same] == replayed[same], same
    assert summary["late"] == 0


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_comes_back_and_nothing_is_lost(short: Path, replayed: dict[str, Any]) -> None:
    demo = Running("--recording", str(short), "--drain", "20m", "--speed", "40")
    worker, changes = 0, 0
    for line in demo.read():
        if found := re.search(r"worker (\d+) ready", line):
            worker = worker or int(found[1])
        changes += INCIDENT.match(line) is not None
        if changes == 4:
            break
    os.kill(worker, signal.SIGKILL)
    code, summary = demo.end()
    assert (code, summary["exit_cause"], summary["restarts"]) == (0, "feed_done", 1), summary
    assert summary["incidents_by_state"] == replayed["incidents_by_state"]
    assert (summary["dead_letters"], summary["late"]) == (replayed["published"].get("dead-letters", 0), 0)
    assert any("killed by SIGKILL; started again" in line for line in demo.lines)


@pytest.mark.slow
def test_sigterm_ends_every_child(short: Path) -> None:
    demo = Running("--recording", str(short), "--speed", "1")
    for line in demo.read():
        if "rules check" in line:  # the last of what it says when all is up
            break
    children = demo.children()
    assert len(children) == 4  # broker, worker, crews, feed
    demo.process.send_signal(signal.SIGTERM)
    code, summary = demo.end()
    assert (code, summary["exit_cause"]) == (0, "interrupted")
    assert [pid for pid in children if alive(pid)] == []


@pytest.mark.slow
def test_json_only_prints_one_line(short: Path) -> None:
    demo = Running("--recording", str(short), "--json-only", "--for", "5s")
    code, summary = demo.end()
    assert (code, summary["exit_cause"]) == (0, "time_up")
    assert len(demo.lines) == 1


@pytest.mark.slow
def test_a_worker_that_cannot_start_ends_the_demo_with_its_cause(short: Path, tmp_path: Path) -> None:
    rules = tmp_path / "bad.yaml"
    rules.write_text("rules: 3\n")
    environment = os.environ | {"ZHINAO_RULES": str(rules)}
    command = [sys.executable, "-m", "app", "demo", "--recording", str(short), "--json-only"]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    summary = json.loads(ended.stdout)
    assert summary["exit_cause"] == "worker_failed"
    assert f"zhinao: {rules}:1:" in ended.stderr
    assert "Traceback" not in ended.stderr
