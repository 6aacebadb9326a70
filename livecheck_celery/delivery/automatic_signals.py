"""Turns what happens anyway, in a service that never heard of a case, into signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from livecheck_celery.delivery.items import Noticed
from livecheck_celery.delivery.outbox import Outbox
from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.sources import Source


class Resolver:
    """Told of what happened, it has the outbox send the signals that are declared as resolved by that.

    Args:
        watch: knows which these are.
        outbox: sends them.
        max_payload: bytes that a value may have.
    """

    def __init__(self, watch: Watch, outbox: Outbox, max_payload: int) -> None:
        self._watch = watch
        self._outbox = outbox
        self._max_payload = max_payload

    def __call__(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """See `livecheck_celery.propagation.sources.OperationFinished`."""
        if not tests:
            return
        source = Source(kind, name)
        wanted = self._watch.wanted
        # Until it is known what is wanted, the outbox, which can wait, is to find out.
        if wanted is not None and not wanted.targets(source):
            return
        text, error = ("null", error) if error is not None else self._encode(source, value)
        self._outbox.put(Noticed(source, tuple(tests), text, error))

    def _encode(self, source: Source, value: Any) -> tuple[str, str | None]:
        try:
            text = to_json(value)
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as exc:
            return "null", f"{source.kind} {source.name}: its value cannot be sent as JSON: {exc}"
        if len(text) > self._max_payload:
            limit = f"over the limit of {self._max_payload} (livecheck_max_payload)"
            return "null", f"{source.kind} {source.name}: its value is {len(text)} bytes, {limit}"
        return text.decode(), None
