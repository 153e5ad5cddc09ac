"""`python -m tests.fuzz [SECONDS] [FOLDER]`: fuzz everything that reads a record, guided by coverage.

FOLDER keeps the inputs that reached something new. Ends with 1 and the input in a file `crash-…` there when a check
fails or anything raises. Needs atheris (tests/fuzz/requirements.txt), which `make fuzz` installs beside the project.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

LARGEST = 4096
READ = ["models", "geo.atlas", "rules.detection.arrival", "rules.incidents", "streams.agents.queues"]
COMPILED = ["models.kernels", "rules.detection.kernels", "geo.raster_loop"]  # numba reads their bytecode itself


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else ".fuzz/found")
    folder.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=READ, exclude=COMPILED):
        from tests.fuzz.mutating import changed
        from tests.fuzz.targets import Target, seeds
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    target = Target()

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        return changed(data, most, Random(seed), atheris.Mutate)

    limits = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", "-timeout=20", "-rss_limit_mb=4096"]
    limits.append(f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], *limits, str(folder)], target.take, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
