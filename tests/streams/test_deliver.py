"""Orders to somebody's server: each has one effect there, whatever that server and ours do on the way."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from streams.clock import WallClock
from streams.publishing import encode
from streams.sinks import deliver
from streams.sinks.deliver import (
    Circuit,
    Courier,
    NoReply,
    Offsets,
    Orders,
    Outcome,
    Parcel,
    Reply,
    feedback_id,
    feedback_of,
    judge,
)
from streams.sinks.delivery import refusal
from streams.sinks.http_receiver import HttpReceiver, ReceiverError, _retry_after_s, checked, pin, signature
from tests.conftest import REPOSITORY
from tests.poison.world import INCIDENT, OPENING_S, ORDER, at_ms, city, good
from tests.streams.sinks.cards import encoded, order
from tests.streams.sinks.units_system import KEY, UnitsSystem, first, say_nonsense, stall
from tests.support import record as raw_record

WITHIN_S = 20.0
NOW_MS = at_ms(0)


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of `dispatch.orders`."""

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = (("ce_epoch", b"1"),)
    timestamp: int = NOW_MS
    offset: int = 0


def told(order_id: str, incident: str = "i-1", *, epoch: int = 1, cancelled: bool = False) -> Sent:
    body = order(order_id, incident) | {"cancelled": cancelled}
    return Sent(encoded(body), (("ce_epoch", b"%d" % epoch),))


def parcel(order_id: str = "o-1", incident: str = "i-1", offset: int = 0, *, cancelled: bool = False) -> Parcel:
    taken = Orders().take(told(order_id, incident, cancelled=cancelled), ("p", offset))
    assert taken is not None
    return taken


def run(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(WITHIN_S):
            await check()

    asyncio.run(within())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "FIRST_PAUSE_S", 0.01)


# ------------------------------------------------------------------------------------------------------------- reading


def test_an_order_and_its_cancelling_are_each_taken_once() -> None:
    orders = Orders()
    records = [told("o-1"), told("o-1"), told("o-1", cancelled=True), told("o-1", cancelled=True), told("o-2")]
    taken = [orders.take(each, ("p", n)) for n, each in enumerate(records)]
    assert [each.key if each else None for each in taken] == ["o-1", None, "o-1/cancelled", None, "o-2"]
    assert orders.counts == {"repeated": 2}


def test_a_lower_epoch_is_ignored_in_its_partition_and_in_no_other() -> None:
    orders = Orders()
    assert orders.take(told("o-1", epoch=2), ("p", 0)) is not None
    assert orders.take(told("o-zombie", epoch=1), ("p", 1)) is None
    assert orders.take(told("o-unread", epoch=1), ("q", 0)) is not None
    assert orders.take(told("o-1", epoch=3), ("p", 2)) is None
    assert orders.counts == {"old_epoch": 1, "repeated": 1}


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[]"])
def test_what_is_no_order_is_counted_and_passed_by(value: bytes | None) -> None:
    orders = Orders()
    assert orders.take(Sent(value), ("p", 0)) is None
    assert orders.counts == {"unreadable": 1}


def test_what_was_not_delivered_is_taken_again_when_it_is_read_again() -> None:
    orders = Orders()
    taken = orders.take(told("o-1"), ("p", 0))
    assert taken is not None
    orders.untake([taken])
    assert orders.take(told("o-1"), ("p", 0)) is not None


def test_offsets_are_free_up_to_the_first_order_that_is_not_done() -> None:
    offsets = Offsets()
    offsets.begin("p", 5)
    assert offsets.committable() == {"p": 5}
    for offset, done in ((5, False), (6, True), (8, False)):
        offsets.read("p", offset, done=done)
    assert offsets.committable() == {"p": 5}
    offsets.done("p", 5)
    assert offsets.committable() == {"p": 8}
    offsets.done("p", 8)
    assert offsets.committable() == {"p": 9}
    offsets.forget("p")
    offsets.done("p", 8)
    assert offsets.committable() == {}


# ------------------------------------------------------------------------------------------------------------- judging


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        (Outcome.DELIVERED, [200, 201, 202, 204]),
        (Outcome.KNOWN, [409]),
        (Outcome.REFUSED, [400, 401, 403, 404, 410, 422]),
        (Outcome.RETRY, [301, 302, 307, 408, 425, 429, 500, 502, 503, 504]),
    ],
)
def test_an_answer_says_whether_the_order_is_done(outcome: Outcome, statuses: list[int]) -> None:
    assert [judge(status) for status in statuses] == [outcome] * len(statuses)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("100000", 120.0),
        ("99999999999999999999", 120.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("", 0.0),
        ("-3", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_honoured_up_to_a_limit(text: str, seconds: float) -> None:
    assert _retry_after_s(text, 10.0) == seconds


# ------------------------------------------------------------------------------------------------------------- courier


class Told:
    """A receiver that answers each key from a list of statuses, then 200."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {key.replace("_", "-"): list(given) for key, given in answers.items()}
        self.posts: list[str] = []
        self.at_once = self.most = 0
        self.held = asyncio.Event()
        self.hold = ""

    async def post(self, parcel: Parcel) -> Reply:
        self.posts.append(parcel.key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.hold and parcel.key.startswith(self.hold):
                await self.held.wait()
            answer = self.answers.get(parcel.key, []) and self.answers[parcel.key].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return Reply(int(answer) if answer else 200)
        finally:
            self.at_once -= 1


class Office:
    """A courier with a receiver that does as it is told, and what was done."""

    def __init__(self, receiver: Told, circuit: Circuit | None = None, *, parallel: int = 8) -> None:
        self.receiver, self.done, self.outcomes = receiver, list[str](), list[Outcome]()
        self.courier = Courier(receiver, circuit or Circuit(WallClock(), failures=99), self._done, parallel=parallel)

    async def _done(self, parcel: Parcel, outcome: Outcome, reply: Reply) -> None:
        self.done.append(parcel.key)
        self.outcomes.append(outcome)

    async def all_done(self) -> None:
        while self.courier.waiting:
            await asyncio.sleep(0.002)


def test_orders_of_one_incident_go_in_turn_and_others_do_not_wait_for_them() -> None:
    async def check() -> None:
        office = Office(Told(o_1=[500, NoReply("silent"), 302]))
        office.courier.put(parcel("o-1", "i-1"))
        office.courier.put(parcel("o-1", "i-1", cancelled=True))
        office.courier.put(parcel("o-2", "i-2"))
        await office.all_done()
        assert office.done == ["o-2", "o-1", "o-1/cancelled"]
        assert office.receiver.posts.count("o-1") == 4
        assert office.courier.counts == {"retry": 3, "no_reply": 1, "delivered": 3}

    run(check)


def test_a_refused_order_is_done_and_so_is_a_known_one() -> None:
    async def check() -> None:
        office = Office(Told(o_1=[422], o_2=[409]))
        for number in (1, 2):
            office.courier.put(parcel(f"o-{number}", f"i-{number}"))
        await office.all_done()
        assert dict(zip(office.done, office.outcomes, strict=True)) == {"o-1": Outcome.REFUSED, "o-2": Outcome.KNOWN}

    run(check)


def test_so_many_are_on_their_way_at_once_and_no_more() -> None:
    async def check() -> None:
        office = Office(Told(), parallel=3)
        for number in range(40):
            office.courier.put(parcel(f"o-{number}", f"i-{number}"))
        await office.all_done()
        assert office.receiver.most == 3
        assert len(office.done) == 40

    run(check)


def test_a_slow_unit_holds_up_its_own_incident_only() -> None:
    async def check() -> None:
        office = Office(Told(), parallel=2)
        office.receiver.hold = "o-slow"
        office.courier.put(parcel("o-slow", "i-slow"))
        for number in range(20):
            office.courier.put(parcel(f"o-{number}", f"i-{number}"))
        while len(office.done) < 20:
            await asyncio.sleep(0.002)
        assert office.courier.waiting == 1
        office.receiver.held.set()
        await office.all_done()

    run(check)


def test_what_cannot_be_noted_as_done_ends_the_courier_and_stays_undone() -> None:
    async def check() -> None:
        async def broken(*_: object) -> None:
            raise OSError("no broker")

        courier = Courier(Told(), Circuit(WallClock()), broken)
        courier.put(parcel())
        with pytest.raises(OSError, match="no broker"):
            await courier.failed
        assert courier.waiting == 1

    run(check)


def test_what_goes_with_its_partition_is_given_back() -> None:
    async def check() -> None:
        office = Office(Told())
        office.receiver.hold = "o-1"
        office.courier.put(parcel("o-1", "i-1"))
        office.courier.put(parcel("o-1", "i-1", cancelled=True))
        await asyncio.sleep(0.01)
        assert await office.courier.forget(["another"]) == []
        assert [each.key for each in await office.courier.forget(["p"])] == ["o-1", "o-1/cancelled"]
        assert (office.courier.waiting, office.done) == (0, [])

    run(check)


# ------------------------------------------------------------------------------------------------------------- circuit


def test_the_circuit_opens_after_failures_in_a_row_and_one_probe_closes_it() -> None:
    async def check() -> None:
        circuit = Circuit(WallClock(), failures=3, open_s=0.2)
        receiver = Told(**{f"o_{n}": [500] for n in range(3)})
        office = Office(receiver, circuit)
        for number in range(3):
            office.courier.put(parcel(f"o-{number}", f"i-{number}"))
        while not circuit.is_open:
            await asyncio.sleep(0.001)
        for number in range(3, 9):
            office.courier.put(parcel(f"o-{number}", f"i-{number}"))
        receiver.hold, posts = "o-", len(receiver.posts)
        await asyncio.sleep(0.1)
        assert len(receiver.posts) == posts == 3  # open: nobody goes
        await asyncio.sleep(0.3)
        assert len(receiver.posts) == posts + 1  # the probe, alone
        receiver.held.set()
        await office.all_done()
        assert (circuit.is_open, circuit.openings, len(office.done)) == (False, 1, 9)

    run(check)


def test_a_probe_that_fails_keeps_the_circuit_open_for_twice_as_long() -> None:
    async def check() -> None:
        circuit = Circuit(WallClock(), failures=1, open_s=0.05, longest_s=0.2)
        office = Office(Told(o_1=[500, 500, 500, 500]), circuit)
        began = time.monotonic()
        office.courier.put(parcel("o-1"))
        await office.all_done()
        assert time.monotonic() - began > 0.05 + 0.1 + 0.2 + 0.2
        assert circuit.openings == 1

    run(check)


# ------------------------------------------------------------------------------------------------------------ feedback


def replied(**body: object) -> Reply:
    return Reply(200, json.dumps(body).encode())


def test_what_a_reply_says_of_its_order_becomes_feedback() -> None:
    said = feedback_of(parcel(), replied(action="accepted", note="在路上"), NOW_MS)
    assert said is not None
    assert (said.feedback_id, said.order_id, said.incident_id) == (feedback_id("o-1", "accepted"), "o-1", "i-1")
    assert (said.action, said.actor, said.time, said.note) == ("accepted", "u-1", NOW_MS, "在路上")
    named = feedback_of(parcel(), replied(action="arrived", actor="u-9", time=NOW_MS - 5000), NOW_MS)
    assert named is not None
    assert (named.actor, named.time) == ("u-9", NOW_MS - 5000)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b'{"action":1}', b'{"action":"gone"}', b'"accepted"', b"<html>", b"[" * 9999]
)
def test_any_other_reply_says_nothing(body: bytes) -> None:
    assert feedback_of(parcel(), Reply(200, body), NOW_MS) is None


@pytest.mark.parametrize(("at", "expected"), [("soon", NOW_MS), (10**30, NOW_MS), (NOW_MS + 10**6, NOW_MS)])
def test_a_time_that_is_none_or_to_come_is_now(at: object, expected: int) -> None:
    said = feedback_of(parcel(), replied(action="accepted", time=at, actor="a" * 500), NOW_MS)
    assert said is not None
    assert (said.time, said.actor) == (expected, "u-1")


def test_what_is_said_of_an_order_taken_back_is_not_passed_on() -> None:
    assert feedback_of(parcel(cancelled=True), replied(action="accepted"), NOW_MS) is None


def test_a_callback_before_the_reply_and_a_doubled_reply_have_one_effect_at_the_desk() -> None:
    desk = city().desk()
    desk.feed("detections", [good("detections", OPENING_S)])
    issued = parcel(ORDER, INCIDENT)
    answers = [feedback_of(issued, replied(action="accepted"), NOW_MS + n * 1000) for n in range(3)]
    fed = [
        desk.feed("dispatch.feedback", [raw_record(encode(said), key=b"pinghu", offset=n)])
        for n, said in enumerate(answers)
        if said is not None
    ]
    assert [(outcome.counts.get("used", 0), outcome.counts.get("duplicate", 0)) for outcome in fed] == [
        (1, 0),
        (0, 1),
        (0, 1),
    ]
    assert [len(outcome.outputs) > 0 for outcome in fed] == [True, False, False]


def test_a_refusal_has_the_whole_order_and_no_phone_number() -> None:
    line = json.loads(refusal(parcel(), Reply(422, "打 13800001234".encode())))
    assert (line["key"], line["status"], line["order"]["order_id"]) == ("o-1", 422, "o-1")
    assert line["reply"] == "打 138****1234"


# ---------------------------------------------------------------------------------------------------------------- HTTP

HOSTS = ("units.example", "127.0.0.1:8080", "[::1]:9000", "plain.example:81")


@pytest.mark.parametrize(
    "address",
    [
        "https://units.example/orders",
        "http://units.example:80/",
        "https://UNITS.example:443",
        "http://127.0.0.1:8080/x?y=1",
        "http://[::1]:9000/",
        "http://plain.example:81",
    ],
)
def test_orders_go_to_hosts_of_the_list(address: str) -> None:
    assert checked(address, HOSTS).host


@pytest.mark.parametrize(
    "address",
    [
        "http://other.example/",
        "http://units.example:8080/",
        "http://units.example.evil.example/",
        "http://plain.example/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8081/",
        "http://2130706433:8080/",
        "http://0x7f000001:8080/",
        "http://127.1:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
        "http://user:secret@units.example/",
        "http://units.example@other.example/",
        "file:///etc/passwd",
        "ftp://units.example/",
        "units.example/orders",
        "http:///orders",
        "",
    ],
)
def test_orders_go_nowhere_else(address: str) -> None:
    with pytest.raises(ReceiverError):
        checked(address, HOSTS)


def test_an_empty_list_lets_nothing_out() -> None:
    with pytest.raises(ReceiverError, match="ZHINAO_DELIVER_HOSTS"):
        checked("http://units.example/", ())


def test_the_address_of_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        asked: list[str] = []
        loop = asyncio.get_running_loop()

        async def rebinding(host: str, port: int, **_: object) -> list[Any]:
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "127.0.0.9", port))]

        async with UnitsSystem() as system:
            monkeypatch.setattr(loop, "getaddrinfo", rebinding)
            address = f"http://units.example:{system.port}/"
            receiver = await HttpReceiver.open(address, [f"units.example:{system.port}"], KEY)
            async with receiver:
                for number in range(3):
                    assert (await receiver.post(parcel(f"o-{number}"))).status == 202
                    await system.stop()  # the connection goes, and the next attempt makes another
                    await system.start()
            assert asked == ["units.example"]
            assert len(system.effects) == 3

    run(check)


def test_a_name_without_an_address_is_an_error() -> None:
    with pytest.raises(ReceiverError, match="has no address"):
        asyncio.run(pin(URL("http://nobody.invalid/")))


def receive(check: Callable[[UnitsSystem, HttpReceiver], Coroutine[Any, Any, None]], limit_s: float = 5.0) -> None:
    async def within() -> None:
        async with UnitsSystem() as system:
            hosts = [f"127.0.0.1:{system.port}"]
            async with await HttpReceiver.open(system.url, hosts, KEY, limit_s=limit_s) as receiver:
                await check(system, receiver)

    run(within)


def test_an_order_is_posted_as_it_was_published_and_signed() -> None:
    async def check(system: UnitsSystem, receiver: HttpReceiver) -> None:
        reply = await receiver.post(parcel())
        assert (reply.status, json.loads(reply.body)["action"], system.forged) == (202, "accepted", 0)
        assert system.effects["o-1"] == order("o-1", "i-1")
        assert (await receiver.post(parcel())).status == 409

    receive(check)


def test_a_signature_is_of_this_order_key_and_second() -> None:
    made = signature(KEY, 100, "o-1", b"{}")
    assert made == "t=100,v1=" + made.partition("v1=")[2]
    others = [(b"another secret of some length", 100, "o-1", b"{}"), (KEY, 101, "o-1", b"{}"),
              (KEY, 100, "o-2", b"{}"), (KEY, 100, "o-1", b"{ }")]  # fmt: skip
    assert len({made.partition("v1=")[2], *(signature(*other).partition("v1=")[2] for other in others)}) == 5


def test_what_the_docs_tell_receivers_to_compute_is_what_we_compute() -> None:
    page = (REPOSITORY / "docs" / "deliver.md").read_text(encoding="utf-8")
    told: dict[str, Any] = {}
    for script in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(script, told)
    now_s = int(time.time())
    assert told["genuine"](KEY, signature(KEY, now_s, "o-1", b"{}"), "o-1", b"{}")
    assert not told["genuine"](KEY, signature(KEY, now_s, "o-1", b"{}"), "o-2", b"{}")
    assert not told["genuine"](KEY, signature(KEY, now_s - 900, "o-1", b"{}"), "o-1", b"{}")
    assert told["feedback_id"]("o-1", "accepted") == feedback_id("o-1", "accepted")


def test_a_redirect_is_not_followed() -> None:
    async def check(system: UnitsSystem, receiver: HttpReceiver) -> None:
        async with UnitsSystem() as elsewhere:

            async def redirect(_: UnitsSystem, key: str) -> web.StreamResponse:
                return web.Response(status=307, headers={"Location": elsewhere.url})

            system.usual = redirect
            assert (await receiver.post(parcel())).status == 307
            assert elsewhere.raw == {}

    receive(check)


@pytest.mark.alone
def test_a_reply_is_bounded_in_time_and_in_bytes() -> None:
    async def check(system: UnitsSystem, receiver: HttpReceiver) -> None:
        system.usual = say_nonsense
        assert await receiver.post(parcel()) == Reply(200, b"")

        system.usual = stall
        began = time.monotonic()
        with pytest.raises(NoReply):
            await receiver.post(parcel())
        assert time.monotonic() - began < 2.0

    receive(check, limit_s=0.5)


def test_nobody_there_is_no_reply_and_what_the_server_asks_for_is_heard() -> None:
    async def check(system: UnitsSystem, receiver: HttpReceiver) -> None:
        system.usual = first(1, 429, {"Retry-After": "7"})
        assert await receiver.post(parcel()) == Reply(429, b"", 7.0)
        await system.stop()
        with pytest.raises(NoReply):
            await receiver.post(parcel())

    receive(check)
