"""Every command of docs/explain.md and docs/backtest.md runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.commands.group import zhinao
from tests.conftest import REPOSITORY

PAGES = ("docs/explain.md", "docs/backtest.md")
SHOWN = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    blocks = [block for page in PAGES for block in SHOWN.findall((REPOSITORY / page).read_text())]
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_a_documented_command_runs(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(REPOSITORY))
    program, *arguments = shlex.split(line)
    assert program == "zhinao"
    found = CliRunner().invoke(zhinao, arguments, prog_name="zhinao")
    nothing_raised = arguments[1] == "why-not"
    assert found.exit_code == (1 if nothing_raised else 0), found.output
    assert found.stdout.strip()
