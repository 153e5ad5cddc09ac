"""Free loopback ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """`count` different ports nobody listens on, from below the range the kernel gives to outgoing connections.

    A server that is killed and started again needs its old port; from the kernel's range another client might have
    taken it meanwhile. Two test runs may still choose the same port: whoever starts a server tries again.
    """
    try:
        first_ephemeral = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first_ephemeral = 32768
    low, high = (10_000, first_ephemeral) if first_ephemeral > 12_000 else (1_024, 65_535)
    chance = random.SystemRandom()
    found: list[int] = []
    for _ in range(10_000):
        if len(found) == count:
            return found
        port = chance.randrange(low, high)
        if port not in found and _is_free(port):
            found.append(port)
    raise RuntimeError(f"fewer than {count} free ports between {low} and {high}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
