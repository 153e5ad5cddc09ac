"""`zhinao backup`: all that a city decided and remembers, in one file."""

import asyncio
from pathlib import Path

import click

from streams.commands.connection import Connection, broker_option
from streams.settings import Settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@broker_option
def backup(file: Path, broker: str | None) -> None:
    """备份 / All that a city decided and remembers, in one file: state, journal, open incidents, the city's files.

    Beside a running worker or without one; what had arrived and was not taken by a worker yet is not in it. An existing
    file is never replaced. Personal data is in it as tokens only; keep it private all the same (it is made with mode
    0600), and keep ZHINAO_TOKEN_KEY elsewhere: it is not in it.
    """
    from streams.backup import back_up, place_of
    from streams.commands.group import VERSION

    settings = settings_for(broker)
    done = asyncio.run(back_up(file, place_of(settings), settings, VERSION))
    click.echo(
        f"{file}: {file.stat().st_size} bytes; {done.tables} tables with {done.entries} entries, "
        f"{done.steps} steps of the journal, {done.outputs} records of outputs, {done.files} files of the city"
    )


def settings_for(broker: str | None) -> Settings:
    """The settings; with a real Kafka, one that answers."""
    settings = Settings.read()
    return settings if broker is None and settings.embedded else Connection.open(broker).settings
