"""Illegal parking with Tile38 as its users write it: zones are objects, an event is one question, the rule is theirs.

python -m benchmarks.contestants.tile38 FOLDER [--events N] [--filter-first]

`INTERSECTS zones IDS POINT lat lon` for each event, 500 to a pipeline of redis-py; then decoding and the rule in Python
(`per_event.py`), as Tile38 has no dwell. Server and client share one core; seconds are both's of it, `server_s` is
Tile38's own part and `client_s` that of its user's Python.

The server is built by `go install`. A module proxy that refuses the module means: not run. It was refused where this
was written, so no figure of the server is known. The client was tried on a stand-in: its 20 µs an event are the least.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import redis

from benchmarks.contestants import scoring
from benchmarks.contestants.java.jvm import CACHE, NotRun, finish, locked, not_run
from benchmarks.contestants.per_event import PARKED, Rule, Seen, Since
from benchmarks.contestants.scoring import SLOW_MPS, Raised
from tests import processes
from tests.ports import free_ports

NAME = "tile38"
MODULE = "github.com/tidwall/tile38/cmd/tile38-server@latest"
PIPELINE = 500
MOST_AT_ONE_POINT = 1_000  # 100 unless told

_BUILD_S = 600.0
_START_S = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


def build() -> Path:
    """The server; built once."""
    program = CACHE / NAME / "tile38-server"
    go = shutil.which("go")
    if go is None:
        raise NotRun("go missing")
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / f"{NAME}.lock"):
        if not program.exists():
            try:
                ended = subprocess.run(
                    [go, "install", MODULE],
                    env={**os.environ, "GOBIN": str(program.parent)},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_BUILD_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise NotRun(f"not built within {_BUILD_S:g} s") from error
            if ended.returncode != 0:
                refused = re.search(r"\d{3} (?:Forbidden|Not Found)", ended.stderr)
                raise NotRun(f"go can't build it: {refused[0] if refused else ended.stderr.strip()[-200:]}")
    return program


@contextmanager
def running(program: Path, folder: Path) -> Iterator[tuple[redis.Redis, int]]:
    """A server on a loopback port, a client for it and the server's process."""
    (port,) = free_ports(1)
    options = ["-h", "127.0.0.1", "-p", str(port), "-d", str(folder), "-q", "--appendonly", "no"]
    server = processes.start([str(program), *options], log=folder / "server.log")
    try:
        with redis.Redis(port=port, protocol=2) as client:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    client.execute_command("PING")
                    break
                except redis.ConnectionError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        said = processes.tail(folder / "server.log", 20)
                        raise RuntimeError(f"no answer from the server:\n{said}") from None
                    time.sleep(0.02)
            yield client, server.pid
    finally:
        processes.stop(server)


class Asker:
    """The zones of many events by one pipeline."""

    def __init__(self, client: Any, features: list[dict[str, Any]]) -> None:
        self.pipeline = client.pipeline(transaction=False)
        for feature in features:
            path = f"{feature['properties']['kind']}/{feature['id']}"
            self.pipeline.execute_command("SET", "zones", path, "OBJECT", orjson.dumps(feature["geometry"]))
        self.pipeline.execute()

    def zones(self, events: list[dict[str, Any]]) -> list[list[str]]:
        for event in events:
            self.pipeline.execute_command(
                "INTERSECTS", "zones", "LIMIT", MOST_AT_ONE_POINT, "IDS", "POINT", event["lat"], event["lon"]
            )
        return [[path.decode() for path in found] for _, found in self.pipeline.execute()]


def work(lines: list[bytes], asker: Asker, rule: Rule, filter_first: bool) -> tuple[list[Raised], int]:
    stands: dict[str, Since] = {}
    raised: list[Raised] = []
    memberships = 0
    for start in range(0, len(lines), PIPELINE):
        events = [orjson.loads(line) for line in lines[start : start + PIPELINE]]
        asked = [event for event in events if not filter_first or event["speed"] < SLOW_MPS]
        answers = iter(asker.zones(asked))
        for event in events:
            zones = next(answers) if not filter_first or event["speed"] < SLOW_MPS else []
            memberships += len(zones)
            parked_in = [path for path in zones if path.startswith(PARKED)]
            seen = Seen(event["track"], event["speed"], event["ts"], parked_in)
            since, told = rule.step(stands.get(seen.track), seen)
            raised += told
            if since is None:
                stands.pop(seen.track, None)
            else:
                stands[seen.track] = since
    return raised, memberships


def main() -> int:
    given: argparse.Namespace = scoring.arguments(__doc__).parse_args()
    try:
        program = build()
    except NotRun as why:
        return not_run(NAME, why)
    features = orjson.loads((given.folder / "zones.geojson").read_bytes())["features"]
    lines, rule = scoring.events(given.folder, given.events), Rule(given.folder)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and the server's with it
    with tempfile.TemporaryDirectory(prefix="peer-") as scratch, running(program, Path(scratch)) as (client, server):
        asker = Asker(client, features)
        began, server_began, client_began = time.perf_counter(), _cpu_s(server), time.process_time()
        raised, memberships = work(lines, asker, rule, given.filter_first)
        clock_s = time.perf_counter() - began
        server_s, client_s = _cpu_s(server) - server_began, time.process_time() - client_began
        peak_mb = _peak_mb(server) + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    more = {
        "clock_s": round(clock_s, 4),
        "server_s": round(server_s, 4),
        "client_s": round(client_s, 4),
        "peak_mb": round(peak_mb),
        "versions": {"tile38": _version(program), "redis-py": redis.__version__},
    }
    counted = None if given.filter_first else memberships
    return finish(NAME, given.folder, len(lines), server_s + client_s, raised, counted, more)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_mb(pid: int) -> float:
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _version(program: Path) -> str:
    """The module's, as go wrote it into the program."""
    ended = subprocess.run(["go", "version", "-m", str(program)], capture_output=True, text=True, check=False)
    found = re.search(r"\tmod\t\S+\t(\S+)", ended.stdout)
    return found[1] if found else "?"


if __name__ == "__main__":
    sys.exit(main())
