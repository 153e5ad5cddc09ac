"""What measures time has the machine for itself, though a test run may be several processes.

Processes meet at two files. Who goes beside others holds `running` shared, who goes alone holds it exclusively; both
pass `turnstile` first, and who is to be alone stands in it until everybody has left, so nobody new comes in before.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until the block may run among those of the same folder. Not to be nested."""
    with _held(folder / "running", fcntl.LOCK_EX if alone else fcntl.LOCK_SH, through=folder / "turnstile"):
        yield


@contextmanager
def _held(path: Path, how: int, *, through: Path) -> Iterator[None]:
    with path.open("ab") as running:
        with through.open("ab") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(running, how)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
        try:
            yield
        finally:  # not by closing: a child process may have the file too
            fcntl.flock(running, fcntl.LOCK_UN)
