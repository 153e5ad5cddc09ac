"""`zhinao dead-letters list|show|replay`: what could not be used, see streams.letters."""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.durations import seconds
from streams.commands.failing import CannotRun
from streams.commands.findings import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.contracts_texts import Texts
    from models.dead_letters import Vault
    from streams.letters import Kept, Replay, Tally, Wanted
    from streams.producer import Outgoing, Producer

    F = TypeVar("F", bound=Callable[..., Any])

LETTERS = "dead-letters"
BATCH = 500  # records acknowledged before it is noted that they were sent: what a crash may send twice
SHOWN = 1000
POLL_MS = 200
SILENT_S = 30.0


class Moment(click.ParamType):
    """An instant as RFC 3339, or how long ago; gives epoch milliseconds."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from models.times import BadTime, parse_rfc3339_us

        text = str(value)
        try:
            return time.time_ns() // 1_000_000 - round(seconds(text) * 1000)
        except ValueError:
            pass
        try:
            return parse_rfc3339_us(text) // 1000
        except BadTime:
            self.fail(f"{text!r} is no instant; write 2h, 30m or 2026-03-02T07:10:00+08:00", param, ctx)


MOMENT = Moment()


def which_letters(command: F) -> F:
    """`--topic`, `--reason`, `--since`, `--until`."""
    for option in (
        click.option("--until", type=MOMENT, help="Written before: as --since."),
        click.option("--since", type=MOMENT, help="Written since: 2h (ago), or an instant as RFC 3339."),
        click.option("--reason", help="Only of this reason, such as unregistered_sensor."),
        click.option("--topic", help="Only of records of this topic, such as camera.tracks."),
    ):
        command = option(command)
    return command


@click.group(name="dead-letters")
def dead_letters() -> None:
    """死信工具 / Dead letters: list them, show one, send the records again."""


# ------------------------------------------------------------------------------------------------------------- listing


@dead_letters.command(name="list")
@broker_option
@which_letters
@click.option("--json", "as_json", is_flag=True, help="One object: the letters (without bodies), the sums.")
@click.option("--limit", type=click.IntRange(0), default=SHOWN, show_default=True, help="Show the newest so many.")
def list_(
    broker: str | None,
    topic: str | None,
    reason: str | None,
    since: int | None,
    until: int | None,
    as_json: bool,
    limit: int,
) -> None:
    """列出死信 / List dead letters, one line each, the newest last, and how many of each topic and reason.

    Reads from the start, or from --since, to the end as it is now.
    """
    from models.times import format_time, zone_info
    from streams.letters import Kept, wanted_letters

    at = Connection.open(broker)
    wanted = _wanted(at, topic, reason, since, until)
    zone = zone_info(at.settings.timezone)
    sums, unreadable, newest = Counter[tuple[str, str]](), Counter[str](), list[tuple[tuple[int, str], Kept]]()
    with Held(at, LETTERS, since) as held:
        for kept in wanted_letters(held.records(), wanted, unreadable):
            sums[kept.letter.topic, kept.letter.reason] += 1
            if limit:
                shown = (kept.order, _without_body(kept))
                (heapq.heappush if len(newest) < limit else heapq.heappushpop)(newest, shown)
    found = [kept for _, kept in sorted(newest, key=lambda one: one[0])]
    if as_json:
        _print_json(
            {
                "letters": [_listed(kept, format_time(kept.written_ms * 1000, zone)) for kept in found],
                "sums": [{"topic": t, "reason": r, "count": n} for (t, r), n in sums.most_common()],
                "unreadable": unreadable.total(),
            }
        )
        return
    for kept in found:
        letter = kept.letter
        when = format_time(kept.written_ms * 1000, zone)[:19]
        click.echo(f"{when}  {kept.place}  {letter.reason}  {letter.stage}  {letter.path}  {letter.detail}")
    _print_sums(sums, sums.total() - len(found))
    if unreadable:
        click.echo(f"{counted(unreadable.total(), 'record')} on {LETTERS} not understood", err=True)


def _print_sums(sums: Counter[tuple[str, str]], not_shown: int) -> None:
    for (topic, reason), number in sums.most_common():
        click.echo(f"{number:>8}  {topic}  {reason}  {_meaning(reason)}".rstrip())
    more = f"；较早的 {not_shown} 封未列出 / the {not_shown} older ones not listed" if not_shown else ""
    click.echo(f"共 {sums.total()} 封 / {counted(sums.total(), 'dead letter')}{more}")


def _listed(kept: Kept, written: str) -> dict[str, Any]:
    letter = kept.letter
    about = {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    why = {"reason": letter.reason, "stage": letter.stage, "path": letter.path, "detail": letter.detail}
    return {"id": kept.id, "written": written, **about, **why, "encrypted": letter.encrypted}


def _without_body(kept: Kept) -> Kept:
    from msgspec.structs import replace

    return kept._replace(letter=replace(kept.letter, body_b64=None, key_b64=None))


# ------------------------------------------------------------------------------------------------------------- showing


@dead_letters.command()
@click.argument("letter", metavar="LETTER")
@broker_option
@click.option("--body", "raw", is_flag=True, help="The record's bytes to stdout and nothing else, with all in them.")
def show(letter: str, broker: str | None, raw: bool) -> int:
    """看一封死信 / Show a dead letter: why, and the record with its plates, phone and identity numbers masked.

    LETTER is its id (x-camera.tracks/2/88124), or topic/partition/offset of the record. An encrypted body is opened
    with ZHINAO_DEAD_LETTER_KEY.
    """
    from models.dead_letters import letter_body
    from streams.letters import Wanted, letter_id, wanted_letters

    at = Connection.open(broker)
    wanted = Wanted(ids=frozenset((letter_id(letter),)))
    with Held(at, LETTERS) as held:
        kept = next(wanted_letters(held.records(), wanted, Counter()), None)
    if kept is None:
        click.echo(f"没有这封死信 / no dead letter {letter}", err=True)
        return 1
    if not raw:
        return _show(at, kept)
    try:
        body = letter_body(kept.letter, _vault(at))
    except ValueError as why:
        raise CannotRun(f"{why}; ZHINAO_DEAD_LETTER_KEY must be the workers'") from None
    if body is None:
        raise CannotRun("its bytes were not kept")
    sys.stdout.buffer.write(body)
    return 0


def _show(at: Connection, kept: Kept) -> int:
    from models.dead_letters import letter_body, letter_key
    from models.privacy import mask_text
    from models.times import format_time, zone_info
    from streams.letters import shown_body

    letter, vault = kept.letter, _vault(at)
    written = format_time(kept.written_ms * 1000, zone_info(at.settings.timezone))
    for name, value in (
        ("编号 id", kept.id),
        ("写入 written", written),
        ("记录 record", kept.place),
        ("原因 reason", f"{letter.reason}  {_meaning(letter.reason)}".rstrip()),
        ("环节 stage", letter.stage),
        ("位置 path", letter.path),
        ("说明 detail", letter.detail),
        *((f"消息头 header {name}", mask_text(value)) for name, value in letter.headers.items()),
    ):
        click.echo(f"{name}: {value}")
    try:
        key, body = letter_key(letter, vault), letter_body(letter, vault)
    except ValueError as why:
        click.echo(f"正文 body: {why}; ZHINAO_DEAD_LETTER_KEY must be the workers'")
        return 1
    click.echo(f"键 key: {'–' if key is None else mask_text(key.decode(errors='replace'))}")
    click.echo(f"正文 body: {'未保留或为空值 / not kept, or null' if body is None else shown_body(body)}")
    return 0


# ------------------------------------------------------------------------------------------------------- sending again


@dead_letters.command()
@broker_option
@which_letters
@click.option("--id", "ids", multiple=True, metavar="LETTER", help="Only this one, as for show; may be repeated.")
@click.option("--to", metavar="TOPIC", help="To this topic of the broker, instead of each to its own.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    broker: str | None,
    topic: str | None,
    reason: str | None,
    since: int | None,
    until: int | None,
    ids: tuple[str, ...],
    to: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """重发 / Send the records of dead letters again, as they were: mend the cause first.

    Bytes, key and headers are the record's own; a header zhinao_replay_of names the letter. What was sent once is not
    sent again. Ends with 1 where some cannot be sent.
    """
    at = Connection.open(broker)
    wanted = _wanted(at, topic, reason, since, until, ids)
    again = _replay(at, to)
    with Held(at, LETTERS, since) as held:
        tally = _planned(held, wanted, again)
        _print_plan(tally, to_do=True)
        if not tally.sent or dry_run:
            return 1 if tally.stuck else 0
        if not yes and not click.confirm("现在发送？/ Send them now?", err=True):
            click.echo("未发送 / nothing was sent")
            return 1 if tally.stuck else 0
        tally = asyncio.run(_send(at, held, wanted, again))
    _print_plan(tally, to_do=False)
    return 1 if tally.stuck else 0


def _replay(at: Connection, to: str | None) -> Replay:
    from models.streams import DESK_TOPICS, DETECTOR_TOPICS
    from streams.letters import REPLAYED_TOPIC, Replay
    from streams.topics import TOPICS, full_name

    target = full_name(to, at.prefix) if to is not None and to in TOPICS else to
    inputs = [full_name(name, at.prefix) for name in (*DETECTOR_TOPICS, *DESK_TOPICS)]
    partitions = at.partitions([target] if target else inputs)
    with Held(at, REPLAYED_TOPIC) as before:
        done = {record.key.decode() for record in before.records() if record.key is not None}
    return Replay(at.prefix, _vault(at), partitions, done, target)


def _planned(held: Held, wanted: Wanted, again: Replay) -> Tally:
    from streams.letters import Tally, wanted_letters

    tally = Tally()
    for kept in wanted_letters(held.records(), wanted, Counter()):
        tally.count(kept, again.outgoing(kept))
    return tally


async def _send(at: Connection, held: Held, wanted: Wanted, again: Replay) -> Tally:
    from streams.letters import Kept, Tally, wanted_letters
    from streams.producer import Outgoing, Producer, SendError

    tally, batch = Tally(), list[tuple[Kept, Outgoing]]()
    try:
        async with Producer(at.servers, options=at.client_options()) as producer:
            for kept in wanted_letters(held.records(), wanted, Counter()):
                outcome = again.outgoing(kept)
                tally.count(kept, outcome)
                if isinstance(outcome, Outgoing):
                    batch.append((kept, outcome))
                if len(batch) == BATCH:
                    await _send_batch(at, producer, again, batch)
                    batch = []
            await _send_batch(at, producer, again, batch)
    except SendError as why:
        raise CannotRun(f"{why}; what was acknowledged is noted, the same command goes on from there") from None
    return tally


async def _send_batch(
    at: Connection, producer: Producer, again: Replay, batch: Sequence[tuple[Kept, Outgoing]]
) -> None:
    """First the records, then the notes: a crash in between sends a few twice and loses none."""
    from models.times import format_time, zone_info

    now = format_time(time.time_ns() // 1000, zone_info(at.settings.timezone))
    await producer.send_batch([outgoing for _, outgoing in batch])
    await producer.send_batch([again.note(kept, outgoing, now) for kept, outgoing in batch])


def _print_plan(tally: Tally, *, to_do: bool) -> None:
    from streams.letters import WHY

    verb = "待发 / to send" if to_do else "已发 / sent"
    for topic, number in sorted(tally.sent.items()):
        click.echo(f"{verb}: {number} → {topic}")
    for why, number in sorted(tally.skipped.items()):
        click.echo(f"略过 / skipped: {number}  {WHY[why]}")
    for kept, why in tally.examples if to_do else ():
        click.echo(f"  {kept.place}  {why}")
    if not tally.sent:
        click.echo("没有要发的 / nothing to send")


# ------------------------------------------------------------------------------------------------------------- reading


class Held:
    """What a topic holds as of now, to be read once or more; nothing is committed. A context manager."""

    def __init__(self, at: Connection, topic: str, since_ms: int | None = None) -> None:
        from kafka import KafkaConsumer, TopicPartition

        from streams.commands.reading import FETCH_BYTES
        from streams.topics import full_name

        name = full_name(topic, at.prefix)
        partitions = [TopicPartition(name, number) for number in range(at.partitions([name])[name])]
        self._consumer = KafkaConsumer(
            **at.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        self._consumer.assign(partitions)
        self._starts: dict[Any, int] = self._consumer.beginning_offsets(partitions)
        self._ends: dict[Any, int] = self._consumer.end_offsets(partitions)
        if since_ms is not None and not at.settings.embedded:  # the embedded broker knows no times
            found = self._consumer.offsets_for_times(dict.fromkeys(partitions, max(since_ms, 0)))
            self._starts |= {tp: self._ends[tp] if at is None else at.offset for tp, at in found.items()}

    def records(self) -> Iterator[Any]:
        """All of them, each partition in its order. Raises `CannotRun` where the broker falls silent."""
        for partition, start in self._starts.items():
            self._consumer.seek(partition, start)
        heard = time.monotonic()
        while any(self._consumer.position(partition) < end for partition, end in self._ends.items()):
            batches = self._consumer.poll(timeout_ms=POLL_MS)
            if not batches and time.monotonic() - heard > SILENT_S:
                raise CannotRun(f"the broker has said nothing for {SILENT_S:g} s")
            for partition, records in batches.items():
                yield from (record for record in records if record.offset < self._ends[partition])
                heard = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _wanted(
    at: Connection,
    topic: str | None,
    reason: str | None,
    since: int | None,
    until: int | None,
    ids: Sequence[str] = (),
) -> Wanted:
    from models.observations import DeadReason
    from streams.commands.reading import named_topic
    from streams.letters import Wanted, letter_id

    if reason is not None and reason not in list(DeadReason):
        raise click.BadParameter(f"no reason {reason!r}; reasons are {', '.join(DeadReason)}")
    name = None if topic is None else named_topic(topic, at.prefix)
    return Wanted(name, reason, since, until, frozenset(map(letter_id, ids)))


def _vault(at: Connection) -> Vault | None:
    from models.dead_letters import Vault

    key = at.settings.dead_letter_key
    return None if key is None else Vault(key.get_secret_value().encode())


@cache
def _texts() -> Texts:
    """The catalogue of the contracts, where it is at hand."""
    from models.contracts_texts import Texts
    from streams.contracts import CATALOGUE, PUBLISHED, read_texts

    path = PUBLISHED / CATALOGUE
    return read_texts(path) if path.is_file() else Texts({})


def _meaning(reason: str) -> str:
    """The reason in Chinese and English."""
    from models.contracts_texts import MissingText

    try:
        return _texts().word("DeadLetter", "reason", reason).line()
    except MissingText:
        return ""


def _print_json(body: object) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode() + "\n")
