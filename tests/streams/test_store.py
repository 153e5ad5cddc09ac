"""One contract over both stores, and what each has of its own."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from streams import store as store_module
from streams.producer import Producer
from streams.store import FileStore, Store, StoreError, StoreFenced, TopicStore, names_in, partition_of

ROOT = Path(__file__).resolve().parents[2]
EAGER = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.bytes": "1048576",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "100",
}
Opener = Callable[[], Any]
BIG = random.Random(4).randbytes(2_500_000)  # three chunks, and does not compress


@pytest.fixture(params=["file", pytest.param("topic", marks=pytest.mark.kafka)])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str) -> Opener:
    """Opens the same store again and again, as restarts do."""
    if request.param == "file":

        @asynccontextmanager
        async def file_store() -> AsyncIterator[Store]:
            yield FileStore(tmp_path / "state")

        return file_store
    kafka = request.getfixturevalue("kafka")
    topic = f"{unique_prefix}state.v1"
    kafka.create_topics(topic, config=EAGER)

    @asynccontextmanager
    async def topic_store() -> AsyncIterator[Store]:
        async with Producer(kafka.bootstrap) as producer:
            yield TopicStore(kafka.bootstrap, topic, producer)

    return topic_store


def run(check: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(check())  # type: ignore[arg-type]


def test_what_was_saved_last_is_loaded_after_a_restart(open_store: Opener) -> None:
    async def check() -> None:
        async with open_store() as store:
            assert await store.load("detector/3") is None
            await store.save("detector/3", b"first", {"epoch": 1, "offsets": {"camera.tracks": 5}})
            await store.save("detector/3", BIG, {"epoch": 1, "offsets": {"camera.tracks": 9}})
            await store.save("desk/0", b"", {"position": 7})
        async with open_store() as store:
            assert await store.load("detector/3") == (BIG, {"epoch": 1, "offsets": {"camera.tracks": 9}})
            assert await store.load("desk/0") == (b"", {"position": 7})
            assert await store.load("detector/1") is None

    run(check)


def test_many_saves_in_a_row_and_at_once(open_store: Opener) -> None:
    async def check() -> None:
        async with open_store() as store:
            for number in range(5):
                await asyncio.gather(
                    *(store.save(f"detector/{p}/{a}", b"%d" % number, {"n": number}) for p in (0, 1) for a in "xy")
                )
        async with open_store() as store:
            found = await store.load_all("detector/1")
            assert found == {f"detector/1/{a}": (b"4", {"n": 4}) for a in "xy"}

    run(check)


def test_a_lower_epoch_changes_nothing(open_store: Opener) -> None:
    async def check() -> None:
        async with open_store() as zombie, open_store() as heir:
            await zombie.save("desk/0", b"old", {"epoch": 1})
            assert (await heir.load("desk/0"))[0] == b"old"
            await heir.save("desk/0", b"new", {"epoch": 2})
            for _ in range(3):  # both of the zombie's slots
                with suppress(StoreFenced):
                    await zombie.save("desk/0", b"from the past", {"epoch": 1})
            assert (await heir.load("desk/0"))[0] == b"new"
        async with open_store() as store:
            assert (await store.load("desk/0"))[0] == b"new"

    run(check)


def test_deleting_forgets(open_store: Opener) -> None:
    async def check() -> None:
        async with open_store() as store:
            await store.save("desk/0/i-1", b"x", {})
            await store.save("desk/0/i-2", b"y", {})
            await store.delete("desk/0/i-1")
            await store.delete("desk/0/never-was")
        async with open_store() as store:
            assert list(await store.load_all("desk/0")) == ["desk/0/i-2"]
            await store.save("desk/0/i-1", b"again", {})
            assert await store.load("desk/0/i-1") == (b"again", {})

    run(check)


@pytest.mark.parametrize("name", ["detector", "../x/3", "Detector/3", "detector/x", "detector/3/a/b", "/detector/3"])
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a store name"):
        asyncio.run(FileStore(tmp_path).save(name, b"", {}))
    with pytest.raises(ValueError, match="not a store name"):
        partition_of(name)


def test_a_damaged_file_is_an_error_and_not_an_empty_state(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    asyncio.run(store.save("detector/0", b"state", {}))
    assert list(names_in(tmp_path)) == ["detector/0"]
    path = tmp_path / "detector" / "0.state"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="checksum"):
        asyncio.run(store.load("detector/0"))


def test_kill_in_the_middle_of_saving_leaves_a_whole_state(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\nfrom streams.store import FileStore\n"
        "async def main():\n"
        " store = FileStore(pathlib.Path(sys.argv[1]))\n"
        " for n in range(10**9):\n"
        "  await store.save('desk/0', bytes([n % 251]) * 300_000, {'n': n})\n"
        "  print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    for lines in (1, 3, 7):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            said = [int(child.stdout.readline()) for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
            child.wait()
        kept = asyncio.run(FileStore(tmp_path).load("desk/0"))
        assert kept is not None
        blob, meta = kept
        number = meta["n"]
        assert isinstance(number, int)
        assert number >= said[-1]
        assert blob == bytes([number % 251]) * 300_000


@pytest.mark.kafka
def test_a_save_cut_off_before_its_manifest_is_as_if_it_had_not_been(
    kafka: Any, unique_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{unique_prefix}state.v1"
    kafka.create_topics(topic, config=EAGER)
    monkeypatch.setattr(store_module, "CHUNK_BYTES", 1000)

    async def check() -> None:
        async with Producer(kafka.bootstrap) as producer:
            blobs = [random.Random(n).randbytes(20_000) for n in range(6)]
            store = TopicStore(kafka.bootstrap, topic, producer)
            await store.save("detector/2", blobs[0], {"n": 0})
            await store.save("detector/2", blobs[1], {"n": 1})
            real = producer.send_batch

            async def cut(batch: Any) -> Any:
                if any(record.key.endswith(b"manifest") for record in batch):
                    raise ConnectionError("killed")
                return await real(batch)

            for _ in range(3):  # restarts that never get to the manifest: always in the slot that is not the last whole
                dying = TopicStore(kafka.bootstrap, topic, producer)
                monkeypatch.setattr(producer, "send_batch", cut)
                with pytest.raises(ConnectionError):
                    await dying.save("detector/2", blobs[2], {"n": 2})
                monkeypatch.setattr(producer, "send_batch", real)
                again = TopicStore(kafka.bootstrap, topic, producer)
                assert await again.load("detector/2") == (blobs[1], {"n": 1})
            await again.save("detector/2", blobs[5], {"n": 5})
            assert await again.load("detector/2") == (blobs[5], {"n": 5})

    asyncio.run(check())


@pytest.mark.kafka
def test_state_survives_compaction(kafka: Any, unique_prefix: str) -> None:
    topic = f"{unique_prefix}state.v1"
    kafka.create_topics(topic, config=EAGER)

    async def check() -> None:
        async with Producer(kafka.bootstrap) as producer:
            store = TopicStore(kafka.bootstrap, topic, producer)
            blob = b""
            for number in range(12):  # more than a segment each: the earlier ones can be cleaned
                blob = random.Random(number).randbytes(1_500_000)
                await store.save("detector/1", blob, {"n": number, "epoch": number // 4})
            fresh = TopicStore(kafka.bootstrap, topic, producer)
            assert await fresh.load("detector/1") == (blob, {"n": 11, "epoch": 2})
            # Epochs 0 and 1 were deleted: their keys carry no value any more.
            keys: dict[str, bool] = {}
            async for record in store_module.read_partition(kafka.bootstrap, topic, 1, 0):
                keys[record.key.decode()] = record.value is not None
            assert {key.split("#")[1] for key, live in keys.items() if live} == {"2"}

    asyncio.run(check())
