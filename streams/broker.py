"""The embedded broker: librdkafka's mock cluster in a child process. For the demo and for tests, never for production.

It speaks the Kafka protocol on a free loopback port, keeps everything in memory (about 5 MB a partition, older data is
dropped in silence), never compacts, and cannot create topics on request: they appear on first use with 4 partitions.
One worker for each group. `python -m streams.broker` prints its address on one line and ends when its stdin closes, so
it never outlives the process that started it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

# What librdkafka's mock gives a topic that is made by its first use.
PARTITIONS = 4
# A start takes about 0.3 s; a loaded machine needs longer.
START_LIMIT_S = 20.0
# Starting is tried again if the child dies or says nothing (a port taken in between).
START_TRIES = 3


class BrokerError(Exception):
    """The embedded broker could not be started; the message says what the child said."""


class EmbeddedBroker:
    """A broker of our own, as a context manager. `topics` are touched at the start, so that all have 4 partitions."""

    def __init__(self, topics: Iterable[str] = ()) -> None:
        self._topics = tuple(topics)
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """`host:port`, once started."""
        if not self._address:
            raise BrokerError("the embedded broker is not running")
        return self._address

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BrokerError("the embedded broker is not running")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the child and wait until it answers. Raises `BrokerError` with the cause."""
        said = ""
        for _ in range(START_TRIES):
            try:
                self._start_once()
                if self._topics:
                    warm_up(self._address, self._topics)
            except (BrokerError, OSError) as exc:
                said = str(exc)
                self.stop()
            else:
                return self
        raise BrokerError(f"the embedded broker did not start in {START_TRIES} tries: {said}")

    def _start_once(self) -> None:
        root = Path(__file__).resolve().parent.parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.getenv("PYTHONPATH"))))}
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.broker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for the worker, which stops the broker last
        )
        self._process = process
        timer = threading.Timer(START_LIMIT_S, process.kill)
        timer.start()
        try:
            line = _pipe(process.stdout).readline().decode().strip()
        finally:
            timer.cancel()
        if ":" not in line:
            process.kill()
            cause = _pipe(process.stderr).read().decode(errors="replace").strip()
            raise BrokerError(cause or f"it ended with {process.wait()} before it printed an address")
        # The child says little, but a full pipe would stop it.
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
        _wait_until_listening(line)
        self._address = line

    def stop(self) -> None:
        """End the child, by its pid; safe to call twice."""
        process, self._process, self._address = self._process, None, ""
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def _drain(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError, ValueError):
        while _pipe(process.stderr).readline():
            pass


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise BrokerError("the child was started without pipes")
    return pipe


def _wait_until_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=START_LIMIT_S):
        return


def warm_up(address: str, topics: Iterable[str]) -> None:
    """Ask for every topic once: the mock makes those it does not know. Raises `BrokerError` if one stays unknown."""
    asyncio.run(touch(address, topics))


async def touch(address: str, topics: Iterable[str]) -> None:
    """Like `warm_up`, inside a running loop."""
    from aiokafka import AIOKafkaProducer  # the child needs none of it
    from aiokafka.errors import KafkaError

    producer = AIOKafkaProducer(bootstrap_servers=address)
    try:
        await producer.start()
        for topic in topics:
            found = await asyncio.wait_for(producer.partitions_for(topic), START_LIMIT_S)
            if len(found) != PARTITIONS:
                raise BrokerError(f"{topic} has {len(found)} partitions on the embedded broker, not {PARTITIONS}")
    except (KafkaError, TimeoutError) as exc:
        raise BrokerError(f"the embedded broker does not answer: {exc!r}") from exc
    finally:
        await producer.stop()


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield


def main() -> None:
    """The child: make the cluster, print its address, wait for the end of stdin."""
    from confluent_kafka import Producer  # only here, so that the library loads without librdkafka

    with _no_interrupt():
        keeper = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(keeper.list_topics(timeout=START_LIMIT_S).brokers.values()))
        sys.stdout.write(f"{broker.host}:{broker.port}\n")
        sys.stdout.flush()
        while sys.stdin.buffer.read(4096):
            pass
    # librdkafka's threads need no farewell, and waiting for them could keep a child alive.
    os._exit(0)


if __name__ == "__main__":
    main()
