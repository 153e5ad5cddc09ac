"""Bundles that change under real workers on a real broker."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.agents.desk import BUNDLE, TABLE
from streams.settings import ROOT
from streams.topic_store import TopicStore
from streams.topics import full_name
from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed, Worker
from tests.reliability.equations import findings, outcome
from tests.reliability.load import Load
from tests.reliability.replaying import RULES, as_run, replayed

WITHIN_S = 30.0
LIVE = re.compile(r"bundle ([0-9a-f]{8}) is live: \d+ rules(?:, from (\S+))?")
REFUSED = re.compile(r"bundle [0-9a-f]{8} is refused")
UNRELATED = """
version: 1
defaults: {{timezone: Asia/Shanghai, owner: {{department: traffic-police, contact: desk}}}}
rules:
  - id: unrelated
    revision: {revision}
    name: {{zh: 无关, en: Unrelated}}
    status: active
    type: {{code: "0505", severity: minor}}
    from: [{topic}]
    where: class == "spaceship"
    by: [sensor_id, track_id]
    detect:
      dwell: {{for: {minutes}m, max_move: 3m, max_gap: 20s, min_points: 5}}
    message: {{zh: "无关", en: "unrelated"}}
"""


def unrelated(revision: int) -> str:
    """A rule that nothing fulfils, another text each time."""
    return UNRELATED.format(revision=revision, topic="camera.tracks", minutes=1 + revision % 7)


def wait_for(what: Callable[[], bool], worker: Worker) -> None:
    until = time.monotonic() + WITHIN_S
    while not what():
        assert worker.alive(), worker.words()[-2000:]
        assert time.monotonic() < until, worker.words()[-2000:]
        time.sleep(0.05)


def rules_in(folder: Path) -> Path:
    rules = folder / "rules"
    rules.mkdir(parents=True)
    shutil.copy(RULES, rules / "rules.yaml")
    return rules


@pytest.mark.slow
def test_an_unrelated_rule_that_is_edited_every_second_moves_no_other(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    """At 15-fold speed an edit a second is one in 15 seconds of the recording; every fourth is broken."""
    load, rules, edits = Load(11), rules_in(tmp_path), 0
    with Bed(kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_RULES=str(rules), ZHINAO_RELOAD_S="0.2") as bed:
        worker = bed.start_worker("one")
        with bed.feeding(load, speed=15) as feeding:
            while not feeding.ended():
                edits += 1
                text = unrelated(edits)
                (rules / "unrelated.yaml").write_text(text[: len(text) // 2] if edits % 4 == 0 else text)
                bed.wait(1.0)
        bed.settle()
        words, alive = worker.words(), worker.alive()
        assert bed.stop() == {"one": 0}
        run = bed.read()
    assert alive
    assert len(LIVE.findall(words)) >= 0.5 * edits, (edits, words[-2000:])
    assert len(REFUSED.findall(words)) >= 0.15 * edits
    assert findings(run, load, raw_at_most=0) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))


CUTS = (0, 1, 17, 200, 600, 1000)


def test_a_worker_stays_with_what_is_live_while_a_file_is_wrong(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    rules = rules_in(tmp_path)
    whole = (rules / "rules.yaml").read_bytes()
    with Bed(
        kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_RULES=str(rules), ZHINAO_RELOAD_S="0.1", ZHINAO_CLOCK="wall"
    ) as bed:
        worker = bed.start_worker("one")
        for number, end in enumerate(CUTS, 1):
            (rules / "rules.yaml").write_bytes(whole[:end])
            wait_for(lambda n=number: len(REFUSED.findall(worker.words())) == n, worker)  # type: ignore[misc]
        assert LIVE.findall(worker.words()) == []
        (rules / "rules.yaml").write_bytes(whole + b"# mended\n")
        wait_for(lambda: len(LIVE.findall(worker.words())) == 1, worker)
        assert len(REFUSED.findall(worker.words())) == len(CUTS)
        assert bed.stop() == {"one": 0}


def publish(bed: Bed, *arguments: str) -> str:
    """What the command said."""
    command = [sys.executable, "-m", "app", "rules", "publish", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=bed.environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def live_in_table(bed: Bed) -> str:
    store = TopicStore(bed.bootstrap, full_name("state", bed.prefix))
    return asyncio.run(store.read(TABLE))[BUNDLE].decode()


def test_two_workers_switch_at_the_same_record_and_a_killed_one_comes_back_with_it(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    rules = rules_in(tmp_path)
    with Bed(kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_BUNDLE="topic", ZHINAO_CLOCK="wall") as bed:
        early = bed.start_worker("early", wait=False)
        assert early.wait_death(WITHIN_S) == 2
        assert "rules publish" in early.words()
        assert "revision 1 published" in publish(bed, str(rules))
        assert "revision 1 is live already" in publish(bed, str(rules))
        one, two = bed.start_worker("one"), bed.start_worker("two")
        for revision in (2, 3):
            (rules / "unrelated.yaml").write_text(unrelated(revision))
            said = publish(bed, str(rules))
            assert f"revision {revision} published" in said
            for worker in (one, two):
                wait_for(lambda w=worker, n=revision: len(LIVE.findall(w.words())) == n - 1, worker)  # type: ignore[misc]
        assert LIVE.findall(one.words()) == LIVE.findall(two.words())
        digest, where = LIVE.findall(one.words())[-1]
        assert digest in said
        assert where.startswith("rules.bundle/0/")
        assert "revision 4 published" in publish(bed, "--back-to", "2")
        wait_for(lambda: len(LIVE.findall(one.words())) == 3, one)
        first, _, (digest, _) = LIVE.findall(one.words())
        assert digest == first[0]
        one.kill()
        two.kill()
        bed.forget_dead()
        again = bed.start_worker("again")
        wait_for(lambda: live_in_table(bed).startswith(digest), again)
        assert LIVE.findall(again.words()) == []  # it began with it
        assert bed.stop() == {"again": 0}, again.words()
