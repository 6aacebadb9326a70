"""Measurements of what LiveCheck costs, such as ``python -m benchmarks.bench``, run from the repository's root."""
