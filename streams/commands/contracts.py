"""`zhinao contracts`: the published schemas, the AsyncAPI document and the data dictionary."""

from __future__ import annotations

from pathlib import Path

import click

from streams.commands.findings import counted

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def contracts() -> None:
    """对外契约工具 / The published contracts: write and check them."""


@contracts.command()
@click.argument("folder", required=False, type=FOLDER)
def write(folder: Path | None) -> None:
    """生成契约文件 / Write schemas, AsyncAPI and dictionary to FOLDER, which holds the catalogue (docs/contracts)."""
    from streams.contracts import write as write_files

    where, files = _made(folder)
    write_files(where, files)
    click.echo(f"contracts: {counted(len(files), 'file')} written")


@contracts.command()
@click.argument("folder", required=False, type=FOLDER)
def check(folder: Path | None) -> int:
    """检查契约文件 / Whether the files in FOLDER are what the types say, and break nothing that was released."""
    from streams.contracts import differences, incompatible

    where, files = _made(folder)
    different, broken = differences(where, files), incompatible(where, files)
    for line in different + broken:
        click.echo(f"{where / line}")
    if different:
        click.echo("hint: zhinao contracts write")
    if broken:
        click.echo("hint: an incompatible change is a new version, see docs/contracts/README.md")
    problems = len(different) + len(broken)
    click.echo(f"{counted(len(files), 'file')}: {counted(problems, 'problem') if problems else 'no problems'}")
    return 1 if problems else 0


def _made(folder: Path | None) -> tuple[Path, dict[str, str]]:
    """The folder and what belongs into it."""
    from streams.contracts import CATALOGUE, PUBLISHED, generated

    where = folder or PUBLISHED
    return where, generated(where / CATALOGUE)
