"""A TCP proxy between a broker and its clients, for bad networks: slow, cut, or silent while the line stays open; and
for a broker that speaks TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 64 * 1024
OPEN_WITHIN_S = 10.0


class Proxy:
    """Listens on `port` of the loopback and passes everything to `target`. Runs on a thread of its own.

    `latency_s` holds up each piece, both ways; while `silent` nothing passes and nobody is told; `cut` ends every
    connection there is. With `tls` it speaks TLS to clients, and plain to the target.
    """

    def __init__(self, port: int, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.target, self.tls = port, target, tls
        self.latency_s, self.silent = 0.0, False
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(OPEN_WITHIN_S), f"nobody listens on {self.port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(OPEN_WITHIN_S)
        self._loop.close()

    def cut(self) -> None:
        """End all connections at once; new ones are taken."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls)
        self._listening.set()
        await self._stop.wait()
        server.close()
        self._abort()
        mine = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not mine]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            with suppress(asyncio.CancelledError):  # at the end; asyncio would print it
                await asyncio.gather(self._pass(reader, back), self._pass(onward, writer))
        finally:
            self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                await asyncio.sleep(self.latency_s)
                while self.silent:
                    await asyncio.sleep(0.05)
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
