"""The gate stops a slower or wrong core, and says why where it can't compare."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import gate, parking
from benchmarks.parking import Parking

HOUR = 3600
SMALL = Parking(events=3_000, zones=60, tracks=50, park_s=6)
CITY = """
import json, time

class Told:
    def __init__(self, row):
        self.kind, self.key, self.zone = "raised", {"track_id": row["track"]}, row["zone"]

class Outcome:
    detections = ()

class Detector:
    def __init__(self, truth):
        self.truth = truth
    def feed(self, topic, records):
        sum(range(50 * len(records)))
        return Outcome
    def advance(self, to_us):
        return [Told(row) for row in self.truth]
    def snapshot(self):
        return bytes(sum(range(20_000)) % 7)
    def restore(self, blob):
        pass

class City:
    def __init__(self, folder):
        self.truth = json.loads((folder / "truth.json").read_text())
    def detector(self, partition):
        return Detector(self.truth)

def build_city(settings, *, rules, zones):
    return City(zones[0].parent)
"""
SETTINGS = """
class Settings:
    @classmethod
    def read(cls):
        return cls()
"""


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gate") / "small"
    parking.write(SMALL, made)
    return made


def run_git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=gate", "-c", "user.email=gate@example.org", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, monkeypatch: pytest.MonkeyPatch, hours_ago: float) -> str:
    at = f"@{int(time.time() - hours_ago * HOUR)} +0000"
    monkeypatch.setenv("GIT_COMMITTER_DATE", at)
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--allow-empty", "--message", f"{hours_ago:g} hours ago")
    return run_git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository without a commit, whose core is a stub."""
    made = tmp_path / "city"
    (made / "streams").mkdir(parents=True)
    for name, text in {"__init__": "", "city": CITY, "settings": SETTINGS}.items():
        (made / "streams" / f"{name}.py").write_text(text)
    (made / ".gitignore").write_text("__pycache__/\n")
    run_git(made, "init", "--quiet", "--initial-branch=main")
    return made


def edit(root: Path, old: str, new: str) -> None:
    file = root / "streams" / "city.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def run_gate(root: Path, workload: Path) -> int:
    return gate.gate(root, workload=workload, pairs=1, rounds=3)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_a_core_made_slower_is_stopped(tmp_path, workload, monkeypatch, capsys):
    monkeypatch.setenv("ZHINAO_COMPILED", "off")
    root = tmp_path / "copy"
    for room in gate.ROOMS:
        shutil.copytree(gate.ROOT / room, root / room, ignore=shutil.ignore_patterns("*.nbi", "*.nbc"))
    (root / ".gitignore").write_text("__pycache__/\n")
    run_git(root, "init", "--quiet")
    commit(root, monkeypatch, 5)
    commit(root, monkeypatch, 1)
    with (root / "rules" / "detection" / "detector.py").open("a") as file:
        file.write(
            "\n_feed = Detector.feed\n"
            "def _slow(self, topic, records):\n"
            "    for _ in records: sum(range(10_000))\n"
            "    return _feed(self, topic, records)\n"
            "Detector.feed = _slow\n"
        )
    assert run_gate(root, workload) == 1
    told = capsys.readouterr().out
    assert "5 hours ago" in told
    assert "SLOWER" in next(line for line in told.splitlines() if line.startswith("single"))


@pytest.mark.parametrize("slow", ["sum(range(100 * len(records)))", "time.sleep(0.003)"])
def test_more_work_and_more_waiting_are_stopped(root, workload, monkeypatch, capsys, slow):
    commit(root, monkeypatch, 5)
    edit(root, "        return Outcome\n", f"        if len(records) > 1: {slow}\n        return Outcome\n")
    commit(root, monkeypatch, 1)
    assert run_gate(root, workload) == 1
    assert "SLOWER than it may be: single, frames, columnar" in capsys.readouterr().out


def test_a_faster_core_passes_and_nothing_is_left(root, workload, monkeypatch, tmp_path, capsys):
    commit(root, monkeypatch, 5)
    edit(root, "50 * len(records)", "20 * len(records)")
    edit(root, "20_000", "10_000")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    assert run_gate(root, workload) == 0
    assert "SLOWER" not in capsys.readouterr().out
    assert list((tmp_path / "scratch").iterdir()) == []
    assert len(run_git(root, "worktree", "list").splitlines()) == 1


def test_other_episodes_are_stopped(root, workload, monkeypatch, capsys):
    commit(root, monkeypatch, 5)
    edit(root, "for row in self.truth]", "for row in self.truth[1:]]")
    assert run_gate(root, workload) == 1
    assert "answers wrongly: single: " in one_line(capsys)


def test_a_core_that_fails_is_stopped(root, workload, monkeypatch, capsys):
    commit(root, monkeypatch, 5)
    edit(root, "sum(range(50 * len(records)))", "no_such_name")
    assert run_gate(root, workload) == 1
    assert "this tree's core fails: NameError" in one_line(capsys)


@pytest.mark.parametrize(
    "older",
    [
        "import no_such_package\n" + CITY,
        CITY.replace("for row in self.truth]", "for row in self.truth[1:]]"),
        "import os\nos._exit(3)\n",
    ],
)
def test_an_older_tree_that_cannot_do_it_is_no_fault(root, workload, monkeypatch, capsys, older):
    (root / "streams" / "city.py").write_text(older)
    commit(root, monkeypatch, 5)
    (root / "streams" / "city.py").write_text(CITY)
    assert run_gate(root, workload) == 0
    assert "nothing compared: the older tree can't do this work" in one_line(capsys)


def test_an_older_tree_borrows_no_module_of_this_one(root, workload, monkeypatch, capsys):
    """As an editable install would lend them."""
    edit(root, "import json, time", "import json, time\nimport streams.clock")
    commit(root, monkeypatch, 5)
    edit(root, "import streams.clock", "")
    assert run_gate(root, workload) == 0
    assert "No module named 'streams.clock'" in one_line(capsys)


def test_without_an_old_commit_nothing_is_compared(root, workload, monkeypatch, capsys):
    commit(root, monkeypatch, 3.9)
    edit(root, "50 * len", "90 * len")
    commit(root, monkeypatch, 1)
    assert run_gate(root, workload) == 0
    assert one_line(capsys) == "gate: nothing compared: no commit is older than 4 hours"


def test_in_a_shallow_clone_it_says_so(root, workload, monkeypatch, capsys, tmp_path):
    commit(root, monkeypatch, 5)
    edit(root, "50 * len", "90 * len")
    commit(root, monkeypatch, 1)
    run_git(tmp_path, "clone", "--quiet", "--depth=1", root.as_uri(), "shallow")
    assert run_gate(tmp_path / "shallow", workload) == 0
    assert one_line(capsys) == "gate: nothing compared: no commit is older than 4 hours in this shallow clone"


def test_without_a_repository_it_says_so(workload, capsys, tmp_path):
    assert run_gate(tmp_path, workload) == 0
    assert "nothing compared: git log: " in one_line(capsys)


def test_it_is_the_newest_of_the_old_commits_by_the_committers_date(root, monkeypatch):
    commit(root, monkeypatch, 9)
    newest = commit(root, monkeypatch, 5)
    commit(root, monkeypatch, 7)
    commit(root, monkeypatch, 2)
    assert gate.older_commit(root, time.time()) == newest


def test_an_old_head_is_compared_with_the_one_before_it_unless_files_have_changed(root, monkeypatch):
    before, head = commit(root, monkeypatch, 9), commit(root, monkeypatch, 5)
    assert gate.older_commit(root, time.time()) == before
    (root / "README.md").write_text("not of the core")
    assert gate.older_commit(root, time.time()) == before
    (root / "streams" / "more.py").write_text("")
    assert gate.older_commit(root, time.time()) == head


def test_an_equal_core_needs_no_run(root, monkeypatch, capsys, tmp_path):
    commit(root, monkeypatch, 5)
    (root / "README.md").write_text("not of the core")
    commit(root, monkeypatch, 1)
    assert run_gate(root, tmp_path) == 0
    assert "nothing compared: the core is that of " in one_line(capsys)


@pytest.mark.alone
def test_a_machine_too_busy_for_it_is_no_fault(root, workload, monkeypatch, capsys):
    commit(root, monkeypatch, 5)
    edit(root, "sum(range(50 * len(records)))", "time.sleep(5)")
    monkeypatch.setattr(gate, "LIMIT_S", 1)
    began = time.monotonic()
    assert run_gate(root, workload) == 0
    assert time.monotonic() - began < 4
    assert one_line(capsys) == "gate: nothing compared: this machine is too busy: 0 pairs in 1 s"


def test_the_median_of_the_pairs_is_judged():
    def pair(core: float, clock: float = 1.0) -> dict[str, gate.Ratio]:
        return {figure: gate.Ratio(core, clock) for figure in gate.MAY_LOSE}

    assert gate.Report([pair(1.0), pair(1.01), pair(3.0)]).slower() == []
    assert gate.Report([pair(1.0), pair(1.2), pair(1.2)]).slower() == list(gate.MAY_LOSE)
    assert gate.Report([pair(1.0, 1.4)]).slower() == list(gate.MAY_LOSE)


def test_the_loss_allowed_is_small():
    assert max(gate.MAY_LOSE.values()) <= 1.15
