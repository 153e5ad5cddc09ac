"""Whether loops can run as machine code here. Everything they do exists without them too, slower."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec


@cache
def compiled_wanted() -> bool:
    """Where numba is installed."""
    return find_spec("numba") is not None
