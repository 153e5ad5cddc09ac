"""Named places in the order of decide, send, store, commit where a test may end the process, so that none is left to
luck. Without `ZHINAO_FAIL_AT` they do nothing.

`ZHINAO_FAIL_AT=after_output:3` kills the process (as `kill -9` does) the third time it comes to that place; several are
separated by commas.
"""

import os
import signal
from collections.abc import Mapping
from enum import StrEnum

VARIABLE = "ZHINAO_FAIL_AT"


class Place(StrEnum):
    """Where. A test kills at each."""

    ASSIGNED = "assigned"
    """State is loaded and the journal repeated; nothing flows yet."""
    DECIDED = "decided"
    """A Detector has decided a chunk; nothing of it is sent."""
    SENT = "sent"
    """What a Detector decided is acknowledged; its state is not stored."""
    SAVING = "saving"
    """Part of a save is written; it is not complete."""
    SAVED = "saved"
    """A save is complete; the offsets behind it are not free to be committed."""
    COMMITTING = "committing"
    """Offsets are about to be committed."""
    COMMITTED = "committed"
    JOURNALLED = "journalled"
    """A step of the Desk is in the journal; it is not done."""
    STEP_SENT = "step_sent"
    """Some of what a step decided is acknowledged, more of it may follow."""
    TRIMMED = "trimmed"
    """The journal behind a save is gone."""


def armed(environment: Mapping[str, str]) -> dict[str, int]:
    """How often each place is passed until it ends the process. ValueError for a place there is not."""
    found = {}
    for part in filter(None, environment.get(VARIABLE, "").split(",")):
        name, _, count = part.partition(":")
        found[str(Place(name))] = int(count or 1)
    return found


_left = armed(os.environ)


def reach(place: Place) -> None:
    """We are there."""
    if not _left or place not in _left:
        return
    _left[place] -= 1
    if _left[place] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
