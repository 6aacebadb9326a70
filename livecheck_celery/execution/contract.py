"""What a case declares about its tests: their time, and how often signals can arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

from livecheck_celery.errors import LiveCheckTestFailed, LiveCheckTestTimeout
from livecheck_celery.execution.places import in_brackets, raised_at
from livecheck_celery.execution.results import settled
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.models import TestExecution, times_in_words

#: Seconds after its deadline in which a coroutine can still raise its own timeout, which names the signal.
_GRACE: Final = 0.5


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


async def awaited(awaitable: Awaitable[Any], started: float, deadline: float) -> Any:
    """Await what ``run()`` returned, and what that returns; cancel it at the deadline.

    Args:
        awaitable: the coroutine.
        started: monotonic time of the start of the test.
        deadline: monotonic time of its end.

    Raises:
        LiveCheckTestTimeout: the deadline has passed.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic() + _GRACE) as bound:
            return await settled(awaitable)
    except TimeoutError as exc:
        if bound.expired():
            took = f"{time.monotonic() - started:.1f} s{in_brackets(raised_at(exc))}"
            raise LiveCheckTestTimeout(f"run() was stopped after {took}") from None
        raise
