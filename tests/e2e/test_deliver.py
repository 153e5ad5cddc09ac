"""`zhinao deliver` as its own process, a real Kafka, a receiver that misbehaves: one effect for each order."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.sinks.deliver import MAX_WAITING, feedback_id
from streams.topics import full_name, partition_for
from tests.e2e.city import Running, running
from tests.kafka.broker import KafkaBroker
from tests.streams.sinks.cards import encoded, order
from tests.streams.sinks.units_system import (
    HOST,
    KEY,
    UnitsSystem,
    accept,
    accept_and_stall_once,
    be_slow,
    first,
    refuse,
    say_nonsense,
    stall,
)

PARTITIONS = 4
WITHIN_S = 90.0
DOWN_S = 20.0
GROWTH_KB = 30_000


class Dispatch:
    """The Desk's topic of orders, a delivery, and a units' system."""

    def __init__(self, kafka: KafkaBroker, prefix: str, run: Running, system: UnitsSystem) -> None:
        self.kafka, self.prefix, self.run, self.system = kafka, prefix, run, system
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0})
        self.delivery: subprocess.Popen[str] | None = None

    def issue(self, order_id: str, incident: str, *, epoch: int = 1, cancelled: bool = False) -> None:
        headers: Any = [("ce_epoch", b"%d" % epoch)]
        key = incident.encode()
        self.producer.produce(
            full_name("dispatch.orders", self.prefix),
            encoded(order(order_id, incident) | {"cancelled": cancelled}),
            key,
            partition_for(key, PARTITIONS),
            headers=headers,
        )

    def sent(self) -> None:
        assert self.producer.flush(30) == 0

    async def start(self, *more: str) -> None:
        """Until it says that it is ready."""
        said = self.log().count("deliver ready")
        arguments = ("deliver", "--to", self.system.url, "--limit", "1s", *more)
        self.delivery = self.run.start(*arguments, name="deliver")
        await self.until(lambda: self.log().count("deliver ready") > said)

    def kill(self) -> None:
        assert self.delivery is not None
        self.delivery.send_signal(signal.SIGKILL)
        self.delivery.wait()

    def log(self) -> str:
        path = self.run.folder / "deliver.log"
        return path.read_text() if path.exists() else ""

    async def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not true():
            assert time.monotonic() < deadline, self.log()[-4000:]
            assert self.delivery is not None
            assert self.delivery.poll() is None, self.log()[-4000:]
            await asyncio.sleep(0.05)

    def refused(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith('{"key"')]

    def feedback(self) -> list[dict[str, Any]]:
        """All that is on its topic, with the id of each record."""
        topic = full_name("dispatch.feedback", self.prefix)
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "reader", "log_level": 0})
        try:
            partitions = [TopicPartition(topic, p, 0) for p in range(PARTITIONS)]
            left = sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
            consumer.assign(partitions)
            found = []
            while left:
                message = consumer.poll(10)
                assert message is not None
                assert message.partition() == 0
                left -= 1
                found.append(json.loads(message.value() or b""))
            return found
        finally:
            consumer.close()


def dispatching(
    kafka: KafkaBroker, prefix: str, folder: Path, check: Callable[[Dispatch], Coroutine[Any, Any, None]]
) -> None:
    async def within() -> None:
        async with UnitsSystem() as system:
            environment = {
                "KAFKA_URL": f"kafka://{kafka.bootstrap}",
                "ZHINAO_TOPIC_PREFIX": prefix,
                "ZHINAO_GROUP": prefix,
                "ZHINAO_DELIVER_KEY": KEY.decode(),
                "ZHINAO_DELIVER_HOSTS": f"{HOST}:{system.port}",
                "ZHINAO_HTTP": "0",
            }
            with running(environment, folder) as run:
                assert run.start("topics", "create", name="topics").wait(60) == 0, run.log("topics")
                dispatch = Dispatch(kafka, prefix, run, system)
                await check(dispatch)
                assert dispatch.delivery is not None
                dispatch.delivery.terminate()
                assert await asyncio.to_thread(dispatch.delivery.wait, 30) == 0, dispatch.log()

    asyncio.run(within())


@pytest.mark.slow
def test_every_order_has_one_effect_whatever_the_receiver_does(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    async def check(dispatch: Dispatch) -> None:
        system = dispatch.system
        system.moods = {
            "i-0": accept_and_stall_once,
            "i-1": first(2, 500),
            "i-2": first(1, 429, {"Retry-After": "2"}),
            "i-3": be_slow,
            "i-4": say_nonsense,
            "i-5": refuse,
            "i-6": first(1, 307, {"Location": "http://127.0.0.1:1/"}),
        }
        await dispatch.start()
        for number in range(40):
            dispatch.issue(f"o-{number}", f"i-{number}")
            if number % 4 == 0:
                dispatch.issue(f"o-{number}", f"i-{number}", cancelled=True)
        for number in range(8, 12):  # the Desk repeats itself under a higher epoch, and a zombie speaks up
            dispatch.issue(f"o-{number}", f"i-{number}", epoch=2)
            dispatch.issue(f"o-zombie-{number}", f"i-{number}", epoch=1)
        dispatch.sent()
        expected = {f"o-{n}" for n in range(40)} | {f"o-{n}/cancelled" for n in range(0, 40, 4)}
        expected -= {"o-5"}
        await dispatch.until(lambda: system.effects.keys() == expected and len(dispatch.refused()) == 1)
        assert system.forged == 0
        assert system.raw["o-5"] == 1
        assert all(system.raw[f"o-{number}"] > 1 for number in (0, 1, 2, 6))
        assert all(system.raw[f"o-{number}"] == 1 for number in range(7, 40))  # also what the Desk repeated
        assert all(keys == sorted(keys) for keys in system.order.values())  # an order before its cancelling
        (refusal,) = dispatch.refused()
        assert (refusal["key"], refusal["status"], refusal["reply"]) == ("o-5", 422, "no such unit; call 138****1234")
        said = {each["feedback_id"]: each for each in dispatch.feedback()}
        accepted = {f"o-{number}" for number in range(40)} - {"o-4", "o-5"}
        assert {each["order_id"] for each in said.values()} == accepted
        assert said.keys() == {feedback_id(order_id, "accepted") for order_id in accepted}

    dispatching(kafka, unique_prefix, tmp_path, check)


@pytest.mark.slow
def test_kills_and_a_receiver_that_is_away_lose_nothing_and_double_no_effect(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    async def check(dispatch: Dispatch) -> None:
        system = dispatch.system
        await dispatch.start()
        issued = 0

        def issue(count: int) -> None:
            nonlocal issued
            for number in range(issued, issued + count):
                dispatch.issue(f"o-{number}", f"i-{number % 50}")
            dispatch.sent()
            issued += count

        system.usual = be_slow
        for _ in range(2):
            issue(60)
            await dispatch.until(lambda: len(system.effects) > issued - 50)
            dispatch.kill()
            await dispatch.start()
        await system.stop()
        issue(60)
        await dispatch.until(lambda: "the circuit opens" in dispatch.log())
        await asyncio.sleep(DOWN_S)
        assert gauge(dispatch, "zhinao_deliver_oldest_seconds") > DOWN_S / 2
        assert gauge(dispatch, "zhinao_deliver_circuit_open") == 1
        assert gauge(dispatch, "zhinao_deliver_waiting") >= 60
        assert re.search(r"\d+ orders wait, the oldest for \d+ s", dispatch.log())
        await system.start()
        await dispatch.until(lambda: len(system.effects) == issued)
        await dispatch.until(lambda: gauge(dispatch, "zhinao_deliver_waiting") == 0)
        assert gauge(dispatch, "zhinao_deliver_circuit_open") == 0
        doubled = {key: times for key, times in system.raw.items() if times > 1}
        assert 0 < len(doubled) < 60, "a kill repeats what was on its way or not committed, and no more"
        assert len({each["feedback_id"] for each in dispatch.feedback()}) == issued

    dispatching(kafka, unique_prefix, tmp_path, check)


@pytest.mark.slow
def test_behind_a_receiver_that_stalls_no_more_than_so_much_is_held(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    count = 3 * MAX_WAITING

    async def check(dispatch: Dispatch) -> None:
        dispatch.system.usual = stall
        for number in range(count):
            dispatch.issue(f"o-{number}", f"i-{number}")
        dispatch.sent()
        await dispatch.start("--since", "1h")
        await dispatch.until(lambda: gauge(dispatch, "zhinao_deliver_waiting") >= MAX_WAITING)
        before_kb = resident_kb(dispatch)
        for _ in range(10):
            await asyncio.sleep(0.5)
            assert gauge(dispatch, "zhinao_deliver_waiting") <= MAX_WAITING + 500
        assert resident_kb(dispatch) < before_kb + GROWTH_KB
        assert dispatch.system.effects == {}
        dispatch.system.usual = accept
        await dispatch.until(lambda: len(dispatch.system.effects) == count)

    dispatching(kafka, unique_prefix, tmp_path, check)


def resident_kb(dispatch: Dispatch) -> int:
    assert dispatch.delivery is not None
    status = Path(f"/proc/{dispatch.delivery.pid}/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0])


def gauge(dispatch: Dispatch, name: str) -> float:
    (address,) = re.findall(r"metrics on (http://\S+)", dispatch.log())[-1:]
    with urllib.request.urlopen(address, timeout=5) as answer:
        text = answer.read().decode()
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "changed", "said"),
    [
        ("http://other.example/orders", {}, "other.example:80 is not on the list ZHINAO_DELIVER_HOSTS"),
        ("ftp://127.0.0.1/", {}, "http:// or https:// only"),
        ("http://127.0.0.1:81/", {"ZHINAO_DELIVER_KEY": ""}, "ZHINAO_DELIVER_KEY"),
    ],
)
def test_what_may_not_be_delivered_to_is_one_line_and_exit_code_2(
    kafka: KafkaBroker, tmp_path: Path, address: str, changed: dict[str, str], said: str
) -> None:
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_DELIVER_KEY": KEY.decode(),
        "ZHINAO_DELIVER_HOSTS": "127.0.0.1:81",
        **changed,
    }
    with running(environment, tmp_path) as run:
        assert run.start("deliver", "--to", address, name="deliver").wait(30) == 2
        log = run.log("deliver")
        assert said in log
        assert log.count("\n") == 1
