"""Child processes of ours: started with their own log, read line by line, ended by their pid, and never orphaned."""

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
# A worker stores its state and leaves its group; then it is killed.
STOP_LIMIT_S = 10.0
PR_SET_PDEATHSIG = 1
COULD_NOT_RUN = 2
SHOWN_LINES = 40
_prctl = ctypes.CDLL(None).prctl


def _end_with_parent() -> None:
    # Runs in the child: a parent killed with -9 can end nobody any more.
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """`python -m app <arguments>`; stderr goes to `log`, stdout is read by `lines`. Start it on the main thread."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        paths = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        with log.open("ab") as errors:
            self._log_from = errors.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**environment, "PYTHONPATH": paths},
                start_new_session=True,  # a Ctrl-C is for the parent, which ends its children in their order
                preexec_fn=_end_with_parent,  # noqa: PLW1509 (one C call, nothing that could hold a lock)
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:
            for line in pipe:
                self._lines.put(line.decode(errors="replace").rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number for a killed one."""
        return self._process.poll()

    def lines(self) -> Iterator[str]:
        """What it has printed since the last call. Whole once it has ended."""
        if self.exit_code is not None:
            self._reader.join(STOP_LIMIT_S)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._lines.get_nowait()

    def ask_to_stop(self) -> None:
        """SIGTERM; nothing to one that has ended."""
        with contextlib.suppress(OSError):
            self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, then kill; returns when it is gone."""
        self.ask_to_stop()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_LIMIT_S)

    def cause(self) -> str:
        """How it ended and the last thing it said, for people. One that could not run (2) has said why: all of that."""
        code = self.exit_code
        said = [line for line in self._said().splitlines() if line.strip()]
        if code == COULD_NOT_RUN and said:
            return "\n".join([f"{self.name} could not run", *said[:SHOWN_LINES]])
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return f"{self.name}: {how}{f': {said[-1].strip()}' if said else ''}"

    def _said(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")
