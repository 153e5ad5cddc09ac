"""All poison in one recording: `zhinao replay` names each once, and tells of the city what it would without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.dead_letters import MAX_BODY_BYTES, Vault, letter_context
from streams.settings import ROOT, SHIPPED_REGISTRY, SHIPPED_ZONES
from tests.poison.cases import Case
from tests.poison.recorded import Place, dead_cases, expected_letters, harmless_cases, write
from tests.poison.world import RULES

AMONG_OURS = ("detections", 0)
"""Where the Detectors write too, so that offsets are not those of the recording; their order is."""
KEY = "a key of poison's dead letters"


@dataclass(frozen=True)
class Replayed:
    """What a replay published, by topic, and its summary."""

    published: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]

    def of_the_city(self) -> dict[str, list[str]]:
        """All but dead letters; without evidence, whose offsets differ."""
        return {
            topic: [json.dumps(told(line["value"]), ensure_ascii=False, sort_keys=True) for line in found]
            for topic, found in self.published.items()
            if topic != "dead-letters"
        }

    def letters(self) -> list[dict[str, Any]]:
        return [line["value"] for line in self.published.get("dead-letters", [])]


def told(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name != "evidence"}


def replay(recording: Path, **environment: str) -> Replayed:
    """The command, as a user starts it."""
    places = ["--rules", str(RULES), "--zones", str(SHIPPED_ZONES), "--registry", str(SHIPPED_REGISTRY)]
    ended = subprocess.run(
        [sys.executable, "-m", "app", "replay", str(recording), *places, "--drain", "10m"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    published: dict[str, list[dict[str, Any]]] = {}
    for line in ended.stdout.splitlines():
        found = json.loads(line)
        published.setdefault(found["topic"], []).append(found)
    return Replayed(published, json.loads(ended.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("poison")
    write(folder / "clean.jsonl", harmless_cases())
    write(folder / "poison.jsonl", [*harmless_cases(), *dead_cases()])
    return folder


@pytest.fixture(scope="module")
def clean(folder: Path) -> Replayed:
    return replay(folder / "clean.jsonl")


@pytest.fixture(scope="module")
def poisoned(folder: Path) -> Replayed:
    return replay(folder / "poison.jsonl")


def test_each_is_a_dead_letter_once_and_nothing_else_is(clean: Replayed, poisoned: Replayed) -> None:
    assert len({place_of(letter) for letter in poisoned.letters()}) == len(dead_cases())
    for letter, place, case in in_pairs(poisoned.letters()):
        assert (letter["reason"], letter["path"]) == (case.reason, case.path), case.name
        assert case.says in letter["detail"], case.name
        assert place_of(letter)[:2] == place[:2], case.name
        if place[:2] != AMONG_OURS:
            assert place_of(letter) == place, case.name
    assert clean.letters() == []


def place_of(letter: dict[str, Any]) -> Place:
    return letter["topic"], letter["partition"], letter["offset"]


def in_pairs(letters: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Place, Case]]:
    """Each letter beside the place and the case that it must be of."""
    by_place = sorted(letters, key=place_of)
    return [(letter, *expected) for letter, expected in zip(by_place, expected_letters(), strict=True)]


def test_incidents_and_all_else_are_those_of_the_clean_recording(clean: Replayed, poisoned: Replayed) -> None:
    assert {"incidents", "detections", "dispatch.orders", "hotline.replies"} <= clean.published.keys()
    assert poisoned.of_the_city() == clean.of_the_city()
    for name in ("incidents", "incidents_by_state", "unassigned"):
        assert poisoned.summary[name] == clean.summary[name]


def test_the_counts_of_the_summary_add_up(clean: Replayed, poisoned: Replayed) -> None:
    for run in (clean, poisoned):
        assert sum(run.summary["bins"].values()) == run.summary["observations"]
        assert run.summary["not_read"] == {}
        assert run.summary["bins"]["dead"] == len(run.letters()) == run.summary["published"].get("dead-letters", 0)
    assert poisoned.summary["bins"] == {**clean.summary["bins"], "dead": len(dead_cases())}


def test_bodies_are_kept_in_the_demo_sealed_with_a_key_and_else_left_out(folder: Path, poisoned: Replayed) -> None:
    sealed = replay(folder / "poison.jsonl", ZHINAO_DEAD_LETTER_KEY=KEY).letters()
    vault = Vault(KEY.encode())
    for letter, _, case in in_pairs(sealed):
        body = b64decode(letter["body_b64"] or "")
        context = letter_context(*place_of(letter))
        assert letter["encrypted"] is (case.value is not None or letter["key_b64"] is not None)
        assert case.value is None or vault.open(body, context) == case.value[:MAX_BODY_BYTES], case.name
    for letter, _, case in in_pairs(poisoned.letters()):
        assert not letter["encrypted"]
        assert (None if case.value is None else case.value[:MAX_BODY_BYTES]) == (
            None if letter["body_b64"] is None else b64decode(letter["body_b64"])
        ), case.name
    without = replay(folder / "poison.jsonl", ZHINAO_TOKEN_KEY="another key than the demo's").letters()
    assert [letter["body_b64"] for letter in without] == [None] * len(dead_cases())
