"""Benchmarks: ratios against a baseline measured in the same run. `./run bench ledger`, `./run bench http`."""
