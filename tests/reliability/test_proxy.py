"""The bad network does what it says, and so does the measure of a slope."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.ports import free_ports
from tests.reliability.faults import slope_of
from tests.reliability.proxy import Proxy

SOON_S = 5.0


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while said := self.request.recv(100):
            self.request.sendall(said)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before a server that says everything again."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Proxy(free_ports(1)[0], server.server_address[1]) as between:
            yield between
        server.shutdown()


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), SOON_S)


def asked_s(line: socket.socket) -> float:
    began = time.monotonic()
    line.sendall(b"hello")
    assert line.recv(100) == b"hello"
    return time.monotonic() - began


def is_ended(line: socket.socket) -> bool:
    try:
        return line.recv(100) == b""
    except ConnectionResetError:
        return True


def test_it_passes_everything_and_can_be_slow(proxy: Proxy) -> None:
    with connected(proxy) as line:
        asked_s(line)
        proxy.latency_s = 0.1
        assert asked_s(line) >= 0.2


def test_a_cut_ends_the_connections_there_are_and_takes_new_ones(proxy: Proxy) -> None:
    with connected(proxy) as line:
        asked_s(line)
        proxy.cut()
        assert is_ended(line)
    with connected(proxy) as line:
        asked_s(line)


def test_silence_keeps_the_line_and_loses_nothing(proxy: Proxy) -> None:
    with connected(proxy) as line:
        asked_s(line)
        proxy.silent = True
        line.sendall(b"hello")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(100)
        proxy.silent = False
        line.settimeout(SOON_S)
        assert line.recv(100) == b"hello"


def test_a_slope_is_found() -> None:
    assert slope_of([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]) == 2.0
    assert slope_of([(0.0, 5.0), (1.0, 5.0)]) == 0.0
