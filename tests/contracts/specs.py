"""AsyncAPI's own schemas, from the package in which its makers publish them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from tests.conftest import REPOSITORY, not_run

LOCK = Path(__file__).resolve().parent / "asyncapi"
CACHE = REPOSITORY / ".cache" / "asyncapi"
FETCH_S = 120.0  # half a megabyte


def fetch_specs() -> Path:
    """The folder of AsyncAPI's published schemas; fetched once, with the versions and hashes of the lock."""
    npm = shutil.which("npm")
    lock = (LOCK / "package-lock.json").read_bytes()
    folder = CACHE / sha256(lock).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            if npm is None:
                not_run("AsyncAPI's schema", "npm missing")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(LOCK, folder)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_S)
            (folder / "complete").touch()
    return folder / "node_modules" / "@asyncapi" / "specs" / "schemas"
