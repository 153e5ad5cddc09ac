"""Starting, stopping and reading the log of a server that tests run."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_TERMINATE_S = 10.0  # a broker closes its logs in about one second; then it is killed


def start(command: Sequence[str], *, log: Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a server with its output in `log` (appended).

    Where there is setpriv it dies with the thread that started it, even one killed: start servers on the main thread.
    """
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal is the test run's, which then stops the server itself.
        return subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )


def stop(*processes: subprocess.Popen[bytes] | None, at_once: bool = False) -> None:
    """End exactly these processes: ask all, then kill; or kill at once. Nothing happens to one that has ended."""
    running = [process for process in processes if process is not None and process.poll() is None]
    if not at_once:
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _TERMINATE_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    for process in running:
        process.kill()  # nothing to one that has ended
        process.wait()


def tail(log: Path, lines: int) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"
