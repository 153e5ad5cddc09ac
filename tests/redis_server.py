"""A real Redis for tests: Debian's redis-server on a free loopback port, with nothing kept on disk."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests import processes
from tests.ports import free_ports

_START_S = 20.0  # a Redis starts in some ten milliseconds; the rest is for a busy machine
_ATTEMPTS = 3  # another test run may take the port between choosing and binding it


class RedisUnavailable(Exception):
    """This machine has no redis-server."""


class RedisServer:
    """`with RedisServer(folder) as server:` then `server.url`. `kill()`, `stop()` and `start()` for fault tests."""

    log_name = "redis log"

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RedisUnavailable("redis-server missing")
        self._program = program
        self._folder = folder
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        for attempt in range(1, _ATTEMPTS + 1):
            (self.port,) = free_ports(1)
            try:
                self.start()
            except RuntimeError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start on the port chosen on entry and wait until it answers; empty, as nothing is kept."""
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no --dir {self._folder}".split()
        self._process = processes.start([self._program, *options, "--save", ""], log=self._log)
        deadline = time.monotonic() + _START_S
        with redis.Redis(port=self.port, socket_timeout=1.0) as client:
            while True:
                if self._process.poll() is not None:
                    raise RuntimeError(f"redis-server ended with {self._process.returncode}:\n{self.log_tail(20)}")
                try:
                    answered = client.info("server")["process_id"]
                except (redis.ConnectionError, redis.TimeoutError) as error:
                    if time.monotonic() > deadline:
                        self.kill()
                        raise RuntimeError(f"no answer within {_START_S:g} s:\n{self.log_tail(20)}") from error
                    time.sleep(0.02)
                    continue
                if answered != self._process.pid:
                    self.kill()
                    raise RuntimeError(f"port {self.port} belongs to another Redis")
                return

    def stop(self) -> None:
        processes.stop(self._process)

    def kill(self) -> None:
        processes.stop(self._process, at_once=True)

    def flush(self) -> None:
        with redis.Redis(port=self.port, socket_timeout=5.0) as client:
            client.flushall()

    def log_tail(self, lines: int) -> str:
        return processes.tail(self._log, lines)
