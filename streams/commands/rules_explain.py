"""`zhinao rules explain` and `zhinao rules why-not`: why a rule raised on a recording, or did not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from streams.commands.durations import DURATION

if TYPE_CHECKING:
    import msgspec

    from models.incidents import Incident
    from rules.explaining.texts import Words
    from streams.city import City
    from streams.explaining import Explanation, Lines

FILES = click.Path(exists=True, path_type=Path)
RULE_ENDINGS = (".yaml", ".yml")
LANG = click.Choice(["zh", "en"])


def of_ground(command: Callable[..., int]) -> Callable[..., int]:
    """The files of a city besides its rules, and how long the clock goes on."""
    options = (
        click.option("--zones", multiple=True, type=FILES, help="Folder or file of zones; repeats."),
        click.option("--registry", type=FILES, help="Folder of the registry."),
        click.option("--tables", type=FILES, help="Folder of the tables."),
        click.option("--drain", type=DURATION, default="1h", show_default=True,
                     help="How long the clock goes on after the recording."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def of_a_city(command: Callable[..., int]) -> Callable[..., int]:
    """The files of a city as `zhinao replay` takes them."""
    rules = click.option("--rules", multiple=True, type=FILES, help="Folder or file of rules; repeats.")
    return rules(of_ground(command))


class KeyType(click.ParamType):
    """`field=text`; gives the pair."""

    name = "field=text"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not (name and equals):
            self.fail(f"{value!r} is not field=text", param, ctx)
        return name, text


KEY = KeyType()


@click.command()
@click.argument("paths", metavar="[RECORDING|RULES]...", nargs=-1)
@click.option("--incident", help="Explain this incident.")
@click.option("--rule", "rule_id", help="Explain what this rule raised.")
@click.option("--key", "key", multiple=True, type=KEY, help="Of these: field=text, also zone=kind/id; repeats.")
@click.option("--places", is_flag=True, help="Where the compiler puts each rule; without files those of the settings.")
@click.option("--lang", type=LANG, default="zh", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of sentences.")
@of_a_city
def explain(
    paths: tuple[str, ...],
    incident: str | None,
    rule_id: str | None,
    key: tuple[tuple[str, str], ...],
    places: bool,
    lang: Literal["zh", "en"],
    as_json: bool,
    rules: tuple[Path, ...],
    zones: tuple[Path, ...],
    registry: Path | None,
    tables: Path | None,
    drain: float,
) -> int:
    """解释规则为何触发 / Explain what rules raised on a recording: every clause with its value, and what followed.

    Of rule files, or with --places: which Detector or Desk watches each part. Exit code 1 when there is nothing to
    explain.
    """
    own = [Path(path) for path in paths if path.endswith(RULE_ENDINGS) or Path(path).is_dir()]
    if places or own:
        return tell_places(own, lang, as_json=as_json)
    if not paths:
        raise click.UsageError("name a recording to explain, or rule files")
    from streams.explaining import Asked, explanations
    from streams.settings import Settings

    settings = Settings.read()
    city = city_of(settings, rules, zones, registry, tables)
    known_rule(city, rule_id)
    asked = Asked(frozenset((incident,) if incident else ()), rule_id, dict(key))
    found = explanations(
        city, lines_of(paths), partitions=settings.partitions, asked=asked, drain_ms=round(drain * 1000)
    )
    if as_json:
        write_json(found)
    else:
        for one in found:
            click.echo("\n".join(explanation_lines(one, words_of(city, lang))) + "\n")
    if not found:
        click.echo("没有可解释的 / nothing of the kind was raised", err=True)
    return 0 if found else 1


@click.command(name="why-not")
@click.argument("recordings", metavar="RECORDING...", nargs=-1, required=True)
@click.option("--rule", "rule_id", required=True, help="The rule that did not raise.")
@click.option("--key", "key", multiple=True, type=KEY, help="Whom it should have raised for: field=text; repeats.")
@click.option("--at", "at", required=True, help="When: RFC 3339, or HH:MM:SS of the recording's first day.")
@click.option("--lang", type=LANG, default="zh", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of sentences.")
@of_a_city
def why_not(
    recordings: tuple[str, ...],
    rule_id: str,
    key: tuple[tuple[str, str], ...],
    at: str,
    lang: Literal["zh", "en"],
    as_json: bool,
    rules: tuple[Path, ...],
    zones: tuple[Path, ...],
    registry: Path | None,
    tables: Path | None,
    drain: float,
) -> int:
    """解释规则为何没有触发 / Why a rule did not raise for a key at a time: the first clause that failed, with numbers.

    Exit code 0 when it was raised, else 1.
    """
    from rules.explaining.telling import answer_lines
    from rules.explaining.whynot import Verdict
    from streams.explaining import answers, rule_of
    from streams.settings import Settings

    settings = Settings.read()
    city = city_of(settings, rules, zones, registry, tables)
    known_rule(city, rule_id)
    rule, asked = rule_of(city, rule_id), dict(key)
    by = {name for part in rule.parts or (rule,) for name in part.by}
    if unknown := sorted(asked.keys() - by):
        raise click.BadParameter(f"{rule_id} is by {', '.join(sorted(by))}, not {', '.join(unknown)}", param_hint="key")
    found = answers(
        city, lines_of(recordings), partitions=settings.partitions, rule_id=rule_id, key=asked,
        at_us=moment_us(at, city, lines_of(recordings)), drain_ms=round(drain * 1000),
    )  # fmt: skip
    if as_json:
        write_json(found)
    else:
        for answer in found:
            click.echo("\n".join(answer_lines(answer, words_of(city, lang))))
    return 0 if any(answer.verdict == Verdict.RAISED for answer in found) else 1


def tell_places(files: Sequence[Path], lang: Literal["zh", "en"], *, as_json: bool) -> int:
    from models.privacy import Tokens
    from models.problems import failed
    from models.times import format_time, zone_info
    from rules.explaining.placing import placed
    from rules.explaining.telling import placed_lines
    from rules.explaining.texts import Words
    from rules.tables.load import read_tables
    from streams.city import read_rules
    from streams.commands.findings import report
    from streams.settings import Settings

    settings = Settings.read()
    tables, _ = read_tables(settings.tables)
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    bundle, problems = read_rules(files or settings.rules, None, tables, tokens)
    if bundle is None or failed(problems):
        return report(problems, "rules", as_json=as_json)
    where = placed(bundle)
    if as_json:
        write_json(where)
        return 0
    words = Words(lang, lambda time_us: format_time(time_us, zone_info(settings.timezone)))
    for rule in where:
        click.echo("\n".join(placed_lines(rule, words)))
    return 0


def explanation_lines(one: Explanation, words: Words) -> Iterator[str]:
    from rules.explaining.telling import raised_lines
    from rules.explaining.texts import EXPLAINED

    named = {"rule": one.rule, "revision": one.revision, "bundle": one.bundle}
    if one.incident_id is not None:
        yield words.say(EXPLAINED, "incident", incident=one.incident_id, **named)
    else:
        yield words.say(EXPLAINED, "detection", detection=one.raised[0].detection.detection_id, **named)
    for raised in one.raised:
        yield from (f"  {line}" for line in raised_lines(raised, words))
    for change in one.life:
        yield f"  {life_line(change, words)}"


def life_line(change: Incident, words: Words) -> str:
    from rules.explaining.texts import EXPLAINED

    return words.say(
        EXPLAINED, "life", at=change.changed_at, revision=change.revision, state=change.state,
        reason=change.reason, severity=change.severity,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- shared


def city_of(
    settings: object, rules: Sequence[Path], zones: Sequence[Path], registry: Path | None, tables: Path | None
) -> City:
    from streams.city import build_city
    from streams.settings import Settings

    assert isinstance(settings, Settings)
    return build_city(settings, rules=rules, zones=zones, registry=registry, tables=tables)


def lines_of(recordings: Sequence[str]) -> Lines:
    from streams.recording import read_recording

    return lambda: (line for file in recordings for line in read_recording(file))


def known_rule(city: City, rule_id: str | None) -> None:
    known = [rule.id for rule in city.bundle.rules]
    if rule_id is not None and rule_id not in known:
        raise click.BadParameter(f"no rule {rule_id!r}; rules are {', '.join(known)}", param_hint="rule")


def moment_us(text: str, city: City, lines: Lines) -> int:
    """A time as people write it; of HH:MM:SS the day is the recording's first."""
    from models.times import local, parse_rfc3339_us

    if "T" not in text:
        first = next(iter(lines()), None)
        if first is None:
            raise click.BadParameter("the recording is empty", param_hint="at")
        start = local(first.timestamp_ms * 1000, city.zone)
        text = f"{start:%Y-%m-%d}T{text}{start:%z}"
        text = f"{text[:-2]}:{text[-2:]}"
    try:
        return parse_rfc3339_us(text)
    except ValueError as why:
        raise click.BadParameter(f"{text!r} is no time: {why}", param_hint="at") from None


def words_of(city: City, lang: Literal["zh", "en"]) -> Words:
    from models.times import format_time
    from rules.explaining.texts import Words

    return Words(lang, lambda time_us: format_time(time_us, city.zone))


def write_json(found: Sequence[msgspec.Struct]) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
