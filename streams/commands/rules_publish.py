"""`zhinao rules publish`: a checked bundle for all workers, by the topic or by manifests in the folders."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.failing import CannotRun
from streams.commands.findings import CHECKED_PATH, counted, report

if TYPE_CHECKING:
    from streams.bundle import Files
    from streams.bundle_topic import OnTopic
    from streams.city import City
    from streams.settings import Settings

ACK_LIMIT_S = 30.0


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=CHECKED_PATH)
@click.option("--manifest", is_flag=True, help="Write a manifest into each folder, instead of sending to the topic.")
@click.option("--back-to", type=click.IntRange(1), metavar="REVISION", help="Send an earlier revision again.")
@broker_option
def publish(paths: tuple[Path, ...], manifest: bool, back_to: int | None, broker: str | None) -> int:
    """发布规则 / Check rules (PATH, else the settings'), zones, registry and tables as a whole, and publish them.

    Workers with ZHINAO_BUNDLE=topic all switch at the same record. With --manifest, workers that watch the folders take
    what is there once the manifest says it is complete. Nothing that has an error is published.
    """
    from streams.settings import Settings

    if back_to is not None and (paths or manifest):
        raise click.UsageError("--back-to takes what is on the topic: no PATH and no --manifest beside it")
    settings = Settings.read()
    if back_to is not None:
        return _send_again(Connection.open(broker), back_to)
    checked = _checked(settings, paths, manifest)
    if checked is None:
        return 1
    return _list(settings, paths) if manifest else _send(Connection.open(broker), checked)


def _checked(settings: Settings, paths: tuple[Path, ...], manifest: bool) -> City | None:
    """The city, if there is no error in it; what is wrong is printed."""
    from dataclasses import replace

    from streams.bundle import NOT_AS_LISTED, read_files
    from streams.city import CityProblems, city_of

    files = read_files(paths or settings.rules, settings.zones, settings.registry, settings.tables)
    if manifest:  # it is about to be written anew
        files = replace(files, problems=tuple(p for p in files.problems if p.code != NOT_AS_LISTED))
    try:
        return city_of(files, settings)
    except CityProblems as why:
        report(why.problems, "not published", as_json=False)
        return None


def _list(settings: Settings, paths: tuple[Path, ...]) -> int:
    from streams.bundle import MANIFEST, Room, write_manifest

    rooms: list[tuple[Room, Path]] = [
        *(("rules", path) for path in paths or settings.rules),
        *(("zones", path) for path in settings.zones),
        ("registry", settings.registry),
        ("tables", settings.tables),
    ]
    for room, folder in rooms:
        if folder.is_dir():
            click.echo(f"{folder / MANIFEST}: {counted(write_manifest(room, folder), 'file')}")
    return 0


def _send(at: Connection, city: City) -> int:
    on_topic = _read(at)
    newest, digest = on_topic.newest, city.files.digest
    if newest is not None and newest.files.digest == digest:
        click.echo(f"revision {newest.revision} is live already: {digest}")
        return 0
    return _sent(at, on_topic, city.files)


def _send_again(at: Connection, revision: int) -> int:
    on_topic = _read(at)
    found = on_topic.assembling.whole(revision)
    if found is None:
        there = ", ".join(str(n) for n in on_topic.assembling.revisions()) or "none"
        raise CannotRun(f"revision {revision} is not whole on the topic; there are: {there}")
    return _sent(at, on_topic, found)


def _sent(at: Connection, on_topic: OnTopic, files: Files) -> int:
    """Parts first, the head last, and then what nobody needs any more goes."""
    from kafka import KafkaProducer

    from models.times import format_time, zone_info
    from streams.bundle_topic import outdated, records_of
    from streams.publishing import CENTRE_PARTITION
    from streams.topics import full_name

    assembling, topic = on_topic.assembling, full_name("rules.bundle", at.prefix)
    revision = 1 + max((head.revision for head in assembling.heads), default=0)
    stamp = format_time(time.time_ns() // 1000, zone_info(at.settings.timezone))
    producer = KafkaProducer(**at.options(), acks="all", enable_idempotence=True)
    try:
        records = list(records_of(files, assembling.key, at.settings.centre, revision, stamp))
        for key, value in records:
            sent = producer.send(topic, key=key.encode(), value=value, partition=CENTRE_PARTITION)
            head = sent.get(timeout=ACK_LIMIT_S)
        for key in outdated(assembling.heads, assembling.key, files.digest):
            producer.send(topic, key=key.encode(), value=None, partition=CENTRE_PARTITION)
        producer.flush(ACK_LIMIT_S)
    finally:
        producer.close()
    parts = counted(len(records) - 1, "part")
    click.echo(f"revision {revision} published: {files.digest}, {parts}, at record {head.offset}")
    return 0


def _read(at: Connection) -> OnTopic:
    from streams.bundle_topic import bundle_key, read_topic
    from streams.topics import full_name

    topic = full_name("rules.bundle", at.prefix)
    at.partitions([topic])
    key = bundle_key(at.prefix, at.settings.centre)
    return asyncio.run(read_topic(at.servers, topic, key, at.client_options()))
