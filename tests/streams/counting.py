"""Runs `counting_worker` and reads what it tells."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.settings import ROOT

LIMIT_S = 90.0
Said = dict[str, Any]


class Counting:
    """A worker of the test's own. `newest`: what it told last."""

    def __init__(self, environment: dict[str, str], folder: Path, options: dict[str, Any]) -> None:
        self.errors = folder / "worker.log"
        with self.errors.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.streams.counting_worker", json.dumps(options)],
                cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.newest: Said = {}
        self._told: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._told.put(line)

    def until(self, what: str, true: Callable[[Said], bool], limit_s: float = LIMIT_S) -> Said:
        """Wait for the worker to tell something of which this is true."""
        deadline = time.monotonic() + limit_s
        while not (self.newest and true(self.newest)):
            assert self.process.poll() is None, self.log()
            try:
                self.newest = json.loads(self._told.get(timeout=max(0.01, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{what}: not within {limit_s} s; {self.newest}\n{self.log()}") from None
        return self.newest

    def after(self, reports: int) -> Said:
        """What the worker tells after so many reports more, one a second."""
        for _ in range(reports):
            self.newest = {}
            self.until("the next report", lambda said: True)
        return self.newest

    def log(self) -> str:
        return self.errors.read_text()

    def stop(self) -> int | None:
        """Its exit code; None if it had to be killed."""
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def counting(environment: dict[str, str], folder: Path, **options: Any) -> Iterator[Counting]:
    """Ready, and heard of once, when it is given; ended when the block ends."""
    worker = Counting(environment, folder, options)
    try:
        worker.after(2)
        yield worker
    finally:
        worker.stop()
