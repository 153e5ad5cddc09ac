"""`zhinao zones check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.findings import CHECKED_PATH, counted, report

if TYPE_CHECKING:
    from streams.settings import Settings


@click.group()
def zones() -> None:
    """区域工具 / Check zone files."""


@zones.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=CHECKED_PATH)
@click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
def check(paths: tuple[Path, ...], as_json: bool) -> int:
    """检查区域文件 / Check zones in GeoJSON files and folders; without PATH those of the settings.

    Kinds are held against those that the rules of the settings name, places against the segments of its registry.
    """
    from geo.check import check_zones, load_registry
    from streams.settings import Settings

    settings = Settings.read()
    registry, _ = load_registry([settings.registry])
    found, problems = check_zones(paths or settings.zones, kinds_named(settings), registry)
    return report(problems, counted(len(found), "zone"), as_json=as_json)


def kinds_named(settings: Settings) -> list[str]:
    """The kinds of zones that the rules name, as patterns; none where the rules cannot be loaded."""
    from models.privacy import Tokens
    from streams.city import read_rules

    tokens = Tokens(settings.token_key.get_secret_value().encode())
    bundle, _ = read_rules(settings.rules, None, None, tokens)
    patterns: list[str] = []
    for rule in bundle.rules if bundle is not None else ():
        if rule.zones is not None:
            patterns += [*rule.zones.include, *rule.zones.exclude]
        for variant in rule.variants:
            patterns += (variant.applies and variant.applies.zones) or ()
    return sorted({pattern.partition("/")[0] for pattern in patterns})
