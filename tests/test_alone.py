"""A small run of its own in three processes: what is marked `alone` overlaps with nothing, everything else may."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import REPOSITORY

HOOKS = "from tests.conftest import pytest_configure, pytest_configure_node, pytest_runtest_protocol\n"
TESTS = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def told(request):
    began = time.monotonic()
    time.sleep(0.05)
    yield
    time.sleep(0.05)
    name = request.node.name
    Path(__file__).with_name(f"{name}.told").write_text(f"{name} {began} {time.monotonic()}")

@pytest.mark.parametrize("n", range(12))
def test_plain(told, n):
    time.sleep(0.1)

@pytest.mark.alone
@pytest.mark.parametrize("n", range(4))
def test_alone(told, n):
    time.sleep(0.1)
"""


class Ran(NamedTuple):
    name: str
    began_s: float
    ended_s: float

    @property
    def alone(self) -> bool:
        return self.name.startswith("test_alone")


def run(folder: Path, hooks: str, *options: str) -> list[Ran]:
    """From setup to teardown of each test."""
    (folder / "conftest.py").write_text(hooks)
    (folder / "test_times.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "temp")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        [*command, *options, str(folder)], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = [path.read_text().split() for path in sorted(folder.glob("*.told"))]
    return [Ran(name, float(began), float(until)) for name, began, until in told]


def overlaps(ran: list[Ran]) -> Iterator[tuple[Ran, Ran]]:
    return ((a, b) for a, b in combinations(ran, 2) if a.began_s < b.ended_s and b.began_s < a.ended_s)


@pytest.mark.parametrize("options", [("-n", "3"), ("-n", "0"), ("-p", "no:xdist")], ids=["three", "one", "no xdist"])
def test_beside_what_measures_time_nothing_goes_on(tmp_path: Path, options: tuple[str, ...]) -> None:
    ran = run(tmp_path, HOOKS, *options)
    assert len(ran) == 16
    together = list(overlaps(ran))
    assert [pair for pair in together if pair[0].alone or pair[1].alone] == []
    assert bool(together) == (options == ("-n", "3"))


def test_without_turns_it_would(tmp_path: Path) -> None:
    assert [pair for pair in overlaps(run(tmp_path, "", "-n", "3")) if pair[0].alone or pair[1].alone] != []
