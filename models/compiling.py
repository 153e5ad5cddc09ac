"""Whether loops can run as machine code here. Everything they do exists without them too, slower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import Any


@cache
def compiled_wanted() -> bool:
    """Where numba is installed."""
    return find_spec("numba") is not None


def machine_code(
    whole: Callable[..., Any], parts: Sequence[Callable[..., Any]], names: dict[str, Any], signature: Any
) -> Any:
    """A plain loop as machine code, from the cache on disk where it has it. `parts` are what it calls, callees first;
    `names` the globals of their file, which they must all share: the cache notices only changes of one file."""
    numba = import_module("numba")
    known = dict(names)
    for part in parts:
        assert isinstance(part, FunctionType)
        known[part.__name__] = numba.njit(error_model="numpy")(FunctionType(part.__code__, known))
    assert isinstance(whole, FunctionType)
    body = FunctionType(whole.__code__, known)
    try:
        return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(body)
    except RuntimeError:  # no folder to write to
        return numba.njit(signature, nogil=True, error_model="numpy")(body)
