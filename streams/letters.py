"""Dead letters for people: find them, show one without what is personal in it, send the records again.

Nothing here touches the broker: it is given what was read of `dead-letters`, and says what to send.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import orjson

from models.dead_letters import MAX_KEY_BYTES, DeadLetter, Vault, letter_body, letter_key
from models.faults import MAX_BYTES
from models.privacy import mask_phone, mask_plate, mask_text
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from streams.producer import Headers, Outgoing
from streams.publishing import CENTRE_PARTITION
from streams.topics import full_name, partition_for

REPLAY_HEADER = "zhinao_replay_of"
"""On a record that was sent again: the id of its letter."""
REPLAYED_TOPIC = "dead-letters.replayed"
PERSONAL = {"plate": mask_plate, "caller": mask_phone}
"""Fields that are masked whole, whatever they look like."""
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")

_decode = msgspec.json.Decoder(DeadLetter).decode


class Kept(NamedTuple):
    """A dead letter as it stands on its topic. `id` is what it goes by, `written_ms` when it was written."""

    id: str
    written_ms: int
    letter: DeadLetter

    @property
    def place(self) -> str:
        """Of the record it is about: `camera.tracks/2@88124`."""
        return f"{self.letter.topic}/{self.letter.partition}@{self.letter.offset}"

    @property
    def order(self) -> tuple[int, str]:
        return self.written_ms, self.id


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters. What is None, or empty, does not matter; `since_ms` belongs to it, `until_ms` does not."""

    topic: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    ids: frozenset[str] = frozenset()

    def takes(self, kept: Kept) -> bool:
        letter = kept.letter
        return (
            self.topic in (None, letter.topic)
            and self.reason in (None, letter.reason)
            and (self.since_ms is None or kept.written_ms >= self.since_ms)
            and (self.until_ms is None or kept.written_ms < self.until_ms)
            and (not self.ids or kept.id in self.ids)
        )


def letter_id(written: str) -> str:
    """The id of a letter as people name it: the id itself, `topic/partition/offset` or `topic/partition@offset`."""
    return written if written.startswith("x-") else f"x-{written.replace('@', '/')}"


def wanted_letters(records: Iterable[Any], wanted: Wanted, unreadable: Counter[str]) -> Iterator[Kept]:
    """Each wanted letter once, as they come. What is no letter is counted under its error."""
    seen = set[str]()
    for record in records:
        try:
            letter = _decode(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError) as why:
            unreadable[type(why).__name__] += 1
            continue
        # The id that it bears says the same; a letter that somebody copied here may bear none.
        kept = Kept(f"x-{letter.topic}/{letter.partition}/{letter.offset}", int(record.timestamp), letter)
        if wanted.takes(kept) and kept.id not in seen:
            seen.add(kept.id)
            yield kept


# ------------------------------------------------------------------------------------------------------------- showing


def masked(value: Any, name: str = "") -> Any:
    """A JSON value with the plates, phone and identity numbers in it masked, in names too; numbers that look like one
    become their masks."""
    if isinstance(value, dict):
        return {mask_text(key): masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    text = str(value)
    shown = PERSONAL[name](text) if name in PERSONAL and text else mask_text(text)
    return value if shown == text else shown


def shown_body(body: bytes) -> str:
    """A record for a screen: JSON in lines, other text as it is, masked; of anything else how long it is."""
    try:
        return orjson.dumps(masked(orjson.loads(body)), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        pass
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes, not UTF-8)"
    # A plate may be written as escapes where JSON was cut.
    return mask_text(ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).encode("utf-8", "replace").decode())


# ------------------------------------------------------------------------------------------------------- sending again


class Skip(StrEnum):
    """Why a letter's record is not sent again."""

    REPLAYED = "replayed"
    NOT_KEPT = "not_kept"
    TOMBSTONE = "tombstone"
    NO_VAULT = "no_vault"
    WRONG_VAULT = "wrong_vault"
    TOO_LARGE = "too_large"
    NO_KEY = "no_key"
    UNKNOWN_TOPIC = "unknown_topic"


WHY: Mapping[Skip, str] = {
    Skip.REPLAYED: "已重发过 / sent again before",
    Skip.NOT_KEPT: "正文未保留 / its bytes were not kept",
    Skip.TOMBSTONE: "空值，没有可发的 / a null value: there is nothing to send",
    Skip.NO_VAULT: "正文已加密，未设 ZHINAO_DEAD_LETTER_KEY / encrypted, and ZHINAO_DEAD_LETTER_KEY is not set",
    Skip.WRONG_VAULT: "ZHINAO_DEAD_LETTER_KEY 不对 / ZHINAO_DEAD_LETTER_KEY is not the key it was encrypted with",
    Skip.TOO_LARGE: "超过 1 MiB，可能已截断 / over 1 MiB, and perhaps cut",
    Skip.NO_KEY: "消息键不明，必再被拒 / its key is not known: without it the record would be refused again",
    Skip.UNKNOWN_TOPIC: "不是本系统的输入主题 / not one of the input topics",
}


@dataclass(frozen=True, slots=True)
class Replay:
    """How records are sent again: where to, with what to open them, and what was sent before.

    `to` is a full topic name, for all; None: each to its own topic. `done` is what `mark` made of earlier replays.
    """

    prefix: str
    vault: Vault | None
    partitions: Mapping[str, int]
    done: Collection[str]
    to: str | None = None

    def outgoing(self, kept: Kept) -> Outgoing | Skip:
        """The record of a letter as it was, on the partition that its key belongs to, marked."""
        letter = kept.letter
        if self.to is None and letter.topic not in (*DETECTOR_TOPICS, *DESK_TOPICS):
            return Skip.UNKNOWN_TOPIC
        topic = self.to or full_name(letter.topic, self.prefix)
        if self.mark(kept, topic) in self.done:
            return Skip.REPLAYED
        try:
            body, key = letter_body(letter, self.vault), letter_key(letter, self.vault)
        except ValueError:
            return Skip.NO_VAULT if self.vault is None else Skip.WRONG_VAULT
        if body is None:
            return Skip.TOMBSTONE if letter.reason == "tombstone" else Skip.NOT_KEPT
        if len(body) > MAX_BYTES:
            return Skip.TOO_LARGE
        partition = self._partition(topic, letter, key)
        if partition is None:
            return Skip.NO_KEY
        return Outgoing(topic, body, key, replay_headers(kept), partition)

    def _partition(self, topic: str, letter: DeadLetter, key: bytes | None) -> int | None:
        """Where it is read: of the command centre's topics on its partition, else where the key belongs."""
        if topic in {full_name(name, self.prefix) for name in DESK_TOPICS}:
            return CENTRE_PARTITION
        if key is not None and len(key) < MAX_KEY_BYTES:
            return partition_for(key, self.partitions[topic])
        return None if self.to is None else letter.partition % self.partitions[topic]

    def mark(self, kept: Kept, topic: str) -> str:
        """What is remembered of a letter sent to a topic."""
        return f"{kept.id}>{topic}"

    def note(self, kept: Kept, sent: Outgoing, at: str) -> Outgoing:
        """The record of having sent it, for `dead-letters.replayed`. `at` is RFC 3339."""
        value = {"letter_id": kept.id, "to": sent.topic, "partition": sent.partition, "at": at}
        topic = full_name(REPLAYED_TOPIC, self.prefix)
        return Outgoing(topic, orjson.dumps(value), self.mark(kept, sent.topic).encode())


def replay_headers(kept: Kept) -> Headers:
    """The record's own, as far as the letter kept them, behind the mark: so that a letter about the replayed record
    surely keeps it."""
    own = ((name, value.encode()) for name, value in kept.letter.headers.items() if name != REPLAY_HEADER)
    return ((REPLAY_HEADER, kept.id.encode()), *own)


@dataclass(slots=True)
class Tally:
    """What a replay comes to."""

    sent: Counter[str] = field(default_factory=Counter)
    """By full topic name."""
    skipped: Counter[Skip] = field(default_factory=Counter)
    examples: list[tuple[Kept, Skip]] = field(default_factory=list)
    """The first of those that were skipped, but for what was sent before."""

    EXAMPLES = 20

    def count(self, kept: Kept, outcome: Outgoing | Skip) -> None:
        if isinstance(outcome, Outgoing):
            self.sent[outcome.topic] += 1
            return
        self.skipped[outcome] += 1
        if outcome is not Skip.REPLAYED and len(self.examples) < self.EXAMPLES:
            self.examples.append((kept, outcome))

    @property
    def stuck(self) -> int:
        """Those that cannot be sent."""
        return self.skipped.total() - self.skipped[Skip.REPLAYED]
