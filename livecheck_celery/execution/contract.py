"""What a case declares about its tests: how often signals can arrive."""

from __future__ import annotations

from livecheck_celery.errors import LiveCheckTestFailed
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.models import TestExecution, times_in_words


def check_arrivals(case: RunnableCase, test: TestExecution) -> None:
    """Check that no signal arrived more often than its case allows, by what is stored, which is complete.

    Raises:
        LiveCheckTestFailed: a signal arrived more often.
        RedisUnavailable: Redis did not answer for a minute.
    """
    limits, process = case.signal_limits, case.runner_resources
    if not limits:
        return
    [stored] = process.retry(process.store.signals.awaited, [(case.name, test.id, list(limits))])
    for name, event in stored.items():
        if event.arrivals > limits[name]:
            times = times_in_words(event.arrivals)
            raise LiveCheckTestFailed(f"signal {name} arrived {times} (times={limits[name]})")
