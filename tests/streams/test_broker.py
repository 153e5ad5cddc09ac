"""The embedded broker: it starts, it answers, and it never outlives us."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.broker import PARTITIONS, BrokerError, EmbeddedBroker, warm_up
from streams.topics import all_full_names

ROOT = Path(__file__).resolve().parents[2]


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # A child of a child that died is somebody's zombie until it is reaped.
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_it_starts_with_every_topic_and_takes_records() -> None:
    names = all_full_names("zhinao")
    with EmbeddedBroker(names) as broker:
        assert broker.alive
        assert broker.address.startswith("127.0.0.1:")

        async def there_and_back() -> list[bytes]:
            async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
                assert {len(await producer.partitions_for(name)) for name in names} == {PARTITIONS}
                await producer.send_and_wait(names[0], b"hello", partition=3)
            async with AIOKafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer:
                consumer.assign([TopicPartition(names[0], 3)])
                return [(await consumer.getone()).value]

        assert asyncio.run(there_and_back()) == [b"hello"]
        pid = broker.pid
    assert is_gone(pid)
    with pytest.raises(BrokerError):
        _ = broker.address
    broker.stop()  # twice is fine


def test_it_starts_again_and_again() -> None:
    for _ in range(10):
        with EmbeddedBroker() as broker:
            warm_up(broker.address, ["again.v1"])


def test_it_ends_when_the_process_that_started_it_is_killed() -> None:
    program = (
        "import time\nfrom streams.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker().start()\nprint(broker.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert is_gone(pid)


def test_a_child_that_dies_at_once_is_reported_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BrokerError, match="did not start in 3 tries"):
        EmbeddedBroker().start()
