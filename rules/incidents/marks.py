"""What of a kind of entries has changed since the table was last told."""

from __future__ import annotations

from collections.abc import Iterator


class Marks:
    """Ids, each once, in the order of their first change. What came and went in between leaves no mark."""

    def __init__(self) -> None:
        self._lacks: dict[str, bool] = {}
        """Id → whether the table has never held it."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._lacks)

    def added(self, identity: str) -> None:
        self._lacks.setdefault(identity, True)

    def changed(self, identity: str) -> None:
        self._lacks.setdefault(identity, False)

    def dropped(self, identity: str) -> None:
        if self._lacks.get(identity):
            del self._lacks[identity]
        else:
            self._lacks[identity] = False

    def clear(self) -> None:
        self._lacks.clear()
