"""`zhinao rules`: check and lint; each other tool has a file of its own."""

from pathlib import Path

import click

from streams.commands.findings import CHECKED_PATH, counted, report
from streams.commands.rules_backtest import backtest, diff
from streams.commands.rules_explain import explain, why_not
from streams.commands.rules_publish import publish
from streams.commands.rules_test import test


@click.group()
def rules() -> None:
    """规则工具 / The rule authors' tools."""


JSON = click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
SARIF = click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), help="Also as SARIF 2.1.0, in this file."
)
PATHS = click.argument("paths", metavar="[PATH]...", nargs=-1, type=CHECKED_PATH)


@rules.command()
@PATHS
@JSON
@SARIF
def check(paths: tuple[Path, ...], as_json: bool, sarif: Path | None) -> int:
    """检查规则文件 / Check rules in YAML files and folders; without PATH those of the settings.

    All problems of all files at once, each with its place, its code and how to mend it. Zones, types and departments
    that rules name are looked up in the zones and tables of the settings.
    """
    return checked(paths, as_json, sarif, strict=False)


@rules.command()
@PATHS
@JSON
@SARIF
@click.option("--strict/--no-strict", default=True, show_default=True, help="Whether advice alone is a finding.")
def lint(paths: tuple[Path, ...], as_json: bool, sarif: Path | None, strict: bool) -> int:
    """检查规则并提出改进 / The same as check, but advice (W…) is a finding too."""
    return checked(paths, as_json, sarif, strict=strict)


def checked(paths: tuple[Path, ...], as_json: bool, sarif_file: Path | None, *, strict: bool) -> int:
    """Print what is wrong with the rules; with `strict` any problem at all gives 1."""
    from geo.check import load_zones
    from models.privacy import Tokens
    from models.problems import failed, in_order
    from rules.tables.load import read_tables
    from streams.city import read_rules
    from streams.commands.group import VERSION
    from streams.commands.sarif import sarif
    from streams.settings import Settings

    settings = Settings.read()
    zones, wrong_zones = load_zones(settings.zones)
    tables, _ = read_tables(settings.tables)
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    bundle, problems = read_rules(paths or settings.rules, zones, tables, tokens)
    notes = []
    if failed(wrong_zones):
        notes.append("zones have errors of their own, see: zhinao zones check")
    if tables is None:
        notes.append("checked without tables, which have errors of their own, see: zhinao tables check")
    counted_rules = "rules" if bundle is None else counted(len(bundle.rules), "rule")
    if sarif_file is not None:
        sarif_file.write_bytes(sarif(in_order(problems), VERSION))
    code = report(problems, counted_rules, as_json=as_json, note="\n".join(notes) or None)
    return 1 if notes or (strict and problems) else code


for command in (backtest, diff, explain, publish, test, why_not):
    rules.add_command(command)
