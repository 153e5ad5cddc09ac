"""Every problem code of zones and the registry: a file that has it, every word of it, and its place in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geo.advice import KINDS, advise
from geo.check import load_registry
from geo.codes import FEED_PROBLEMS, REGISTRY_PROBLEMS, ZONE_PROBLEMS
from geo.offset import Ground
from geo.registry import read_registry
from geo.zones import read_written
from models.problems import Problem, failed, in_order
from tests.conftest import REPOSITORY
from tests.geo.shapes import square, zone

BAD = Path(__file__).parent / "bad"
PROBLEMS = (REPOSITORY / "docs/problems.md").read_text(encoding="utf-8")
ALL = ZONE_PROBLEMS | REGISTRY_PROBLEMS | FEED_PROBLEMS
AREAS = [zone("area/danghu", square(121.015, 30.69, 0.02))]
MILD = {"Z017", "Z019", "Z020", "Z021", "Z022", "G013", "G016"}
"""Codes that keep nothing from being used."""


@pytest.fixture(scope="module")
def ground() -> Ground:
    made = Ground.of([], load_registry([REPOSITORY / "geo/registry"])[0])
    assert made is not None
    return made


def problems_of(code: str, ground: Ground) -> list[Problem]:
    if code in REGISTRY_PROBLEMS:
        files = [(file.name, file.read_bytes()) for file in sorted((BAD / code).glob("*.geojson"))]
        return read_registry(files, AREAS)[1]
    name = f"{code}.bad.geojson"
    found, problems = read_written([(name, (BAD / name).read_bytes())])
    return in_order([*problems, *advise(found, ["no-parking", "core"], ground)])


@pytest.mark.parametrize("code", [*ZONE_PROBLEMS, *REGISTRY_PROBLEMS])
def test_each_code_says_where_what_and_how_to_mend_it(code: str, ground: Ground) -> None:
    problems = problems_of(code, ground)
    shown = "\n".join(problem.text() for problem in problems) + "\n"
    assert shown == (BAD / f"{code}.txt").read_text(encoding="utf-8")
    assert {problem.code for problem in problems} == {code}
    assert failed(problems) is (code not in MILD)


def test_every_code_has_its_section() -> None:
    assert re.findall(r"^## ([ZGF]\d{3})$", PROBLEMS, re.MULTILINE) == list(ALL)
    for code, entry in ALL.items():
        assert re.search(r"[\u4e00-\u9fff]", entry.zh), code
        section = PROBLEMS.split(f"\n## {code}\n")[1].split("\n## ")[0]
        assert f"**{entry.title[:1].upper()}{entry.title[1:]}** · {entry.zh}\n\n{entry.explanation}\n" in section
        if code not in FEED_PROBLEMS:  # those are held against what the command prints, see test_misfits.py
            shown = re.findall(r"```text\n(.*?)\n```", section, re.DOTALL)[0]
            assert (BAD / f"{code}.txt").read_text(encoding="utf-8").startswith(shown), code


def test_no_code_is_used_that_the_catalogue_lacks() -> None:
    sources = [file for file in (REPOSITORY / "geo").glob("*.py") if file.name != "codes.py"]
    used = {code for file in sources for code in re.findall(r'"([ZGF]\d{3})"', file.read_text("utf-8"))}
    assert used == set(ALL)


def test_the_shipped_zones_have_the_kinds_that_are_known(ground: Ground) -> None:
    found, problems = read_written([("pinghu.geojson", (REPOSITORY / "geo/zones/pinghu.geojson").read_bytes())])
    assert problems == []
    assert {each.kind for _, each in found} == set(KINDS)
    assert advise(found, ["no-parking"], ground) == []
