"""`zhinao deliver`: orders to the units' own system, see streams.sinks.delivery."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.durations import DURATION
from streams.commands.failing import CannotRun
from streams.commands.findings import counted
from streams.commands.stopping import stop_wished

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.sinks.delivery import Delivery


@click.command()
@broker_option
@click.option("--to", "address", required=True, metavar="URL", help="Where each order is POSTed.")
@click.option(
    "--since", type=DURATION, default="1h", show_default=True, help="How old orders to begin with, the first time."
)
@click.option("--limit", type=DURATION, default="10s", show_default=True, help="Time for the whole of an attempt.")
def deliver(broker: str | None, address: str, since: float, limit: float) -> None:
    """派单外送 / Deliver the orders to the units' own system, until stopped: each is POSTed as JSON until it is taken.

    Signed with ZHINAO_DELIVER_KEY, only to hosts of ZHINAO_DELIVER_HOSTS. 2xx and 409 are done, other 4xx are refused
    for good: one JSON line each on stdout. Everything else is tried again. See docs/deliver.md.
    """
    from streams import logs

    at = Connection.open(broker)
    key = at.settings.deliver_key
    if key is None:
        raise CannotRun("orders are signed: set ZHINAO_DELIVER_KEY to a secret that the receiver knows")
    logs.install(at.settings.log_format, at.settings.timezone)
    with stop_wished() as stop:
        asyncio.run(_deliver(at, address, key.get_secret_value().encode(), since, limit, stop))


async def _deliver(at: Connection, address: str, key: bytes, since_s: float, limit_s: float, stop: Event) -> None:
    from aiokafka.errors import KafkaError

    from streams.clock import WallClock
    from streams.producer import Producer, SendError
    from streams.sinks.delivery import Delivery
    from streams.sinks.http_receiver import HttpReceiver, ReceiverError

    try:
        receiver = await HttpReceiver.open(address, at.settings.deliver_hosts, key, limit_s=limit_s)
    except ReceiverError as why:
        raise CannotRun(str(why)) from None
    try:
        async with receiver, Producer(at.servers, options=at.client_options()) as producer:
            run = Delivery(at.settings, receiver, producer, WallClock(), since_s=since_s, refused=_print)
            with _measured(at.settings, run):
                await run.run(stop, _say_ready)
    except (KafkaError, SendError) as why:
        raise CannotRun(f"{type(why).__name__}: {why}; the next start goes on from what was delivered") from why
    click.echo(run.summary(), err=True)


def _say_ready(partitions: int) -> None:
    click.echo(f"deliver ready: {counted(partitions, 'partition')}", err=True)


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def _measured(settings: Settings, run: Delivery) -> Iterator[None]:
    """Metrics over HTTP, where ZHINAO_HTTP says so."""
    if settings.http is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    from streams.sinks.delivery import Readings

    registry = CollectorRegistry()
    registry.register(Readings(run))
    host, _, port = settings.http.rpartition(":")
    try:
        server, _ = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except OSError as why:
        raise CannotRun(f"ZHINAO_HTTP: cannot listen on {settings.http}: {why.strerror}") from why
    click.echo(f"metrics on http://{host}:{server.server_port}/metrics", err=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
