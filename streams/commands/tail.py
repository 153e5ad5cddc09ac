"""`zhinao tail`: follow a topic."""

import os
import sys

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.stopping import stop_wished


@click.command()
@click.argument("topic")
@broker_option
@click.option("--from-start", is_flag=True, help="What the topic already holds, too.")
@click.option("-n", "count", type=click.IntRange(1), help="End after so many records.")
@click.option("--json", "as_json", is_flag=True, help="The values as they are, one a line.")
@click.option("--lang", type=click.Choice(("zh", "en")), help="Language of texts; default: that of LANG.")
def tail(topic: str, broker: str | None, from_start: bool, count: int | None, as_json: bool, lang: str | None) -> None:
    """跟踪主题 / Follow a topic, one line a record: its time, id, state, cause, place and message; Ctrl-C ends it.

    TOPIC is a short name such as incidents, dispatch.orders, dead-letters, or the name on the broker.
    """
    from streams.commands.one_liners import one_liner
    from streams.commands.reading import Reader, named_topic

    at = Connection.open(broker)
    name = named_topic(topic, at.prefix)
    spoken = lang or ("zh" if os.environ.get("LANG", "").startswith("zh") else "en")
    left = count if count is not None else -1
    with stop_wished() as stop, Reader(at, [name], from_start=from_start) as reader:
        if not from_start:
            click.echo(f"following {name} on {at.servers}; Ctrl-C ends it", err=True)
        for _, record in reader.records(stop):
            line = (record.value or b"null") if as_json else one_liner(name, record.value, spoken).encode()
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
            left -= 1
            if left == 0:
                return
