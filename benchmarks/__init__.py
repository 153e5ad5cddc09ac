"""Benchmarks: each contestant in its own process, one workload, the answer asserted beside the time."""
