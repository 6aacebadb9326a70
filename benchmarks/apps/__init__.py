"""The Celery apps of the workers that the benchmarks start, as ``celery -A benchmarks.apps.checks worker``."""
