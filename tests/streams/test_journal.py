"""One contract over both journals, and what each has of its own."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streams import journal as journal_module
from streams.journal import BODY, FRAME, OPEN, STEP, FileJournal, Journal, JournalError, TopicJournal, _Fence
from streams.producer import Outgoing, Producer

ROOT = Path(__file__).resolve().parents[2]
Opener = Callable[[], Any]


@pytest.fixture(params=["file", pytest.param("topic", marks=pytest.mark.kafka)])
def open_journal(request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str) -> Opener:
    if request.param == "file":

        @asynccontextmanager
        async def file_journal() -> AsyncIterator[Journal]:
            journal = await FileJournal.open(tmp_path / "journal")
            yield journal
            await journal.close()

        return file_journal
    kafka = request.getfixturevalue("kafka")
    topic = f"{unique_prefix}desk.journal.v1"
    kafka.create_topics(topic)

    @asynccontextmanager
    async def topic_journal() -> AsyncIterator[Journal]:
        async with Producer(kafka.bootstrap, linger_ms=0) as producer:
            yield await TopicJournal.open(kafka.bootstrap, topic, 2, producer)

    return topic_journal


async def steps(journal: Journal, position: int = 0) -> list[tuple[int, bytes]]:
    return [found async for found in journal.read_from(position)]


def test_steps_come_back_in_order_after_a_restart_and_the_epoch_rises(open_journal: Opener) -> None:
    async def check() -> None:
        async with open_journal() as journal:
            assert await steps(journal) == []
            first = [(await journal.append(step), step) for step in (b"a", b"", b"c" * 100_000)]
            epoch = journal.epoch()
            assert await steps(journal) == first
        async with open_journal() as journal:
            assert journal.epoch() > epoch
            second = [(await journal.append(b"d"), b"d")]
            positions = [position for position, _ in first + second]
            assert positions == sorted(set(positions))
            assert await steps(journal) == first + second
            assert await steps(journal, positions[1]) == (first + second)[1:]
            assert await steps(journal, positions[0] + 1) == (first + second)[1:]
            assert await steps(journal, positions[-1] + 1) == []

    asyncio.run(check())


def test_what_was_trimmed_is_not_needed_and_asking_for_it_is_an_error(
    open_journal: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 2000)

    async def check() -> None:
        async with open_journal() as journal:
            written = [(await journal.append(b"%d" % n * 50), b"%d" % n * 50) for n in range(100)]
            await journal.trim(written[60][0])
            assert await steps(journal, written[60][0]) == written[60:]
            with pytest.raises(JournalError):
                await steps(journal, written[1][0])
        async with open_journal() as journal:
            assert await steps(journal, written[70][0]) == written[70:]
            await journal.trim(written[-1][0] + 1)
            assert await journal.append(b"later") > written[-1][0]
            epoch = journal.epoch()
        async with open_journal() as journal:
            assert journal.epoch() > epoch, "the epoch must survive a trim of everything"
            assert [step for _, step in await steps(journal, written[-1][0] + 1)] == [b"later"]

    asyncio.run(check())


def frame(kind: int, epoch: int, step: bytes) -> bytes:
    import zlib

    body = BODY.pack(kind, epoch) + step
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def test_a_step_of_a_lower_epoch_after_a_higher_one_is_ignored_in_files(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    records = [(OPEN, 1, b""), (STEP, 1, b"mine"), (OPEN, 2, b""), (STEP, 1, b"zombie's"), (STEP, 2, b"heir's")]
    (folder / f"{0:020d}.journal").write_bytes(b"".join(frame(*record) for record in records))

    async def check() -> None:
        journal = await FileJournal.open(folder)
        assert journal.epoch() == 3
        assert await steps(journal) == [(1, b"mine"), (4, b"heir's")]
        await journal.close()

    asyncio.run(check())


@pytest.mark.kafka
def test_a_step_of_a_lower_epoch_after_a_higher_one_is_ignored_in_the_topic(kafka: Any, unique_prefix: str) -> None:
    topic = f"{unique_prefix}desk.journal.v1"
    kafka.create_topics(topic)

    async def check() -> None:
        async with Producer(kafka.bootstrap, linger_ms=0) as one, Producer(kafka.bootstrap, linger_ms=0) as two:
            zombie = await TopicJournal.open(kafka.bootstrap, topic, 0, one)
            await zombie.append(b"mine")
            heir = await TopicJournal.open(kafka.bootstrap, topic, 0, two)
            fenced = await zombie.append(b"zombie's")
            await heir.append(b"heir's")
            await zombie.append(b"zombie's again")
            assert [step for _, step in await steps(heir)] == [b"mine", b"heir's"]
            assert heir.epoch() > zombie.epoch()
            both = await asyncio.gather(*(TopicJournal.open(kafka.bootstrap, topic, 0, p) for p in (one, two)))
            assert len({journal.epoch() for journal in both}) == 2, "opened at once, and yet two epochs"
            for journal in both:
                assert [step for _, step in await steps(journal, fenced)] == [b"heir's"], "what fences it stands before"
            # Another partition is another centre's journal.
            other = await TopicJournal.open(kafka.bootstrap, topic, 1, one)
            assert await steps(other) == []
            await one.send_batch([Outgoing(topic, b"x", None, (("kind", b"1"), ("epoch", b"0")), 1)])
            assert await steps(other) == []

    asyncio.run(check())


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(0, 200), st.binary(max_size=20))
def test_a_torn_tail_is_cut_and_what_was_whole_stays(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes], cut: int, rubbish: bytes
) -> None:
    folder = tmp_path_factory.mktemp("torn")

    async def check() -> None:
        journal = await FileJournal.open(folder, sync=False)
        kept = [(await journal.append(step), step) for step in written]
        await journal.close()
        (path,) = folder.glob("*.journal")
        data = path.read_bytes()
        whole = len(data) - min(cut, len(data))
        assume(data[whole:] == b"" or not rubbish.startswith(data[whole:][:1]))  # it may not mend what was torn
        path.write_bytes(data[:whole] + rubbish * (cut > 0))
        journal = await FileJournal.open(folder, sync=False)
        ends, at = [], FRAME.size + BODY.size
        for _, step in kept:
            at += FRAME.size + BODY.size + len(step)
            ends.append(at)
        safe = [found for found, end in zip(kept, ends, strict=True) if end <= whole]
        assert await steps(journal) == safe
        number = await journal.append(b"after")
        await journal.close()
        journal = await FileJournal.open(folder, sync=False)
        assert await steps(journal) == [*safe, (number, b"after")]
        await journal.close()

    asyncio.run(check())


def test_every_acknowledged_step_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\nfrom streams.journal import FileJournal\n"
        "async def main():\n"
        " journal = await FileJournal.open(pathlib.Path(sys.argv[1]), sync=False)\n"
        " for n in range(10**9):\n"
        "  await journal.append(b'%d ' % journal.epoch() + b'%d' % n * 100)\n"
        "  print(journal.epoch(), n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    acknowledged: list[tuple[int, int]] = []
    for lines in (1, 50, 200):
        arguments = [sys.executable, "-c", program, str(tmp_path / "journal")]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(lines):
                epoch, number = child.stdout.readline().split()
                acknowledged.append((int(epoch), int(number)))
            child.send_signal(signal.SIGKILL)
            child.wait()

    async def check() -> None:
        journal = await FileJournal.open(tmp_path / "journal")
        assert journal.epoch() == 4
        found = [step for _, step in await steps(journal)]
        expected = [b"%d " % epoch + b"%d" % number * 100 for epoch, number in acknowledged]
        assert set(expected) <= set(found)
        assert len(found) == len(set(found))
        await journal.close()

    asyncio.run(check())


def test_a_second_process_cannot_take_the_files(tmp_path: Path) -> None:
    async def check() -> None:
        journal = await FileJournal.open(tmp_path)
        with pytest.raises(JournalError, match="another process"):
            await FileJournal.open(tmp_path)
        await journal.close()
        await (await FileJournal.open(tmp_path)).close()

    asyncio.run(check())


def test_damage_in_the_middle_is_an_error_and_not_a_short_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 500)

    async def check() -> None:
        journal = await FileJournal.open(tmp_path, sync=False)
        for number in range(30):
            await journal.append(b"%d" % number * 30)
        await journal.close()
        first = min(tmp_path.glob("*.journal"))
        data = bytearray(first.read_bytes())
        data[100] ^= 1
        first.write_bytes(data)
        with pytest.raises(JournalError, match="damaged at byte"):
            await FileJournal.open(tmp_path)

    asyncio.run(check())


def test_the_fence_lets_the_highest_epoch_through() -> None:
    fence = _Fence()
    seen = [(OPEN, 1), (STEP, 1), (OPEN, 3), (STEP, 1), (STEP, 2), (STEP, 3), (OPEN, 2), (STEP, 3)]
    assert [fence.passes(*record) for record in seen] == [False, True, False, False, False, True, False, True]


def test_the_epoch_rises_when_every_step_was_trimmed(open_journal: Opener) -> None:
    async def check() -> None:
        epochs = []
        for _ in range(3):
            async with open_journal() as journal:
                epochs.append(journal.epoch())
                at = await journal.append(b"step")
                await journal.trim(at + 1)
        assert epochs == sorted(set(epochs))

    asyncio.run(check())
