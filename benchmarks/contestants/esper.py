"""Illegal parking on Esper, as its users write it: EPL, the geofence a single-row function with JTS, Jackson before it.

python -m benchmarks.contestants.esper FOLDER [--events N] [--filter-first] [--brief]

One runtime in one JVM on one core, no threads of its own, no clock. How the rate is taken: `java/jvm.py`.

Of 2.8 to 3.7 µs an event (the more, the busier the machine) 2.0 are the job's, decoding and zones (`flink_java
--plain`); the rest is Esper's filters and contexts.
"""

from __future__ import annotations

import sys

from benchmarks.contestants.java.jvm import Program, arguments

PROGRAM = Program("esper", "parking.EsperParking")

if __name__ == "__main__":
    sys.exit(PROGRAM.contend("esper", "epl", arguments(__doc__).parse_args()))
