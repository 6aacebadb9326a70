"""Helpers of the tests, of `chaos` and of the benchmarks."""
