"""A receiver of orders behind HTTP. It can be made to talk to nobody but the host it was told.

The host must be on the operator's list, its address is asked for once and kept (a name that changes its mind later
leads nowhere else), redirects are not followed, proxies of the environment not used. What comes back is bounded in
bytes and in time.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from hashlib import sha256
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from streams.sinks.deliver import LONGEST_RETRY_AFTER_S, NoReply, Parcel, Reply

SIGNATURE_HEADER = "Zhinao-Signature"
IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLY_LIMIT_S = 10.0
MAX_REPLY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 8 * 1024


class ReceiverError(Exception):
    """The address may not, or cannot, be delivered to; one line."""


def allowed(url: URL, hosts: Sequence[str]) -> bool:
    """Whether host and port are on the list. An entry without a port is the scheme's own port."""
    if url.host is None or url.port is None:
        return False
    host = f"[{url.host}]" if ":" in url.host else url.host
    named = {f"{host}:{url.port}"} | ({host} if url.is_default_port() else set())
    return not named.isdisjoint(entry.lower().rstrip(".") for entry in hosts)


def checked(written: str, hosts: Sequence[str]) -> URL:
    """The address as it will be used. Raises ReceiverError."""
    try:
        url = URL(written)
    except ValueError as why:
        raise ReceiverError(f"{written!r} is no address: {why}") from None
    if url.scheme not in ("http", "https") or url.host is None:
        raise ReceiverError(f"{url.scheme or written!r}: orders go to http:// or https:// only")
    if url.user is not None or url.password is not None:
        raise ReceiverError("the address may hold no user and no password: everybody sees it in the list of processes")
    if not allowed(url, hosts):
        raise ReceiverError(f"{url.host}:{url.port} is not on the list ZHINAO_DELIVER_HOSTS")
    return url


def signature(key: bytes, at_s: int, idempotency_key: str, body: bytes) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 over `<seconds>.<idempotency key>.<body>`."""
    signed = f"{at_s}.{idempotency_key}.".encode() + body
    return f"t={at_s},v1={hmac.new(key, signed, sha256).hexdigest()}"


class Pinned(AbstractResolver):
    """Knows one host, and the addresses it had at the start."""

    def __init__(self, host: str, addresses: Sequence[ResolveResult]) -> None:
        self._host, self._addresses = host, list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError(f"{host} is not where orders go")
        return self._addresses

    async def close(self) -> None:
        pass


async def pin(url: URL) -> Pinned:
    """Ask for the addresses of the host, once. Raises ReceiverError."""
    host = url.host or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except OSError as why:
        raise ReceiverError(f"{host} has no address: {why.strerror or why}") from None
    addresses: list[ResolveResult] = [
        {
            "hostname": host,
            "host": str(where[0]),
            "port": int(where[1]),
            "family": family,
            "proto": protocol,
            "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        }
        for family, _, protocol, _, where in found
    ]
    return Pinned(host, addresses)


class HttpReceiver:
    """POSTs orders to one address, signed. `limit_s` is for the whole of an attempt."""

    def __init__(self, url: URL, resolver: Pinned, key: bytes, *, limit_s: float = REPLY_LIMIT_S) -> None:
        self._url, self._key = url, key
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver),
            timeout=aiohttp.ClientTimeout(total=limit_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    @classmethod
    async def open(cls, written: str, hosts: Sequence[str], key: bytes, *, limit_s: float = REPLY_LIMIT_S) -> Self:
        """Raises ReceiverError."""
        url = checked(written, hosts)
        return cls(url, await pin(url), key, limit_s=limit_s)

    async def post(self, parcel: Parcel) -> Reply:
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "zhinao",
            IDEMPOTENCY_HEADER: parcel.key,
            SIGNATURE_HEADER: signature(self._key, int(time.time()), parcel.key, parcel.body),
        }
        try:
            async with self._session.post(
                self._url, data=parcel.body, headers=headers, allow_redirects=False
            ) as response:
                retry_after_s = _retry_after_s(response.headers.get("Retry-After", ""), time.time())
                return Reply(response.status, await _bounded(response), retry_after_s)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as why:
            raise NoReply(f"{type(why).__name__}: {why}") from why

    async def close(self) -> None:
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body; empty where it is longer than anybody needs, and then the rest is not read."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            response.close()
            return b""
    return bytes(body)


def _retry_after_s(text: str, now_s: float) -> float:
    """Seconds, or until a date; 0 where nothing usable is said."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        wanted = float(text[:9])
    else:
        try:
            wanted = parsedate_to_datetime(text).timestamp() - now_s
        except ValueError:
            return 0.0
    return min(max(wanted, 0.0), LONGEST_RETRY_AFTER_S)
