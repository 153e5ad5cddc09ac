"""The commands of both READMEs: what is marked as runnable runs, in a fresh folder, with the exit code it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import REPOSITORY

READMES = ("README.md", "README.zh.md")
BLOCK = re.compile(r"<!-- run(?:: (?P<how>[a-z0-9 ]+))? -->\n```sh\n(?P<script>.*?)```", re.DOTALL)
ROOMS = ("app.py", "geo", "models", "rules", "streams")


class Block(NamedTuple):
    script: str
    slow: bool
    exit_code: int


def blocks(readme: str) -> list[Block]:
    text = (REPOSITORY / readme).read_text()
    found = [(m["how"] or "", m["script"]) for m in BLOCK.finditer(text)]
    return [
        Block(script, how == "slow", int(how.removeprefix("exit ")) if "exit" in how else 0) for how, script in found
    ]


def run(block: Block, folder: Path) -> str:
    """In `folder`, with the `zhinao` of this checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZHINAO_") and k != "KAFKA_URL"}
    environment["PATH"] = f"{folder}/bin:{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = ["bash", "-e", "-c", block.script]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == block.exit_code, block.script + ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like a clone after `make setup`."""
    for room in ROOMS:
        (tmp_path / room).symlink_to(REPOSITORY / room)
    (tmp_path / "bin").mkdir()
    zhinao = tmp_path / "bin" / "zhinao"
    zhinao.write_text(f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
    zhinao.chmod(0o755)
    return tmp_path


def test_every_runnable_command_runs(clone: Path) -> None:
    said = "".join(run(block, clone) for block in blocks(READMES[0]) if not block.slow)
    assert '"topic":"incidents"' in said
    for readme in READMES:  # what the page shows of a mistake is what is printed
        shown = (REPOSITORY / readme).read_text().partition("\n```\nmine.yaml")[2].partition("```")[0]
        assert "mine.yaml" + shown in said


def test_the_slow_one_is_the_demo_and_make_knows_it() -> None:
    """tests/e2e/test_demo.py runs the demo; here it is only seen that make would."""
    (slow,) = [block for block in blocks(READMES[0]) if block.slow]
    script = slow.script.replace("make demo", "make --dry-run demo")
    # Under `make test` this make would be a submake, and say so around its lines.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=REPOSITORY, env=alone, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1].endswith("python -m app demo --for 60s")


def test_both_readmes_have_the_same_commands() -> None:
    assert blocks(READMES[0]) == blocks(READMES[1])
    assert sum(block.slow for block in blocks(READMES[0])) == 1


@pytest.mark.parametrize("readme", READMES)
def test_every_command_named_exists_and_every_link_leads_somewhere(readme: str) -> None:
    from streams.commands.group import COMMANDS

    text = (REPOSITORY / readme).read_text()
    named = {name for _, name in re.findall(r"(^|`)zhinao ([a-z-]+)", text, re.MULTILINE)}
    assert named <= set(COMMANDS)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (REPOSITORY / link).exists(), link
