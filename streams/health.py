"""Whether a worker works, for machines: `/metrics`, `/healthz`, `/readyz` over HTTP, on a thread of its own.

A stuck worker can still be asked, since nothing here runs on the worker's loop. Only these routes, only GET and HEAD,
one request a connection; a connection lives `CONNECTION_S` at most, and where there are too many the oldest goes.
Nothing a client sends comes back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from streams.watchdog import BEAT_S, Facts

log = logging.getLogger(__name__)

LOOP_SILENT_S = 8 * BEAT_S
"""A loop without a beat for so long is told before the watchdog ends it."""
STORE_OLD_S = 60.0
"""Added to the seconds between two saves: what is unsaved must be read and decided again after a crash."""
LETTERS_WAIT_S = 60.0
CLOCK_STEP_TOLD_S = 300.0

CONNECTION_S = 10.0
MOST_CONNECTIONS = 32
HEADER_BYTES = 4096


class Cause(StrEnum):
    """Why a worker is not healthy. Each has a paragraph in docs/operations.md."""

    LOOP_STUCK = "loop_stuck"
    BROKER_SILENT = "broker_silent"
    NOT_ASSIGNED = "not_assigned"
    NO_PROGRESS = "no_progress"
    STORE_OLD = "store_old"
    LETTERS_WAITING = "letters_waiting"
    CLOCK_STEP = "clock_step"


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause that holds now, for people."""

    cause: Cause
    zh: str
    en: str


class Watching(Protocol):
    """What `Health` asks of the watchdog."""

    @property
    def facts(self) -> Facts: ...
    @property
    def limit_s(self) -> float: ...
    @property
    def loop_silent_s(self) -> float: ...


class Health:
    """What the watchdog and the stores know, judged. Any thread may ask."""

    def __init__(
        self,
        watchdog: Watching,
        store_age_s: Callable[[], Mapping[str, float]] = dict,
        *,
        store_every_s: float = 0.0,
        more: Callable[[], Mapping[str, object]] = dict,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watchdog, self.store_age_s, self.now_s = watchdog, store_age_s, now_s
        self.more = more
        self.store_old_s = STORE_OLD_S + store_every_s
        self._began_s = now_s()

    def findings(self) -> list[Finding]:
        """Every cause that holds; none: progress is made, or there is nothing to do."""
        facts, half_s = self.watchdog.facts, self.watchdog.limit_s / 2
        found = []
        if (silent_s := self.watchdog.loop_silent_s) > LOOP_SILENT_S:
            found.append(_finding(Cause.LOOP_STUCK, "事件循环已停 {} 秒", "the loop has been stuck for {} s", silent_s))
        if (silent_s := facts.broker_silent_s) > half_s:
            zh, en = "Kafka 已 {} 秒不应答", "Kafka has not answered for {} s"
            found.append(_finding(Cause.BROKER_SILENT, zh, en, silent_s))
        if facts.without_s > half_s:
            zh, en = (
                "已 {} 秒没有记录可流：无分区或重新分配未完",
                "no records could flow for {} s: no partitions, or a rebalance",
            )
            found.append(_finding(Cause.NOT_ASSIGNED, zh, en, facts.without_s))
        if (idle_s := max(facts.idle_s.values(), default=0.0)) > half_s:
            zh, en = "有积压而 {} 秒无进展", "records are waiting and none was finished for {} s"
            found.append(_finding(Cause.NO_PROGRESS, zh, en, idle_s))
        if (age_s := max(self.store_age_s().values(), default=0.0)) > self.store_old_s:
            zh, en = "状态已 {} 秒未完整保存", "state was last stored {} s ago"
            found.append(_finding(Cause.STORE_OLD, zh, en, age_s))
        if facts.waiting_s > LETTERS_WAIT_S:
            zh, en = "死信送不出，分区已暂停 {} 秒", "dead letters wait, partitions have been on hold for {} s"
            found.append(_finding(Cause.LETTERS_WAITING, zh, en, facts.waiting_s))
        if facts.clock_step_at_s is not None and self.now_s() - facts.clock_step_at_s < CLOCK_STEP_TOLD_S:
            zh, en = "系统时钟被拨动 {} 秒", "the wall clock was set by {} s"
            found.append(_finding(Cause.CLOCK_STEP, zh, en, facts.clock_step_s))
        return found

    def causes(self) -> dict[tuple[str, ...], float]:
        """Every cause there is with 1 or 0, as `zhinao_unhealthy`."""
        holds = {finding.cause for finding in self.findings()}
        return {(cause.value,): float(cause in holds) for cause in Cause}

    def facts(self) -> dict[str, object]:
        """Numbers for whoever looks into it."""
        facts = self.watchdog.facts
        return {
            "uptime_s": round(self.now_s() - self._began_s, 1),
            "partitions": len(facts.sights),
            "standby": facts.standby,
            "loading": facts.loading,
            "flowing": facts.flowing,
            "lag": facts.lag,
            "idle_s": round(max(facts.idle_s.values(), default=0.0), 1),
            "without_partitions_s": round(facts.without_s, 1),
            "on_hold": facts.on_hold,
            "loop_silent_s": round(self.watchdog.loop_silent_s, 1),
            "broker_silent_s": round(facts.broker_silent_s, 1),
            "store_age_s": round(max(self.store_age_s().values(), default=0.0), 1),
            "generation": facts.generation,
            "rebalances": facts.rebalances,
            "clock_steps": facts.clock_steps,
            **self.more(),
        }

    def ready(self) -> bool:
        """Whether records flow to us."""
        return self.watchdog.facts.flowing


def _finding(cause: Cause, zh: str, en: str, seconds: float) -> Finding:
    return Finding(cause, zh.format(f"{seconds:.0f}"), en.format(f"{seconds:.0f}"))


Answer = tuple[int, str, bytes]
"""Status, content type, body."""
JSON = "application/json"


class HealthServer:
    """Serves on its own thread from `start` to `stop`. `metrics_text`: the body and its content type."""

    def __init__(self, health: Health, metrics_text: Callable[[], tuple[bytes, str]], host: str, port: int) -> None:
        self._health, self._metrics_text = health, metrics_text
        self._host, self._port = host, port
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="health", daemon=True)
        self._listening: Future[tuple[str, int]] = Future()
        self._stop: Callable[[], object] = lambda: None
        self._routes: dict[str, Callable[[], Answer]] = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }

    def start(self) -> tuple[str, int]:
        """Listen; the address, with the port that was chosen for 0. OSError where it is taken."""
        self._thread.start()
        return self._listening.result()

    def stop(self) -> None:
        self._stop()
        self._thread.join(CONNECTION_S)

    async def _serve(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        connections = _Connections(self._answer)
        try:
            server = await loop.create_server(connections, self._host.strip("[]"), self._port)
        except OSError as why:
            self._listening.set_exception(why)
            return
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        host, port, *_ = server.sockets[0].getsockname()
        self._listening.set_result((host, port))
        await over.wait()
        server.close()
        await connections.shutdown(0.1)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get(request.path)
        if route is None:
            return _response(404, "text/plain", b"not found\n")
        if request.method not in ("GET", "HEAD"):
            refused = _response(405, "text/plain", b"GET or HEAD only\n")
            refused.headers["Allow"] = "GET, HEAD"
            return refused
        return _response(*route())

    def _metrics(self) -> Answer:
        body, kind = self._metrics_text()
        return 200, kind, body

    def _healthz(self) -> Answer:
        findings = self._health.findings()
        body = {
            "status": "failing" if findings else "ok",
            "causes": [{"cause": f.cause.value, "zh": f.zh, "en": f.en} for f in findings],
            "facts": self._health.facts(),
        }
        return (503 if findings else 200), JSON, json.dumps(body, ensure_ascii=False).encode() + b"\n"

    def _readyz(self) -> Answer:
        ready = self._health.ready()
        return (200 if ready else 503), JSON, json.dumps({"ready": ready}).encode() + b"\n"


def _response(status: int, kind: str, body: bytes) -> web.Response:
    headers = {
        "Content-Type": kind,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Server": "zhinao",
    }
    response = web.Response(status=status, body=body, headers=headers)
    response.force_close()
    return response


class _Connection(RequestHandler):
    """aiohttp's, without its texts: they would repeat a bad request to who sent it, and to the log."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("没有答成 / a request could not be answered", exc_info=exc)
        return _response(status, "text/plain", b"bad request\n" if status < 500 else b"error\n")


class _Connections(web.Server):
    """Makes the connections, bounds their number and their lives."""

    def __call__(self) -> RequestHandler:
        loop = asyncio.get_running_loop()
        return _Connection(
            self,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # its types forget that it may be none
            lingering_time=0.0,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=32,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > MOST_CONNECTIONS:
            next(iter(self._connections.values())).abort()
        asyncio.get_running_loop().call_later(CONNECTION_S, transport.abort)
