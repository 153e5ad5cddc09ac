"""`zhinao topics create|check`: the topics on the broker, see streams.topics."""

import sys

import click
import orjson

from streams.commands.connection import Connection, broker_option


@click.group()
def topics() -> None:
    """Kafka 主题 / Create and check the topics."""


@topics.command()
@broker_option
@click.option("--replication", type=click.IntRange(1, 9), help="Copies of each partition; default: 3, or all brokers.")
def create(broker: str | None, replication: int | None) -> None:
    """建立缺少的主题 / Create the topics that are missing; the others are left as they are."""
    from streams import topics as on_broker

    at = Connection.open(broker)
    made = on_broker.create(
        at.servers,
        at.prefix,
        at.settings.partitions,
        embedded=at.settings.embedded,
        replication=replication,
        options=at.client_options(),
    )
    for name in made:
        click.echo(name)
    there = len(on_broker.TOPICS) - len(made)
    click.echo(f"{len(made)} created, {there} already there, {at.settings.partitions} partitions each")


@topics.command()
@broker_option
@click.option("--json", "as_json", is_flag=True, help="A list of {topic, fault, severity, message, hint}.")
def check(broker: str | None, as_json: bool) -> int:
    """核对主题 / Compare the topics with what the workers need.

    Ends with 1 where something would keep a worker from running.
    """
    from streams import topics as on_broker

    at = Connection.open(broker)
    found = on_broker.check(
        at.servers,
        at.prefix,
        at.settings.partitions,
        embedded=at.settings.embedded,
        options=at.client_options(),
    )
    errors = sum(one.severity == "error" for one in found)
    if as_json:
        data = [
            {"topic": f.topic, "fault": f.fault, "severity": f.severity, "message": f.message, "hint": f.hint}
            for f in found
        ]
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for one in found:
            click.echo(f"{one.severity}: {one.message}\n  hint: {one.hint}")
        click.echo(f"{len(on_broker.TOPICS)} topics: {errors} errors, {len(found) - errors} advice")
    return 1 if errors else 0
