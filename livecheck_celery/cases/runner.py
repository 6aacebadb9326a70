"""The runner of the sync face."""

from __future__ import annotations

from typing import NoReturn

from livecheck_celery.errors import LiveCheckTestSkipped
from livecheck_celery.execution.drivers import drive
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.models import State


class TestRunner(BaseRunner):
    """One execution of a case, in the thread of the caller (reference: ``livecheck.runners.TestRunner``).

    Subclass it to override its hooks: ``Runner = MyRunner`` in the body of a case.
    """

    def execute(self) -> State:
        """Claim the execution, run it, record the verdict, call the hooks.

        Returns:
            PASS; INIT if another worker has or had the execution, or if this process is stopping and handed it back.

        Raises:
            TestOutcome: any other verdict, as `Case.execute` raises it.
            RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
        """
        return drive(self._execute(self.case.thread_driver))

    def skip(self, reason: str) -> NoReturn:
        """End the test as SKIP, with this reason; call it from ``run()``.

        Raises:
            LiveCheckTestSkipped: always; it leaves ``run()``. In the reference, it has already called `on_skipped`
                then; here the hook is called once the verdict is recorded.
        """
        raise LiveCheckTestSkipped(reason)
