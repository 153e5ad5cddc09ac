"""From `dispatch.orders` to the receiver and, as feedback, back: a consumer group of its own.

Offsets are committed behind what was delivered, so a process that is killed delivers a little again, under the same
keys. Where the group has read before, the last records before that are read once more, and teach which epoch counts
and which orders were delivered; they are not sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from math import inf
from threading import Event
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.privacy import mask_text
from models.times import format_time, zone_info
from streams.clock import Clock
from streams.producer import Outgoing, Producer, event_headers
from streams.publishing import CENTRE_PARTITION, encode
from streams.settings import Settings, client_options
from streams.sinks.deliver import Circuit, Courier, Offsets, Orders, Outcome, Parcel, Receiver, Reply, feedback_of
from streams.topics import full_name

log = logging.getLogger(__name__)

ORDERS, FEEDBACK = "dispatch.orders", "dispatch.feedback"
POLL_MS, POLL_RECORDS = 200, 500
COMMIT_EVERY_S = 1.0
LOOK_BACK = 500
# Orders on their way when we are told to stop may still arrive; what does not is delivered by the next start.
FINISH_WITHIN_S = 3.0
OLD_S, TELL_EVERY_S = 10.0, 30.0
MAX_REPLY_SHOWN = 500


class Numbers(NamedTuple):
    """What another thread may look at."""

    waiting: int = 0
    oldest_s: float = 0.0
    circuit_open: bool = False


class Delivery:
    """Runs until told to stop. `refused` is given a JSON line for each order that was refused for good."""

    def __init__(
        self,
        settings: Settings,
        receiver: Receiver,
        producer: Producer,
        clock: Clock,
        *,
        since_s: float,
        refused: Callable[[bytes], None],
    ) -> None:
        self._settings, self._producer, self._clock = settings, producer, clock
        self._since_s, self._refused = since_s, refused
        self._zone = zone_info(settings.timezone)
        self.circuit = Circuit(clock)
        self.courier = Courier(receiver, self.circuit, self._done)
        self.orders, self.offsets = Orders(), Offsets()
        self.fed_back = 0
        self.numbers = Numbers()
        self._begin: dict[TopicPartition, int] = {}
        self._committed: dict[Any, int] = {}
        self._consumer: Any = None
        self._committed_s, self._told_s = clock.monotonic_s(), -inf
        self._was_open = False

    async def run(self, stop: Event, on_ready: Callable[[int], None]) -> None:
        """Raises SendError, where a feedback cannot be sent, and KafkaError. `on_ready` is told how many partitions."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.servers,
            group_id=f"{self._settings.group}.deliver",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **client_options(self._settings),
        )
        await self._consumer.start()
        try:
            shared = _Shared(self, on_ready)
            self._consumer.subscribe([full_name(ORDERS, self._settings.topic_prefix)], listener=shared)
            while not stop.is_set():
                await self._step()
            await self._finish()
        finally:
            await self.courier.forget()
            await self._consumer.stop()

    @property
    def oldest_s(self) -> float:
        """How long the oldest order that waits has been issued; 0 if none waits."""
        since_us = self.courier.oldest_us()
        return 0.0 if since_us is None else max(0.0, (self._clock.now_us() - since_us) / 1e6)

    async def _step(self) -> None:
        assigned = self._consumer.assignment()
        if self.courier.full:
            self._consumer.pause(*assigned)
        else:
            self._consumer.resume(*self._consumer.paused())
        for tp, records in (await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)).items():
            # aiokafka may hand out some before `assigned` knows where to begin: its seek follows, and they come again.
            for record in records if tp in self._begin else ():
                self._read(tp, record)
        if self.courier.failed.done():
            self.courier.failed.result()
        self._tell()
        if self._clock.monotonic_s() - self._committed_s >= COMMIT_EVERY_S:
            await self.commit()

    def _read(self, tp: TopicPartition, record: Any) -> None:
        parcel = self.orders.take(record, (tp, record.offset))
        if record.offset < self._begin[tp]:
            return
        self.offsets.read(tp, record.offset, done=parcel is None)
        if parcel is not None:
            self.courier.put(parcel)

    async def _done(self, parcel: Parcel, outcome: Outcome, reply: Reply) -> None:
        if outcome is Outcome.REFUSED:
            self._refused(refusal(parcel, reply))
            log.warning("order %s was refused for good: HTTP %d", parcel.key, reply.status)
        else:
            await self._feed_back(parcel, reply)
        self.offsets.done(*parcel.place)

    async def _feed_back(self, parcel: Parcel, reply: Reply) -> None:
        now_us = self._clock.now_us()
        said = feedback_of(parcel, reply, now_us // 1000)
        if said is None:
            return
        prefix = self._settings.topic_prefix
        headers = event_headers(
            event_id=said.feedback_id,
            source=f"/{prefix}/deliver",
            event_type=f"{prefix}.{FEEDBACK}.v1",
            time=format_time(now_us, self._zone),
        )
        key, value = self._settings.centre.encode(), encode(said)
        await self._producer.send_batch([Outgoing(full_name(FEEDBACK, prefix), value, key, headers, CENTRE_PARTITION)])
        self.fed_back += 1

    # offsets

    async def commit(self) -> None:
        """What is done. A failure is no harm: it is tried again, and what is read again has its keys."""
        self._committed_s = self._clock.monotonic_s()
        ours = self._consumer.assignment()
        found = {tp: at for tp, at in self.offsets.committable().items() if self._committed.get(tp) != at}
        if not (found := {tp: at for tp, at in found.items() if tp in ours}):
            return
        try:
            await self._consumer.commit(found)
            self._committed |= found
        except (KafkaError, IllegalStateError) as why:
            log.warning("offsets were not committed: %s: %s", type(why).__name__, why)

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Where to begin, and what to learn from before."""
        first = await self._consumer.beginning_offsets(partitions)
        for tp in partitions:
            committed = await self._consumer.committed(tp)
            begin = await self._since(tp) if committed is None else committed
            self._begin[tp] = max(begin, first[tp])
            self.offsets.begin(tp, self._begin[tp])
            self._consumer.seek(tp, max(first[tp], self._begin[tp] - LOOK_BACK))

    async def _since(self, tp: TopicPartition) -> int:
        """The first order that is not too old, where the group has never read."""
        if self._settings.embedded:  # it knows no times
            return 0
        at_ms = self._clock.now_us() // 1000 - round(self._since_s * 1000)
        found = (await self._consumer.offsets_for_times({tp: at_ms}))[tp]
        return int((await self._consumer.end_offsets([tp]))[tp] if found is None else found.offset)

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Others go on from what was done."""
        self.orders.untake(await self.courier.forget(partitions))
        await self.commit()
        for tp in partitions:
            self.offsets.forget(tp)
            self._begin.pop(tp, None)
            self._committed.pop(tp, None)

    async def _finish(self) -> None:
        await self.courier.settle(FINISH_WITHIN_S)
        await self.commit()

    # telling

    def _tell(self) -> None:
        self.numbers = Numbers(self.courier.waiting, self.oldest_s, self.circuit.is_open)
        if self.circuit.is_open != self._was_open:
            self._was_open = self.circuit.is_open
            what = "opens: the receiver is in trouble" if self._was_open else "closes: the receiver takes orders again"
            log.warning("the circuit %s; %d orders wait", what, self.courier.waiting)
        now_s = self._clock.monotonic_s()
        if self.oldest_s > OLD_S and now_s - self._told_s > TELL_EVERY_S:
            self._told_s = now_s
            log.warning("%d orders wait, the oldest for %.0f s", self.courier.waiting, self.oldest_s)

    def summary(self) -> str:
        """What this process did, in one line."""
        counts = self.courier.counts
        done = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
        return f"{done}, {self.fed_back} feedbacks, {self.courier.waiting} waiting"


def refusal(parcel: Parcel, reply: Reply) -> bytes:
    """A JSON line about an order that was refused, with all it takes to deliver it by hand."""
    return orjson.dumps(
        {
            "key": parcel.key,
            "outcome": str(Outcome.REFUSED),
            "status": reply.status,
            "reply": mask_text(reply.body.decode(errors="replace")[:MAX_REPLY_SHOWN]),
            "order": orjson.Fragment(parcel.body),
        }
    )


class _Shared(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a delivery which partitions are its."""

    def __init__(self, delivery: Delivery, on_ready: Callable[[int], None]) -> None:
        self._delivery, self._on_ready = delivery, on_ready
        self._ready = False

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._delivery.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._delivery.assigned(assigned)
        if not self._ready:
            self._ready = True
            self._on_ready(len(assigned))


class Readings(Collector):
    """A delivery's numbers for Prometheus, read when somebody looks."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def collect(self) -> Iterator[Metric]:
        run = self._delivery
        attempts = CounterMetricFamily(
            "zhinao_deliver_attempts", "派单外送的尝试 / attempts to deliver an order", labels=["outcome"]
        )
        for outcome in Outcome:
            attempts.add_metric([outcome], run.courier.counts[outcome])
        yield attempts
        skipped = CounterMetricFamily("zhinao_deliver_skipped", "不送的记录 / records not delivered", labels=["cause"])
        for cause in ("old_epoch", "repeated", "unreadable"):
            skipped.add_metric([cause], run.orders.counts[cause])
        yield skipped
        for name, text, value in (
            ("waiting", "未送达的派单 / orders not delivered yet", run.numbers.waiting),
            ("oldest_seconds", "最早未送达的派单已多久 / age of the oldest of them", run.numbers.oldest_s),
            ("circuit_open", "1 为断路 / 1: the circuit is open", run.numbers.circuit_open),
        ):
            yield GaugeMetricFamily(f"zhinao_deliver_{name}", text, value=float(value))
