"""Measurements of what LiveCheck costs: ``make bench``, or one, such as ``python -m benchmarks.throughput --help``.

Run them from the root of the repository. `measuring` has what all share, `report` writes the results, `places` starts
servers and workers, and `apps` has the Celery apps of those. `outage` and `worker_memory` have tables of their own in
the docs.
"""
