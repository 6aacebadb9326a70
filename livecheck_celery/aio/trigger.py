"""The trigger of the asyncio face."""

from __future__ import annotations

from typing import Any

from livecheck_celery.cases.trigger import BaseTrigger
from livecheck_celery.models import TestExecution


class Trigger(BaseTrigger):
    """``await case.trigger(...)``; ``delay``, ``apply_async``, ``s`` and ``si`` are as in the other face."""

    async def __call__(self, id: object = None, *args: Any, **kwargs: Any) -> TestExecution:  # noqa: A002 - reference's
        """Trigger an execution, to run as soon as possible; arguments and errors as in the other face."""
        return await self._case.app.runtime.threads.call(self.record_and_publish, id, args, kwargs)
