"""Tests of the benchmarks: that a wrong answer would be seen."""
