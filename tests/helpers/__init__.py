"""Helpers of the tests, the chaos runs and the benchmarks."""
