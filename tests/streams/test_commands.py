"""The commands people meet: their help, their wrong uses, their exit codes, what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streams.commands.durations import seconds
from streams.commands.group import COMMANDS, zhinao
from tests.conftest import REPOSITORY

# Nobody listens on port 1.
NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ZHINAO_") or name in ("KAFKA_URL", "REDIS_URL"):
            monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(zhinao, list(arguments), prog_name="zhinao")


def run_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


# ----------------------------------------------------------------------------------------------------------------- help


def test_help_names_every_command_and_imports_none_of_what_they_need() -> None:
    script = (
        "import sys\n"
        "from streams.commands.group import zhinao\n"
        "zhinao(['--help'], standalone_mode=False)\n"
        "slow = {'faust', 'kafka', 'aiokafka', 'numpy', 'pydantic', 'msgspec', 'rich.table', 'shapely'}\n"
        "sys.stderr.write(','.join(sorted(slow & set(sys.modules))))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert [name for name in COMMANDS if f"  {name} " not in ended.stdout] == []


def commands_below(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    below = [(name, command.get_command(click.Context(command), name)) for name in command.list_commands(_context)]
    return [(path, command)] + [pair for name, one in below if one for pair in commands_below(one, (*path, name))]


_context = click.Context(zhinao)
EVERY_COMMAND = commands_below(zhinao, ())


@pytest.mark.parametrize(
    ("path", "command"), EVERY_COMMAND, ids=[" ".join(path) or "zhinao" for path, _ in EVERY_COMMAND]
)
def test_every_command_says_what_it_is_in_chinese_and_english(path: tuple[str, ...], command: click.Command) -> None:
    first = (command.help or "").splitlines()[0]
    assert re.match(r".*[\u4e00-\u9fff].* / [A-Z]", first)
    if len(path) == 1:
        assert first.partition(" / ")[0] == COMMANDS[path[0]].partition(" / ")[0]
    assert run(*path, "--help").exit_code == 0


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout == f"{project['name']} {project['version']}\n"


# ----------------------------------------------------------------------------------------------------------- wrong uses

WRONG_USES = {
    "an unknown command": (["nonsense"], "no such command 'nonsense'"),
    "an unknown option": (["settings", "--colour"], "no such option: --colour"),
    "no recording": (["feed"], "missing argument 'RECORDING'"),
    "a recording that is not there": (["feed", "gone.jsonl"], "'gone.jsonl' does not exist"),
    "a negative speed": (["feed", "app.py", "--speed", "-1"], "-1"),
    "a duration without sense": (["feed", "app.py", "--drain", "soon"], "'soon' is no duration"),
    "stdin twice": (["feed", "-", "--loop", "2"], "stdin can be read once only"),
    "no broker": (["tail", "incidents"], "no broker: set KAFKA_URL=kafka://host:port or give --broker host:port"),
    "nobody at the address": (["tail", "incidents", "--broker", NOBODY], f"no broker answers at {NOBODY}"),
    "no address": (["topics", "check", "--broker", "somewhere"], "'somewhere' is not host:port"),
    "a folder that is not there": (["rules", "check", "gone/"], "'gone/' does not exist"),
    "zones that are not there": (["zones", "check", "gone.geojson"], "'gone.geojson' does not exist"),
    "tables that are no folder": (["tables", "check", "app.py"], "'app.py' is a file"),
    "nothing to record": (["record"], "missing argument 'TOPIC...'"),
    "an instant without sense": (["dead-letters", "list", "--since", "soon"], "'soon' is no instant"),
    "nowhere to deliver to": (["deliver"], "missing option '--to'"),
    "no speed at all": (["demo", "--speed", "0"], "0 is not in the range"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG_USES.values(), ids=WRONG_USES.keys())
def test_a_wrong_use_is_one_clear_line_and_exit_code_2(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    ended = run(*arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("zhinao")
    assert said in ended.stderr


def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHINAO_PARTITIONS", "many")
    ended = run("settings")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == "zhinao: ZHINAO_PARTITIONS: 'many' is not a whole number\n"


def test_a_group_without_a_command_shows_its_help() -> None:
    ended = run("rules")
    assert ended.exit_code == 2
    assert "check" in ended.stderr


def test_a_mistake_of_ours_does_not_look_like_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(zhinao, "get_command", lambda *_: click.command()(broken))
    ended = run("settings")
    assert ended.exit_code == 2
    assert "ZeroDivisionError" in ended.stderr


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (0, ["--version"]),
        (0, ["zones", "check"]),
        (0, ["registry", "check"]),
        (0, ["tables", "check"]),
        (0, ["rules", "check"]),
        (2, ["rules", "check", "gone.yaml"]),
        (2, []),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_exit_codes_of_the_process(code: int, arguments: list[str]) -> None:
    ended = run_process(*arguments)
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_mistake() -> None:
    command = f"{sys.executable} -m app settings --json | head -1"
    ended = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("[\n", "")


# ------------------------------------------------------------------------------------------------------------- findings


def test_problems_are_shown_in_full_and_summed_up(tmp_path: Path) -> None:
    zones = tmp_path / "bad.geojson"
    zones.write_text('{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "x", "geometry": null}]}')
    ended = run("zones", "check", str(zones))
    assert ended.exit_code == 1
    assert f"{zones}:1:" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("0 zones: ")


def test_json_is_a_list_of_the_same_problems(tmp_path: Path) -> None:
    rules = tmp_path / "bad.yaml"
    rules.write_text("rules:\n  - id: Parking!\n")
    ended = run("rules", "check", str(rules), "--json")
    assert ended.exit_code == 1
    problems = json.loads(ended.stdout)
    assert problems
    assert {frozenset(problem) for problem in problems} == {
        frozenset(("file", "line", "column", "code", "severity", "message", "hint", "path"))
    }
    assert problems[0]["file"] == str(rules)


def test_tables_are_named_with_their_folder(tmp_path: Path) -> None:
    ended = run("tables", "check", str(tmp_path))
    assert ended.exit_code == 1
    assert str(tmp_path / "types.yaml") in ended.stdout


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_say_where_they_come_from_and_keep_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHINAO_CENTRE", "jiaxing")
    monkeypatch.setenv("ZHINAO_TOKEN_KEY", "a-secret-of-some-length")
    rows = {row["variable"]: row for row in json.loads(run("settings", "--json").stdout)}
    assert (rows["ZHINAO_CENTRE"]["value"], rows["ZHINAO_CENTRE"]["source"]) == ("jiaxing", "environment")
    assert rows["ZHINAO_GROUP"]["source"] == "default"
    assert rows["ZHINAO_TOKEN_KEY"]["secret"] is True
    everything = run("settings").stdout
    assert "a-secret-of-some-length" not in everything
    assert [name for name in rows if name not in everything] == []


# ------------------------------------------------------------------------------------------------------------ durations


@pytest.mark.parametrize(
    ("text", "expected"), [("250ms", 0.25), ("60s", 60), ("3m", 180), ("1h30m", 5400), ("1.5h", 5400), ("45", 45)]
)
def test_a_duration_is_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-3m", "3 m", "1h-", "60S", "3m soon"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)
