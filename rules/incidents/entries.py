"""What the Desk's memory is in a table: entries that change one by one.

| name | one of |
| --- | --- |
| `i/<incident_id>` | an incident's dossier |
| `t/<ticket_id>` | a ticket's note |
| `v/<vehicle_id>` | a vehicle's spot |
| `e/<order_id>` | feedback of an order not yet issued |
| `g/<detection_id>` | the end of a detection not yet seen |
| `q/<id>` | a quiet time |
| `w/<detection_id>` | a detection that waits for the end of one, or of the incident that silences it |
| `j/<id>` | what one source says to a join |
| `o/<id>` | what of a sequence was reached for one key |
| `s/<generation>/<block>` | ids of feedback and commands that were taken |
| `rest` | the version, the time, and where the counting stands |

Names are printable and at most 130 characters. Everything else the Desk knows is derived from these.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from models.detections import Detection
from models.dispatch import Feedback
from rules.incidents.inputs import Ticket
from rules.patterns.sequence import Progress

VERSION = 3
LETTERS = ("i", "t", "v", "e", "g", "q", "w", "j", "o", "s")


class StateMismatch(Exception):
    """Entries of another version."""


class TicketNote(msgspec.Struct, array_like=True, gc=False):
    """What became of a ticket. `last_us` its newest call time."""

    ticket_id: str
    last_us: int
    heard_us: int
    incident_id: str | None = None
    replies: int = 0
    number: int = 0


class Spot(msgspec.Struct, array_like=True, gc=False):
    """A unit's last known place."""

    vehicle_id: str
    time_us: int
    unit_id: str | None
    lon: float | None
    lat: float | None
    on_duty: bool | None
    number: int = 0


class Early(msgspec.Struct, array_like=True):
    """Feedback before its order."""

    kept_us: int
    time_us: int
    feedback: Feedback


class Strays(msgspec.Struct, array_like=True):
    """All feedback of one order that is not issued yet."""

    heard: list[Early]
    number: int = 0


class Gone(msgspec.Struct, array_like=True):
    """The end of a detection whose raise has not come yet, and when it was heard."""

    kept_us: int
    heard: Detection
    number: int = 0


class Quiet(msgspec.Struct, array_like=True, gc=False):
    """Until when further raises of a rule, zone and key keep quiet."""

    until_us: int
    number: int = 0


class Waiting(msgspec.Struct, array_like=True):
    """A detection inside a rule's quiet time, or silenced by an incident: it opens when that ends, unless it has
    cleared by then."""

    due_us: int
    """0: not a time but the end of the incident `by`."""
    heard: list[Detection]
    by: str = ""
    number: int = 0


class Witness(msgspec.Struct, array_like=True):
    """What one source says to a join: it is there, from `first_us` to at least `last_us`. All times are event times.

    `identity` is the detection's or the ticket's. `heard` is what an incident opens with where none has been opened for
    it yet, `ended` its end; `call` is the ticket, without its text."""

    rule: str
    join: str
    source: str
    who: str
    identity: str
    first_us: int
    last_us: int
    due_us: int
    """When it is to be forgotten; of a step, when it is certain that none before it is still to come."""
    key: str
    lon: float | None
    lat: float | None
    error_m: float
    call: Ticket | None = None
    heard: Detection | None = None
    ended: Detection | None = None
    number: int = 0


class Reached(msgspec.Struct, array_like=True):
    """How far a sequence has come for one key."""

    rule: str
    join: str
    due_us: int
    progress: Progress
    seen: list[Detection]
    """What its steps were told by."""
    number: int = 0
    shape: str = ""
    """Of the sequence, as `joins.shape_of` has it."""


class Version(msgspec.Struct, array_like=True):
    version: int


class Rest(msgspec.Struct, array_like=True):
    version: int
    now_us: int
    numbers: dict[str, int]
    """By the letter of a shelf: the number of the next thing on it."""
    generation: int
    """Of the ids taken: the younger one's number."""
    since_us: int
    """When it began."""


def rest_of(entries: Mapping[str, bytes]) -> Rest:
    """What the other entries cannot be read without. StateMismatch where it is of another version or not there."""
    if not entries:
        return Rest(VERSION, 0, {}, 0, 0)
    if "rest" not in entries:
        raise StateMismatch(f"no version among {len(entries)} entries, this is {VERSION}")
    try:
        version = msgspec.msgpack.decode(entries["rest"], type=Version).version
    except msgspec.DecodeError as why:
        raise StateMismatch(f"no version to be read, this is {VERSION}: {why}") from None
    if version != VERSION:
        raise StateMismatch(f"entries of version {version}, this is {VERSION}")
    return msgspec.msgpack.decode(entries["rest"], type=Rest)


def by_letter(entries: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Entries of each kind, by the rest of their names."""
    kinds: dict[str, dict[str, bytes]] = {letter: {} for letter in LETTERS}
    for name, blob in entries.items():
        if name != "rest":
            letter, _, identity = name.partition("/")
            kinds[letter][identity] = blob
    return kinds
