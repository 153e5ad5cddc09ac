"""The committed files are what the types say, the command notices when not, and nothing released is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from models.contracts import CONTRACTS, DIALECT
from streams.commands.group import zhinao
from streams.contracts import CATALOGUE, made, read_texts
from streams.topics import TOPICS, Role
from tests.conftest import REPOSITORY
from tests.contracts.judging import PUBLISHED, schema

NOT_PUBLISHED_YET = {"signal.requests", "traffic.forecasts"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(zhinao, ["contracts", *arguments], prog_name="zhinao")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the published contracts."""
    copy = tmp_path / "contracts"
    shutil.copytree(PUBLISHED, copy, ignore=shutil.ignore_patterns("samples"))
    return copy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_committed_files_are_what_the_types_say() -> None:
    ended = run("check")
    assert ended.stdout == "24 files: no problems\n"
    assert ended.exit_code == 0


def test_the_check_of_a_record_that_the_readme_shows_works() -> None:
    page = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for record, fine in (("camera.tracks/example.json", True), ("incidents/example.json", False)):
        shown = script.replace("camera.tracks/example.json", record)
        ended = subprocess.run(
            [sys.executable, "-c", shown], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert (ended.returncode == 0) == fine, ended.stderr
        assert fine or "ValidationError" in ended.stderr


def test_every_topic_that_others_meet_has_a_contract() -> None:
    assert set(CONTRACTS) == {s.name for s in TOPICS.values() if s.role is not Role.INTERNAL} - NOT_PUBLISHED_YET


@pytest.mark.parametrize("topic", CONTRACTS)
def test_a_schema_is_itself_valid_and_names_itself(topic: str) -> None:
    whole = schema(topic)
    Draft202012Validator.check_schema(whole)
    assert whole["$schema"] == DIALECT
    assert whole["$id"] == f"urn:zhinao:{topic}:v1"


def test_a_changed_a_missing_and_a_stray_file_are_each_noticed(folder: Path) -> None:
    edit(folder / "dictionary.md", "摄像机编号", "相机编号")
    (folder / "asyncapi.yaml").unlink()
    (folder / "schemas" / "weather.v1.schema.json").write_text("{}")
    ended = run("check", str(folder))
    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        f"{folder}/asyncapi.yaml: missing",
        f"{folder}/dictionary.md: not what the types say",
        f"{folder}/schemas/weather.v1.schema.json: of no topic",
        "hint: zhinao contracts write",
        "24 files: 3 problems",
    ]


def test_writing_mends_what_checking_finds(folder: Path) -> None:
    (folder / "asyncapi.yaml").unlink()
    assert run("write", str(folder)).stdout == "contracts: 24 files written\n"
    assert run("check", str(folder)).exit_code == 0


def test_a_change_that_breaks_what_was_released_is_noticed(folder: Path) -> None:
    """As if the released version had allowed one word more of what comes in, and one less of what goes out."""
    released = folder / "released" / "v1"
    edit(released / "commands.v1.schema.json", '"acknowledge",', '"acknowledge", "applaud",')
    edit(released / "verification.results.v1.schema.json", '"inconclusive",', "")
    ended = run("check", str(folder))
    assert ended.exit_code == 1
    assert "commands.v1.schema.json: $.command: in: the word 'applaud' is allowed on one side only" in ended.stdout
    assert "$.verdict: out: the word 'inconclusive' is allowed on one side only" in ended.stdout
    assert ended.stdout.endswith("24 files: 2 problems\n")


def test_a_field_without_text_stops_the_making(folder: Path) -> None:
    edit(folder / CATALOGUE, "    battery_pct:", "    battery:")
    ended = run("check", str(folder))
    assert ended.exit_code == 2
    said = "no text in both languages for field SensorReading.battery_pct"
    assert ended.stderr == f"zhinao: {folder / CATALOGUE}: {said}\n"


def test_a_word_in_one_language_only_stops_the_making(folder: Path) -> None:
    edit(folder / CATALOGUE, 'gcj02: {zh: 火星坐标 GCJ-02, en: "GCJ-02"}', "gcj02: {zh: 火星坐标}")
    ended = run("check", str(folder))
    assert ended.exit_code == 2
    assert "no text in both languages for word 'gcj02' of TrackFrame.crs" in ended.stderr


def test_a_comma_that_cuts_a_text_short_stops_the_making(folder: Path) -> None:
    edit(folder / CATALOGUE, "zh: 火星坐标 GCJ-02", "zh: 火星坐标, 即 GCJ-02")
    ended = run("check", str(folder))
    assert ended.exit_code == 2
    assert "more than zh and en for word 'gcj02' of TrackFrame.crs: zh, 即 GCJ-02, en" in ended.stderr


def test_a_catalogue_that_is_no_yaml_is_one_line(folder: Path) -> None:
    (folder / CATALOGUE).write_text("topics: {a: [}\n")
    ended = run("check", str(folder))
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert f"{folder / CATALOGUE}:1:" in ended.stderr


def test_no_text_is_left_that_nobody_asks_for(folder: Path) -> None:
    assert unused(folder) == []
    edit(folder / CATALOGUE, "  Attributes:\n", "  Attributes:\n    smell: {zh: 气味, en: Smell}\n")
    assert unused(folder) == ["fields > Attributes > smell"]


def unused(folder: Path) -> list[str]:
    texts = read_texts(folder / CATALOGUE)
    made(texts)
    return texts.unused()


def test_the_dictionary_has_every_field_of_every_schema() -> None:
    page = (PUBLISHED / "dictionary.md").read_text(encoding="utf-8")
    for topic in CONTRACTS:
        chapter = page.partition(f"\n## {topic}\n")[2].partition("\n## ")[0]
        for field in schema(topic)["properties"]:
            assert f"\n| `{field}` |" in chapter, (topic, field)
        for kind in schema(topic).get("$defs", {}).values():
            for field in kind["properties"]:
                assert f".{field}` |" in chapter, (topic, field)
