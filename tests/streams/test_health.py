"""Health is judged from facts; the server tells it to whoever asks properly, and to nobody else anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace

import pytest

from streams import health as module
from streams.health import CLOCK_STEP_TOLD_S, Cause, Health, HealthServer
from streams.metrics import CONTENT_TYPE, Metrics
from streams.transport import TP, Sight
from streams.watchdog import Facts

FINE = Facts(at_s=0.0, sights={TP("a", 0): Sight(done=7, lag=0)}, flowing=True)


@dataclass
class Watched:
    """A watchdog that says what it is told to."""

    facts: Facts = FINE
    limit_s: float = 60.0
    loop_silent_s: float = 0.0


@dataclass
class Bench:
    """A `Health` whose facts, store and clock the test sets."""

    watched: Watched = field(default_factory=Watched)
    ages: dict[str, float] = field(default_factory=dict)
    at_s: float = 1000.0

    def __post_init__(self) -> None:
        self.health = Health(self.watched, lambda: self.ages, store_every_s=2.0, now_s=lambda: self.at_s)

    def causes(self, **facts: object) -> list[Cause]:
        self.watched.facts = replace(FINE, **facts)  # type: ignore[arg-type]
        return [finding.cause for finding in self.health.findings()]


# --------------------------------------------------------------------------------------------------------------- causes


def test_a_worker_that_works_has_no_cause() -> None:
    assert Bench().causes() == []


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"broker_silent_s": 31.0}, Cause.BROKER_SILENT),
        ({"without_s": 31.0, "flowing": False}, Cause.NOT_ASSIGNED),
        ({"idle_s": {TP("a", 0): 31.0}}, Cause.NO_PROGRESS),
        ({"waiting_s": 61.0}, Cause.LETTERS_WAITING),
        ({"clock_step_at_s": 900.0, "clock_step_s": -3600.0}, Cause.CLOCK_STEP),
    ],
)
def test_each_cause_holds_past_its_limit_and_not_before(facts: dict[str, object], cause: Cause) -> None:
    assert Bench().causes(**facts) == [cause]
    before = {name: _less(value) for name, value in facts.items() if name != "clock_step_at_s"}
    assert Bench().causes(**before) == []


def _less(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: number - 2 for name, number in value.items()}
    return value - 2 if isinstance(value, float) and value > 0 else value


def test_a_silent_loop_is_told_before_the_watchdog_ends_it() -> None:
    bench = Bench(Watched(loop_silent_s=2.5))
    assert bench.causes() == [Cause.LOOP_STUCK]
    assert "已停 2 秒" in bench.health.findings()[0].zh


def test_a_store_is_too_old_a_minute_after_it_was_due() -> None:
    bench = Bench(ages={"detector/0": 3.0, "desk/0": 61.0})
    assert bench.causes() == []
    bench.ages["desk/0"] = 62.5
    assert bench.causes() == [Cause.STORE_OLD]


def test_a_clock_that_was_set_is_told_for_a_while_only() -> None:
    bench = Bench()
    assert bench.causes(clock_step_at_s=bench.at_s - CLOCK_STEP_TOLD_S + 1, clock_step_s=9.0) == [Cause.CLOCK_STEP]
    assert bench.causes(clock_step_at_s=bench.at_s - CLOCK_STEP_TOLD_S - 1, clock_step_s=9.0) == []


def test_every_cause_has_its_number_for_alerts() -> None:
    bench = Bench()
    bench.watched.facts = replace(FINE, broker_silent_s=31.0)
    causes = bench.health.causes()
    assert {cause for (cause,) in causes} == {cause.value for cause in Cause}
    assert [cause for (cause,), holds in causes.items() if holds] == ["broker_silent"]


# --------------------------------------------------------------------------------------------------------------- server


@dataclass
class Served:
    bench: Bench
    address: tuple[str, int]

    def raw(self, request: bytes) -> bytes:
        """All that comes back for these bytes, until the server closes."""
        with closing(socket.create_connection(self.address, timeout=10)) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def ask(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        return _parsed(self.raw(f"{method} {path} HTTP/1.1\r\nHost: worker\r\n\r\n".encode()))


def _parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}, body


@pytest.fixture
def served() -> Iterator[Served]:
    bench, metrics = Bench(), Metrics()
    server = HealthServer(bench.health, lambda: (metrics.text(), CONTENT_TYPE), "127.0.0.1", 0)
    try:
        yield Served(bench, server.start())
    finally:
        server.stop()


def test_healthz_says_200_with_facts_and_503_with_the_cause(served: Served) -> None:
    status, headers, body = served.ask("/healthz")
    told = json.loads(body)
    assert (status, told["status"], told["causes"]) == (200, "ok", [])
    assert told["facts"]["partitions"] == 1
    assert headers["content-type"] == "application/json"
    served.bench.watched.facts = replace(FINE, idle_s={TP("a", 0): 45.0})
    status, _, body = served.ask("/healthz")
    told = json.loads(body)
    assert (status, told["status"]) == (503, "failing")
    assert told["causes"] == [
        {
            "cause": "no_progress",
            "zh": "有积压而 45 秒无进展",
            "en": "records are waiting and none was finished for 45 s",
        }
    ]


def test_readyz_is_200_once_records_flow(served: Served) -> None:
    assert served.ask("/readyz")[0] == 200
    served.bench.watched.facts = replace(FINE, flowing=False)
    assert served.ask("/readyz")[0] == 503


def test_metrics_are_prometheus_text(served: Served) -> None:
    status, headers, body = served.ask("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert b"\nzhinao_loop_stall_max_seconds 0.0\n" in body


def test_head_is_get_without_a_body(served: Served) -> None:
    status, headers, body = served.ask("/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_no_other_method_is_answered(served: Served, method: str) -> None:
    status, headers, _ = served.ask("/healthz", method)
    assert status in (400, 404, 405)  # CONNECT and what is no method do not come as far as a route
    if status == 405:
        assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/healthz/", "/metrics/../healthz", "//healthz", "/table", "/%2e%2e/etc/passwd"])
def test_only_the_three_routes_answer(served: Served, path: str) -> None:
    assert served.ask(path)[0] == 404


BAD_REQUESTS = {
    "no sense": b"hunter2\r\n\r\n",
    "no version": b"GET /hunter2\r\n\r\n",
    "another version": b"GET /hunter2 HTTP/9.9\r\n\r\n",
    "zeros": b"\0" * 200 + b"hunter2\r\n\r\n",
    "a long line": b"GET /" + b"hunter2" * 9000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET /healthz HTTP/1.1\r\nX: " + b"hunter2" * 9000 + b"\r\n\r\n",
    "many headers": b"GET /healthz HTTP/1.1\r\n" + b"".join(b"hunter2-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
    "a broken header": b"GET /healthz HTTP/1.1\r\nhunter2\r\n\r\n",
    "two lengths": b"GET /healthz HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\nhunter2: 1\r\n\r\n",
    "a header of its own in the path": b"GET /healthz%0d%0aSet-Cookie:hunter2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030100ca010000c6") + b"hunter2\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_refused_and_nothing_of_it_comes_back(
    served: Served, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        answer = served.raw(request_bytes)
    except ConnectionResetError:  # closed before it had read all of it
        answer = b""
    assert answer == b"" or _parsed(answer)[0] in (400, 404, 431)
    assert b"hunter2" not in answer
    assert "hunter2" not in caplog.text
    assert served.ask("/healthz")[0] == 200


@pytest.mark.alone
def test_slow_clients_block_nobody_and_cost_no_threads(served: Served) -> None:
    threads = threading.active_count()
    with ExitStack() as open_connections:
        first = open_connections.enter_context(closing(socket.create_connection(served.address, timeout=10)))
        for _ in range(3 * module.MOST_CONNECTIONS):
            slow = open_connections.enter_context(closing(socket.create_connection(served.address, timeout=10)))
            slow.sendall(b"GET /healthz HTTP/1.1\r\nX")
        began_s = time.monotonic()
        assert served.ask("/healthz")[0] == 200
        assert time.monotonic() - began_s < 2.0
        assert threading.active_count() == threads
        first.settimeout(2.0)  # the oldest made room
        with suppress(ConnectionResetError):
            assert first.recv(100) == b""


@pytest.mark.alone
def test_a_connection_does_not_outlive_its_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_S", 0.3)
    with closing(socket.create_connection(served.address, timeout=10)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        began_s = time.monotonic()
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
        assert 0.2 < time.monotonic() - began_s < 5.0


def test_one_request_a_connection(served: Served) -> None:
    twice = served.raw(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert twice.count(b"HTTP/1.1 ") == 1


def test_a_taken_address_is_said_at_once(served: Served) -> None:
    other = HealthServer(served.bench.health, lambda: (b"", CONTENT_TYPE), *served.address)
    try:
        with pytest.raises(OSError, match="in use"):
            other.start()
    finally:
        other.stop()
