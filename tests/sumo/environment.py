"""SUMO, which makes the recordings of the synthetic city, in an environment of its own under .cache.

Locked with hashes in sumo.txt. `fetch()` makes it once; a test only looks whether it is there.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("sumo.txt")
FOLDER = ROOT / ".cache" / "sumo"
MAKE_LIMIT_S = 150
RUN_LIMIT_S = 240


class SumoUnavailable(Exception):
    """Why it is not there."""


def python_with_sumo() -> Path:
    """The interpreter that has SUMO: the running one, else that of the environment. Raises SumoUnavailable."""
    if find_spec("sumo") is not None:
        return Path(sys.executable)
    if not _is_made():
        raise SumoUnavailable("python -m tests.sumo.environment fetches it")
    return FOLDER / "bin" / "python"


def fetch() -> Path:
    """Make the environment unless the same lock has made it before. Raises CalledProcessError or TimeoutExpired."""
    python = FOLDER / "bin" / "python"
    if not _is_made():
        shutil.rmtree(FOLDER, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        for command in ([sys.executable, "-m", "venv", str(FOLDER)], [*install, "-r", str(LOCK)]):
            subprocess.run(command, check=True, timeout=MAKE_LIMIT_S)
        (FOLDER / "complete").write_text(_digest())
    return python


def make_recording(seed: int, out: Path, truth: Path, *, dawn: bool = False) -> None:
    """As `make_pinghu` makes it. Raises SumoUnavailable."""
    options = ["--seed", str(seed), "--out", str(out), "--truth", str(truth), *(["--dawn"] if dawn else [])]
    command = [str(python_with_sumo()), "-m", "streams.recordings.make_pinghu", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def version() -> str:
    """Of SUMO. Raises SumoUnavailable."""
    ask = "from importlib.metadata import version; print(version('eclipse-sumo'))"
    command = [str(python_with_sumo()), "-c", ask]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=True).stdout.strip()


def _is_made() -> bool:
    complete = FOLDER / "complete"
    return complete.exists() and complete.read_text() == _digest()


def _digest() -> str:
    return hashlib.blake2b(LOCK.read_bytes(), digest_size=16).hexdigest()


if __name__ == "__main__":
    print(fetch())
