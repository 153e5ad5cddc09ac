"""The example consumers as processes: what each needs, how it is made ready and how it is called."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from tests.conftest import REPOSITORY, not_run

EXAMPLES = REPOSITORY / "examples" / "consumers"
CACHE = REPOSITORY / ".cache" / "consumers"
BUILD_S = 300.0  # some 12 MB of jars and plugins, the first time
RUN_S = 60.0

Command = Callable[[str, str, float, int], list[str]]
"""Of servers, topic, silence in seconds (0: never) and count (0: never)."""


def python_consumer() -> Command:
    script = EXAMPLES / "python" / "incident_changes.py"
    return lambda servers, topic, silence_s, count: [
        sys.executable, str(script),
        "--servers", servers, "--topic", topic, "--silence", str(silence_s), "--count", str(count),
    ]  # fmt: skip


def kcat_consumer() -> Command:
    missing = [tool for tool in ("bash", "kcat", "jq") if shutil.which(tool) is None]
    if missing:
        not_run("kcat and jq", f"{', '.join(missing)} missing")
    script = EXAMPLES / "kcat" / "incident_changes.sh"
    return lambda servers, topic, silence_s, count: [str(script), servers, topic, str(silence_s), str(count)]


def java_consumer() -> Command:
    classpath = ":".join(str(part) for part in build_java())
    return lambda servers, topic, silence_s, count: [
        "java", "-XX:TieredStopAtLevel=1", "-cp", classpath, "IncidentChanges",
        servers, topic, str(silence_s), str(count),
    ]  # fmt: skip


def build_java() -> tuple[Path, Path]:
    """Classes and jars of the Java example, built beside the tree once for each content of it."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if missing:
        not_run("a Java compiler and Maven", f"{', '.join(missing)} missing")
    source = EXAMPLES / "java"
    files = sorted(path for path in source.rglob("*") if path.suffix in (".xml", ".java"))
    folder = CACHE / sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("target"))
            command = ["mvn", "-q", "-B", "-f", str(folder), "compile", "dependency:copy-dependencies"]
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            (folder / "complete").touch()
    return folder / "target" / "classes", folder / "target" / "dependency" / "*"


CONSUMERS: dict[str, Callable[[], Command]] = {
    "python": python_consumer,
    "java": java_consumer,
    "kcat": kcat_consumer,
}


def printed(command: list[str]) -> list[str]:
    """The lines of a consumer that ended well."""
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False, encoding="utf-8"
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()
