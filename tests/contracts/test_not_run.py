"""Without the tools of the example consumers their tests are left out and counted, or fail where the tools must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def run_without_tools(empty: Path, *, required: bool) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": str(empty), "ZHINAO_REQUIRE_SERVERS": "1" if required else ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(empty / "temp")]
    return subprocess.run(
        [*command, "tests/contracts/test_consumers.py"],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_consumers_without_their_tools_are_left_out_and_counted(tmp_path: Path) -> None:
    ended = run_without_tools(tmp_path, required=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-4:-1] == [
        "not run: 2 tests need a Java compiler and Maven (java, javac, mvn missing)",
        "not run: 3 tests need a Kafka broker (java and maven missing)",
        "not run: 2 tests need kcat and jq (bash, kcat, jq missing)",
    ]


def test_where_tools_are_required_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    ended = run_without_tools(tmp_path, required=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "not run" not in ended.stdout
    assert "needs kcat and jq (bash, kcat, jq missing), and ZHINAO_REQUIRE_SERVERS is set" in ended.stdout
    assert (
        "needs a Java compiler and Maven (java, javac, mvn missing), and ZHINAO_REQUIRE_SERVERS is set" in ended.stdout
    )
