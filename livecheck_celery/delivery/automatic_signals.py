"""Send automatic signals: turn finished operations into items of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livecheck_celery.delivery.items import FinishedOperation
from livecheck_celery.delivery.outbox import Outbox
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.models import MAX_ERROR, TestExecution
from livecheck_celery.propagation.sources import SPAN, Source
from livecheck_celery.utils import strict_json
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.secrets import masked
from livecheck_celery.utils.signal_handlers import reraise_from_handler


class AutomaticSignals:
    """Put each finished operation that is a source into the outbox.

    Args:
        shared_config: says which operations are sources.
        outbox: sends the signals.
        max_payload: size limit of a value, in bytes.
    """

    def __init__(self, shared_config: SharedConfig, outbox: Outbox, max_payload: int) -> None:
        self._shared_config = shared_config
        self._outbox = outbox
        self._max_payload = max_payload

    def listens_to(self, kind: str, name: str) -> bool:
        """Return whether an operation of this kind and name is a source, or can be one."""
        sources = self._shared_config.sources
        # Before the first read of the sources, the outbox looks them up, since its thread may wait.
        return sources is None or bool(sources.targets(Source(kind, name)))

    def operation_finished(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """Record a finished operation; arguments as for `livecheck_celery.propagation.gate.OperationFinished`."""
        if not tests:
            return
        if not self.listens_to(kind, name):
            return
        source = Source(kind, name)
        if kind == SPAN:
            value = masked(value)  # attributes are set by libraries, unasked
        text, error = ("null", error[:MAX_ERROR]) if error is not None else self._encode(source, value)
        self._outbox.put(FinishedOperation(source, tuple(tests), text, error))

    def _encode(self, source: Source, value: Any) -> tuple[str, str | None]:
        try:
            text = strict_json.encode(value, self._max_payload)
        except Exception as exc:  # noqa: BLE001 - the value is an application's; the test gets the error
            reraise_from_handler(exc)
            return "null", f"{source.kind} {source.name}: its value cannot be sent as JSON: {message_of(exc)}"
        if len(text) > self._max_payload:
            limit = f"over the limit of {self._max_payload} (livecheck_max_payload)"
            return "null", f"{source.kind} {source.name}: its value is {len(text)} bytes, {limit}"
        return text.decode(), None
