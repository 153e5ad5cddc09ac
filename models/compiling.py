"""Whether this process runs the compiled loops. Everything they do exists without them too, slower."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

SWITCH = "ZHINAO_COMPILED"


@cache
def compiled_wanted() -> bool:
    """True where numba is installed, unless the environment says `ZHINAO_COMPILED=off`."""
    return os.environ.get(SWITCH, "on") != "off" and find_spec("numba") is not None
