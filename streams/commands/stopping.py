"""Ctrl-C and SIGTERM as a wish that is noticed between two steps, so that files are closed and children ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_wished() -> Iterator[threading.Event]:
    """Set by the first of the two signals. A second Ctrl-C interrupts at once."""
    wish = threading.Event()

    def note(number: int, _: object) -> None:
        if wish.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        wish.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
