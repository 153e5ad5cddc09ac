"""Programs measured by the benchmarks, one process each: they print one JSON line."""
