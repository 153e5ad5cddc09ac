"""On a machine without Java, Maven and Redis: what needs them is left out and counted, or fails where they must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def run_without_servers(empty: Path, *, required: bool) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": str(empty), "ZHINAO_REQUIRE_SERVERS": "1" if required else ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(empty / "temp")]
    files = ["tests/e2e/test_servers.py", "-m", "kafka or redis"]
    return subprocess.run(
        [*command, *files], env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_tests_without_their_server_are_left_out_and_counted(tmp_path: Path) -> None:
    ended = run_without_servers(tmp_path, required=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-3:-1] == [
        "not run: 3 tests need Redis (redis-server missing)",
        "not run: 7 tests need a Kafka broker (java and maven missing)",
    ]


def test_where_servers_are_required_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    ended = run_without_servers(tmp_path, required=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "not run" not in ended.stdout
    assert "needs Redis (redis-server missing), and ZHINAO_REQUIRE_SERVERS is set" in ended.stdout
    assert "needs a Kafka broker (java and maven missing), and ZHINAO_REQUIRE_SERVERS is set" in ended.stdout
