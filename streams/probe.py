"""`python -m streams.probe`: whether the worker of this container is healthy, for HEALTHCHECK. Nothing but the standard
library is imported: it runs every half minute.

Exit code 0: healthy, or there is nowhere to ask (`ZHINAO_HTTP` unset, or port 0). 1: not, with the answer on stdout.
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

LIMIT_S = 5.0


def address(environment: Mapping[str, str]) -> str | None:
    """Where to ask, from inside the container; none if nowhere."""
    host, _, port = environment.get("ZHINAO_HTTP", "").rpartition(":")
    if port in ("", "0"):
        return None
    anywhere = host in ("", "0.0.0.0", "[::]")  # noqa: S104 (nothing is bound here)
    return f"http://{'127.0.0.1' if anywhere else host}:{port}/healthz"


def probe(url: str) -> tuple[bool, str]:
    """Healthy or not, and what was answered."""
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:  # noqa: S310 (always http, see `address`)
            return answer.status == 200, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return False, refused.read().decode()
    except OSError as why:
        return False, f"no answer: {why}\n"


def main() -> int:
    url = address(os.environ)
    if url is None:
        return 0
    healthy, said = probe(url)
    sys.stdout.write(said)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
