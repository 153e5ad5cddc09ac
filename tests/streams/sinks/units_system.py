"""A units' own system for tests: takes orders over HTTP, each once by its Idempotency-Key, and misbehaves as told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from streams.sinks.http_receiver import IDEMPOTENCY_HEADER, SIGNATURE_HEADER, signature

KEY = b"a secret that both sides know"
HOST = "127.0.0.1"
Mood = Callable[["UnitsSystem", str], Awaitable[web.StreamResponse]]
"""What is answered to an attempt with this key."""


class UnitsSystem:
    """Listens from `start` to `stop`, on the same port each time. `mood` is asked about orders by their incident, else
    `usual` answers."""

    def __init__(self) -> None:
        self.port = 0
        self.moods: dict[str, Mood] = {}
        self.usual: Mood = accept
        self.raw: Counter[str] = Counter()
        self.effects: dict[str, dict[str, object]] = {}
        self.order: defaultdict[str, list[str]] = defaultdict(list)
        """By incident, the keys in the order of their effects."""
        self.at_once = self.most_at_once = 0
        self.forged = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/orders"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{anything:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body, key = await request.read(), request.headers[IDEMPOTENCY_HEADER]
        stamp = request.headers[SIGNATURE_HEADER].removeprefix("t=").partition(",")[0]
        if request.headers[SIGNATURE_HEADER] != signature(KEY, int(stamp), key, body):
            self.forged += 1
            return web.Response(status=401)
        order = json.loads(body)
        self.raw[key] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.moods.get(order["incident_id"], self.usual)(self, key)
        finally:
            self.at_once -= 1
            if key in self.effects and not self.effects[key]:
                self.effects[key] = order

    def effect(self, key: str, incident: str = "") -> bool:
        """Take the order, if it is new."""
        if key in self.effects:
            return False
        self.effects[key] = {}
        self.order[incident or key.partition("/")[0]].append(key)
        return True


async def accept(system: UnitsSystem, key: str) -> web.StreamResponse:
    """Taken, and said so; known, and said so."""
    new = system.effect(key)
    return web.json_response({"action": "accepted", "actor": "u-77"}, status=202 if new else 409)


async def stall(system: UnitsSystem, key: str) -> web.StreamResponse:
    """Nothing is taken and nothing is said."""
    await asyncio.sleep(3600)
    return web.Response()


async def accept_and_stall_once(system: UnitsSystem, key: str) -> web.StreamResponse:
    """Taken, but the first answer never comes."""
    if system.effect(key):
        await asyncio.sleep(3600)
    return web.json_response({"action": "accepted"}, status=409)


async def say_nonsense(system: UnitsSystem, key: str) -> web.StreamResponse:
    """Taken, with a body that nobody understands."""
    system.effect(key)
    return web.Response(body=b"\xff<html>" + b"x" * 200_000)


async def be_slow(system: UnitsSystem, key: str) -> web.StreamResponse:
    await asyncio.sleep(0.5)
    return await accept(system, key)


async def refuse(system: UnitsSystem, key: str) -> web.StreamResponse:
    return web.Response(status=422, text="no such unit; call 13800001234")


def first(count: int, status: int, headers: dict[str, str] | None = None) -> Mood:
    """So many attempts fail, then it is taken."""

    async def mood(system: UnitsSystem, key: str) -> web.StreamResponse:
        if system.raw[key] <= count:
            return web.Response(status=status, headers=headers)
        return await accept(system, key)

    return mood
