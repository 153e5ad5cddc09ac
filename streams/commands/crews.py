"""`zhinao crews`: the simulated field units as a process, see streams.crews."""

import time
from typing import Any

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.failing import CannotRun
from streams.commands.stopping import stop_wished

POLL_MS = 100
ACK_LIMIT_S = 30.0


@click.command()
@broker_option
def crews(broker: str | None) -> None:
    """模拟处置队伍 / Simulated field units: they accept orders, arrive, handle, and sometimes send one back.

    What a unit does follows from the id of its order alone. With ZHINAO_CLOCK=stream their time is that of the ticks in
    the data, else the wall clock. They read their topics from the start and keep nothing.
    """
    import msgspec
    from kafka import KafkaProducer

    from geo.check import load_registry
    from models.problems import failed
    from models.times import format_time, zone_info
    from rules.crews import Crews
    from streams.commands.reading import Reader, tick_ms
    from streams.crews import CLOCK_TOPIC, READS, Answer, Dispatched
    from streams.producer import event_headers
    from streams.publishing import CENTRE_PARTITION
    from streams.topics import full_name

    at = Connection.open(broker)
    settings = at.settings
    found, problems = load_registry((settings.registry,))
    if failed(problems):
        raise CannotRun("the registry has errors, see: zhinao registry check")
    told = Dispatched(Crews(units=tuple(found.units.values()), centre=settings.centre))
    by_ticks, zone = settings.clock == "stream", zone_info(settings.timezone)
    now_us, unreadable, answered = 0, 0, 0

    def send(producer: Any, answer: Answer) -> Any:
        headers = event_headers(
            event_id=answer.id,
            source=f"/{at.prefix}/crews",
            event_type=f"{at.prefix}.{answer.topic}.v1",
            time=format_time(answer.time_ms * 1000, zone),
        )
        return producer.send(
            full_name(answer.topic, at.prefix),
            key=answer.key.encode(),
            value=answer.value,
            partition=CENTRE_PARTITION,
            headers=list(headers),
            timestamp_ms=now_us // 1000,
        )

    topics = (*READS, CLOCK_TOPIC) if by_ticks else READS
    producer = KafkaProducer(**at.options(), acks="all", enable_idempotence=True, linger_ms=5, compression_type="lz4")
    with stop_wished() as stop, Reader(at, topics, from_start=True, ticks=True) as reader:
        click.echo(f"crews ready: {len(found.units)} units", err=True)
        while not stop.is_set():
            for topic, record in reader.poll(POLL_MS):
                if topic != CLOCK_TOPIC:
                    try:
                        told.see(topic, (record.key or b"").decode(), record.value)
                    except (msgspec.MsgspecError, ValueError):
                        unreadable += 1
                elif (at_ms := tick_ms(record)) is not None:
                    now_us = max(now_us, at_ms * 1000)
            if not by_ticks:
                now_us = time.time_ns() // 1000
            sent = [send(producer, answer) for answer in told.answers(now_us)]
            for future in sent:
                future.get(timeout=ACK_LIMIT_S)
            answered += len(sent)
    producer.close(timeout=5)
    click.echo(f"{answered} answers, {unreadable} records not understood", err=True)
