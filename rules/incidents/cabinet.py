"""Every dossier by id, and which of them the table does not hold as they are.

Those of open incidents are objects. Those that have ended (they are kept for days, and hardly asked for) and those a
restart has not needed yet stay folded: as the bytes of their entry, a fraction of the memory and nothing to collect;
those that have ended are pressed besides.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from rules.incidents.dossier import FORGET, Dossier, Head
from rules.incidents.marks import Marks
from rules.incidents.press import Press

LETTER = "i"
ENCODER = msgspec.msgpack.Encoder()
DOSSIER = msgspec.msgpack.Decoder(Dossier)
HEAD = msgspec.msgpack.Decoder(Head)


class Cabinet:
    """One way leads to a dossier that is to be changed: `change`, which marks it; `look` is for reading only.

    What either gives may be held until `fold`, at the end of a call of the Desk, and no longer.
    """

    def __init__(self) -> None:
        self._live: dict[str, Dossier] = {}
        self._ended: dict[str, bytes] = {}
        """As `_press` made them."""
        self._press = Press()
        self._unread: dict[str, bytes] = {}
        """Open, and not needed since the restart."""
        self._unfolded: dict[str, bytes] = {}
        """Live ones that have ended or had when they were asked for → the bytes they had then."""
        self._marks = Marks()
        self._digests: dict[str, bytes] = {}
        """Of what the table holds of an open incident: most of what is asked for again does not change."""

    def __contains__(self, identity: str) -> bool:
        return identity in self._live or identity in self._ended or identity in self._unread

    def __len__(self) -> int:
        return len(self._live) + len(self._ended) + len(self._unread)

    @property
    def open(self) -> int:
        """How many incidents are open; right between two calls of the Desk."""
        return len(self._live) + len(self._unread)

    def is_open(self, identity: str) -> bool:
        live = self._live.get(identity)
        return identity in self._unread if live is None else live.ended_us is None

    def look(self, identity: str) -> Dossier | None:
        """To be read only."""
        found = self._live.get(identity)
        return self._unfold(identity) if found is None else found

    def change(self, identity: str) -> Dossier | None:
        """To be changed. It costs little to take one and leave it as it is."""
        found = self.look(identity)
        if found is not None and identity not in self._unfolded:
            self._marks.changed(identity)
        return found

    def _unfold(self, identity: str) -> Dossier | None:
        blob = self._unread.pop(identity, None)
        if blob is not None:
            self._digests[identity] = digest(blob)
        else:
            kept = self._ended.pop(identity, None)
            if kept is None:
                return None
            blob = self._unfolded[identity] = self._press.whole(kept)
        made = self._live[identity] = DOSSIER.decode(blob)
        return made

    def add(self, dossier: Dossier) -> None:
        """A new one, instead of what had its id."""
        identity = dossier.incident_id
        if identity in self:
            self.drop(identity)
            self._marks.changed(identity)
        else:
            self._marks.added(identity)
        self._live[identity] = dossier

    def drop(self, identity: str) -> None:
        self._live.pop(identity, None)
        self._ended.pop(identity, None)
        self._unread.pop(identity, None)
        self._unfolded.pop(identity, None)
        self._digests.pop(identity, None)
        self._marks.dropped(identity)

    def end(self, dossier: Dossier) -> None:
        """The incident has ended: it is folded with the next `fold`."""
        self._unfolded.setdefault(dossier.incident_id, b"")

    def fold(self) -> list[str]:
        """Away with the objects of ended incidents; whose they were. What became of them since is marked here."""
        folded = []
        for identity, before in self._unfolded.items():
            dossier = self._live[identity]
            if dossier.ended_us is not None:
                blob = ENCODER.encode(dossier)
                self._ended[identity] = self._press.small(blob)
                self._live.pop(identity)
                self._digests.pop(identity, None)
                folded.append(identity)
                if blob == before:
                    continue
            self._marks.changed(identity)
        self._unfolded.clear()
        return folded

    def expects(self, identity: str, kind: str, due_us: int) -> bool:
        """Whether the timer may be due then; False is certain. An ended one has no other than FORGET."""
        live = self._live.get(identity)
        if live is not None:
            return live.timers.get(kind) == due_us
        return identity in self._unread or (kind == FORGET and identity in self._ended)

    # ------------------------------------------------------------------------------------------------- entries

    def snapshot(self) -> dict[str, bytes]:
        live = {identity: ENCODER.encode(dossier) for identity, dossier in self._live.items()}
        ended = {identity: self._press.whole(kept) for identity, kept in self._ended.items()}
        kept = (live, ended, self._unread)
        return {f"{LETTER}/{identity}": blob for some in kept for identity, blob in some.items()}

    def changes(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for identity in self._marks:
            live = self._live.get(identity)
            if live is None:
                kept = self._ended.get(identity)
                found[f"{LETTER}/{identity}"] = None if kept is None else self._press.whole(kept)
                continue
            blob = ENCODER.encode(live)
            print_now = digest(blob)
            if self._digests.get(identity) != print_now:
                self._digests[identity] = print_now
                found[f"{LETTER}/{identity}"] = blob
        self._marks.clear()
        return found

    def put_back(self, identity: str, blob: bytes) -> Head:
        """One that the table holds: it stays folded, and only what finds it is read."""
        head = HEAD.decode(blob)
        if head.ended_us is None:
            self._unread[identity] = blob
        else:
            self._ended[identity] = self._press.small(blob)
        return head


def digest(blob: bytes) -> bytes:
    return blake2b(blob, digest_size=16).digest()
