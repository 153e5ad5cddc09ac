"""A process that saves until it is killed: `python -m tests.streams.saver file FOLDER` or `topic SERVERS TOPIC`.

Save n sets ENTRIES entries to n, and leaves one entry of its own where save n-1 had left one; then it says n.
"""

import asyncio
import random
import sys
from pathlib import Path

from streams.store import FileStore, Store
from streams.topic_store import TopicStore

NAME = "desk/0"
ENTRIES = 40
# A save of 1.2 MB that does not compress: two batches on a topic.
FILLING = 30_000
PAUSE_S = 0.02


def store_of(kind: str, *where: str) -> Store:
    """The store that the arguments say."""
    return FileStore(Path(where[0])) if kind == "file" else TopicStore(where[0], where[1])


def changes_of(number: int) -> dict[str, bytes | None]:
    """What save `number` is."""
    chance = random.Random(number)
    entries: dict[str, bytes | None] = {f"entry-{at}": chance.randbytes(FILLING) for at in range(ENTRIES)}
    return entries | {f"only-{number}": b"here", f"only-{number - 1}": None}


def number_of(entries: dict[str, bytes]) -> int:
    """Which save left the entries. AssertionError if it was not one save."""
    (only,) = (key for key in entries if key.startswith("only-"))
    number = int(only.removeprefix("only-"))
    assert entries == {key: value for key, value in changes_of(number).items() if value is not None}
    return number


async def save_on(store: Store) -> None:
    table, entries = await store.open(NAME)
    number = number_of(entries) if entries else 0
    print("opened", flush=True)
    while True:
        number += 1
        await table.save(changes_of(number))
        print(number, flush=True)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    asyncio.run(save_on(store_of(*sys.argv[1:])))
