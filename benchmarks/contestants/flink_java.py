"""Illegal parking on Flink in Java, as its users write it: DataStream, Jackson, JTS, keyed state, parallelism 1.

python -m benchmarks.contestants.flink_java FOLDER [--events N] [--filter-first] [--brief] [--plain]

A local environment in one JVM on one core, a file as the source, no checkpoints, object reuse on. How the rate is
taken: `java/jvm.py`. `--plain`: the same parsing and zones in a loop of plain Java, without Flink and without the rule.

Of 2.7 to 2.9 µs an event 2.0 are the job's (that loop); the rest is Flink's source, exchange by key and state.
"""

from __future__ import annotations

import sys

from benchmarks.contestants.java.jvm import Program, arguments

PROGRAM = Program("flink", "parking.FlinkParking")


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--plain", action="store_true", help="parsing and zones without Flink")
    given = parser.parse_args()
    return PROGRAM.contend(*(("java-loop", "plain") if given.plain else ("flink-java", "flink")), given)


if __name__ == "__main__":
    sys.exit(main())
