"""Benchmarks of the embedded platform: ratios, measured side by side in one run. They are no tests.

`make bench` runs them all, `make bench ARGS="ingest"` one; prints a table and writes `build/bench/bench.json`.
"""
