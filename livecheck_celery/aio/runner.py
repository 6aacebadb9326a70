"""The runner of the asyncio face."""

from __future__ import annotations

from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.models import State


class TestRunner(BaseRunner):
    """One execution of a case, on the running event loop."""

    async def execute(self) -> State:
        """Claim the execution, run it, record the verdict.

        Returns:
            The verdict; INIT if another worker has or had the execution, or if this process is stopping and handed it
            back.

        Raises:
            RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
        """
        return await self._execute(LoopDriver(self._process.threads))
