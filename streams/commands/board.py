"""`zhinao board`: the live board of the city, shown or kept."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.failing import CannotRun
from streams.commands.stopping import stop_wished

if TYPE_CHECKING:
    from streams.commands.reading import Reader
    from streams.settings import Settings
    from streams.sinks.board import View
    from streams.sinks.keeper import Keeper

DRAW_S = 1.0
# Newest states are read from the start; of what is kept for a week or a year, so many records of each partition.
LAST_RECORDS = 20_000
# The past is read when its end is reached, or when the broker has brought nothing of it for so long.
QUIET_S = 10.0
# A board whose topics bring nothing is fresh as long as their broker answers: asked so often, with so much patience.
ASK_EVERY_S, ANSWER_LIMIT_MS = 3.0, 3000


@click.command()
@click.option("--serve", is_flag=True, help="Keep the board in Redis (REDIS_URL), from the topics, until stopped.")
@click.option("--json", "as_json", is_flag=True, help="The board as one JSON object, once.")
@click.option("--once", is_flag=True, help="Once: show it and end; with --serve write it and end.")
@click.option("--lang", type=click.Choice(("zh", "en")), help="Language of texts; default: that of LANG.")
@broker_option
def board(serve: bool, as_json: bool, once: bool, lang: str | None, broker: str | None) -> None:
    """城市看板 / The live board of the city: its incidents, the gravest first, and where its units are.

    It is read from Redis if REDIS_URL is set and no --broker is given, else built from the topics. In a terminal it is
    drawn anew every second until Ctrl-C. Redis is never the truth: when it is down or emptied, --serve goes on and
    writes everything again, and no incident notices.
    """
    from streams.settings import Settings

    if serve and as_json:
        raise click.UsageError("--json shows the board, --serve keeps it: one of them")
    settings = Settings.read()
    if serve and settings.redis_url is None:
        raise CannotRun("--serve keeps the board in Redis: set REDIS_URL=redis://host:port/0")
    from models.times import zone_info

    spoken = lang or ("zh" if os.environ.get("LANG", "").startswith("zh") else "en")
    zone = zone_info(settings.timezone)
    draw = _json(zone) if as_json else _drawing(settings, spoken, zone)
    once = once or as_json or (not serve and not sys.stdout.isatty())
    with stop_wished() as stop:
        if not serve and broker is None and settings.redis_url is not None:
            asyncio.run(_from_redis(settings, settings.redis_url, draw, stop, once=once))
            return
        at = Connection.open(broker)
        with _reader(at) as reader:
            if serve:
                asyncio.run(_serve(at, settings.redis_url or "", reader, stop, once=once))
            else:
                asyncio.run(_from_topics(at, reader, draw, stop, once=once))


# ------------------------------------------------------------------------------------------------------------- showing

Draw = Callable[[Callable[[], "Awaitable[View]"], Event, bool], Awaitable[None]]


def _json(zone: tzinfo) -> Draw:
    async def draw(read: Callable[[], Awaitable[View]], _stop: Event, _once: bool) -> None:
        from streams.commands.board_screen import as_json

        click.echo(as_json(await read(), zone))

    return draw


def _drawing(settings: Settings, lang: str, zone: tzinfo) -> Draw:
    async def draw(read: Callable[[], Awaitable[View]], stop: Event, once: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        from rules.tables.load import read_tables
        from streams.commands.board_screen import drawn

        tables, _ = read_tables(settings.tables)
        types = {} if tables is None else {code: str(getattr(of.name, lang)) for code, of in tables.types.items()}
        console = Console()
        if not console.is_terminal:
            console.width = 200  # a pipe or a file has room; eighty columns would cut every place
        shown = drawn(await read(), lang, types, zone)
        if once:
            console.print(shown)
            return
        with Live(shown, console=console, auto_refresh=False, screen=False) as live:
            while not await asyncio.to_thread(stop.wait, DRAW_S):
                live.update(drawn(await read(), lang, types, zone), refresh=True)

    return draw


async def _from_redis(settings: Settings, url: str, draw: Draw, stop: Event, *, once: bool) -> None:
    from streams.sinks.redis_board import TROUBLE, BoardLost, RedisBoard

    last: View | None = None

    async def read() -> View:
        """What was there last, if Redis has gone meanwhile: it says itself how old it is."""
        nonlocal last
        try:
            last = await kept.read()
        except (*TROUBLE, BoardLost):
            if last is None:
                raise
        return last

    async with RedisBoard(url, settings.topic_prefix) as kept:
        try:
            await draw(read, stop, once)
        except BoardLost:
            raise CannotRun(f"no board {settings.topic_prefix!r} in Redis; to keep one: zhinao board --serve") from None
        except TROUBLE as why:
            raise CannotRun(f"no board from Redis: {str(why) or type(why).__name__}") from None


async def _from_topics(at: Connection, reader: Reader, draw: Draw, stop: Event, *, once: bool) -> None:
    keeper = _keeper(at)
    await _catch_up(keeper, reader, stop)
    following = None if once else asyncio.create_task(_follow(keeper, reader, stop))
    await draw(keeper.mirror.read, stop, once)
    if following is not None:
        await following


# ------------------------------------------------------------------------------------------------------------- keeping


async def _serve(at: Connection, url: str, reader: Reader, stop: Event, *, once: bool) -> None:
    from streams.sinks.keeper import Pusher
    from streams.sinks.redis_board import BoardTaken, RedisBoard

    keeper = _keeper(at)
    await _catch_up(keeper, reader, stop)
    click.echo(f"board built: {keeper.mirror.incidents} incidents, {len(keeper.mirror.positions())} units", err=True)
    async with RedisBoard(url, at.prefix, _cluster(at), fresh_ms=lambda: keeper.heard_ms) as kept:
        pusher = Pusher(keeper, kept, _say)
        try:
            written = await pusher.attempt()
            if once:
                if not written:
                    raise CannotRun("the board was not written")
                return
            click.echo(f"ready redis={'yes' if written else 'no'}")
            sys.stdout.flush()
            pushing = asyncio.create_task(pusher.run())
            following = asyncio.create_task(_follow(keeper, reader, stop))
            await asyncio.wait((pushing, following), return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await following
            if pushing.done():
                pushing.result()
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
        except BoardTaken:
            raise CannotRun(
                f"another Kafka cluster's board {at.prefix!r} is kept in this Redis now; another ZHINAO_TOPIC_PREFIX "
                "or another database keeps them apart"
            ) from None
    click.echo(f"{keeper.unreadable} records not understood", err=True)


def _keeper(at: Connection) -> Keeper:
    """Where a recording is fed, its own clock counts: an incident of that March ended just now."""
    from models.times import zone_info
    from streams.sinks.keeper import Keeper

    by_ticks = at.settings.clock == "stream" or _cluster(at).startswith("mockCluster")
    return Keeper(zone_info(at.settings.timezone), None if by_ticks else lambda: time.time_ns() // 1_000_000)


def _cluster(at: Connection) -> str:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(**at.options())
    try:
        return str(admin.describe_cluster().get("cluster_id") or at.servers)
    finally:
        admin.close()


def _reader(at: Connection) -> Reader:
    from streams.commands.reading import Reader
    from streams.sinks.keeper import READS
    from streams.topics import TOPICS

    reader = Reader(at, READS, from_start=True, ticks=True)
    long = [p for p in reader.partitions if not TOPICS[reader.names[p.topic]].compacted]
    starts, ends = reader.consumer.beginning_offsets(long), reader.consumer.end_offsets(long)
    for partition in long:
        reader.consumer.seek(partition, max(starts[partition], ends[partition] - LAST_RECORDS))
    return reader


async def _catch_up(keeper: Keeper, reader: Reader, stop: Event) -> None:
    ends: dict[Any, int] = await asyncio.to_thread(reader.consumer.end_offsets, reader.partitions)

    def behind() -> bool:
        return any(reader.consumer.position(partition) < end for partition, end in ends.items())

    heard = time.monotonic()
    while not stop.is_set() and await asyncio.to_thread(behind) and time.monotonic() - heard < QUIET_S:
        records = await asyncio.to_thread(reader.poll)
        if records:
            heard = time.monotonic()
        await keeper.see(records)
    keeper.caught_up = True
    await keeper.see([])


async def _follow(keeper: Keeper, reader: Reader, stop: Event) -> None:
    from kafka.errors import KafkaError

    answers, asked = True, time.monotonic()
    while not stop.is_set():
        records = await asyncio.to_thread(reader.poll)
        await keeper.see(records)
        if not records and time.monotonic() - asked < ASK_EVERY_S:
            continue
        before = answers
        try:
            if not records:
                await asyncio.to_thread(reader.consumer.end_offsets, reader.partitions, timeout_ms=ANSWER_LIMIT_MS)
            answers = True
        except KafkaError:
            answers = False
        asked = time.monotonic()
        if answers:
            keeper.heard()
        if answers != before:
            _say("the broker answers again" if answers else "the broker does not answer: the board stands still")


def _say(line: str) -> None:
    click.echo(f"board: {line}", err=True)
