"""`zhinao restore`: a backup put back where nothing is."""

import asyncio
from pathlib import Path

import click

from streams.commands.backup import settings_for
from streams.commands.connection import broker_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@broker_option
@click.option(
    "--files", type=click.Path(path_type=Path, file_okay=False), help="Unpack the city's files into this new folder."
)
@click.option("--replication", type=click.IntRange(1, 9), help="Copies of each partition of the topics that are made.")
def restore(file: Path, broker: str | None, files: Path | None, replication: int | None) -> None:
    """恢复备份 / A backup put back where nothing is.

    Topics that are missing are made; if one holds anything, nothing is done. Every member of the backup is checked
    before anything is written. Workers started afterwards read the streams from where the
    broker says: offsets mean nothing elsewhere. A restore that was cut off is not finished by another: delete the
    topics, or the state folder, and begin again.
    """
    from streams import backup
    from streams.archive import ArchiveReader

    settings = settings_for(broker)
    with ArchiveReader(file) as archive:
        about = backup.about_of(archive.manifest)
        if not backup.same_token_key(about, settings):
            click.echo(
                "警告：ZHINAO_TOKEN_KEY 与备份时不同，名单与重复识别将失效 / "
                "warning: ZHINAO_TOKEN_KEY is not the one of the backup: nobody in it will be recognised",
                err=True,
            )
        if files is not None:
            backup.refuse_unless_new(files)
        done = asyncio.run(backup.restore(archive, backup.place_of(settings, replication=replication), settings))
        named = {} if files is None else backup.unpack_city(archive, files)
    click.echo(
        f"{file}: backup of {about.made} ({about.prefix}, {about.centre}); {done.tables} tables with {done.entries} "
        f"entries, {done.steps} steps of the journal, {done.outputs} records of outputs"
    )
    for variable, value in named.items():
        click.echo(f"{variable}={value}")
