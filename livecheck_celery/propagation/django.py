"""Django signals as sources of automatic signals. Never imports Django: uses it only where it is already loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

from livecheck_celery.context import operation_tests
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.guard import GUARD
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.django_values import value_of
from livecheck_celery.propagation.sources import DJANGO, OperationFinished
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler

logger = get_logger(__name__)

#: In place of the label of a model, in a source with fields that includes every sender.
_ANY: Final = "*"


def source_name(signal: Any, sender: Any = None, fields: Sequence[str] = ()) -> str:
    """Return the `Source` name of a Django signal, the same in every process: ``path.of.signal app.Model field,field``.

    Args:
        signal: a Django signal, or its import path.
        sender: a model or its label, to include only signals of that model; None includes every sender.
        fields: names of the fields to send, by default the primary key.

    Raises:
        ConfigurationError: no loaded module has ``signal``, ``sender`` is a string but not a model label, or ``fields``
            are not names.
    """
    if isinstance(sender, str) and not re.fullmatch(r"\w+\.\w+", sender):
        raise ConfigurationError(f"from_django(): sender {sender!r} must be a model, or its label such as 'shop.Order'")
    if isinstance(fields, str) or not all(isinstance(name, str) and name.isidentifier() for name in fields):
        raise ConfigurationError(f"from_django(): fields {fields!r} must be a list of names, such as ['status']")
    path = signal if isinstance(signal, str) else name_of(signal)
    names = [",".join(fields)] if fields else []
    label = [] if sender is None else [label_of(sender)]
    return " ".join([path, *(label or [_ANY] * len(names)), *names])


def name_of(signal: Any) -> str:
    """Return the import path of a Django signal, such as ``django.db.models.signals.post_save``.

    If several modules have it, prefers modules named ``signals``, then Django's own.

    Raises:
        ConfigurationError: no loaded module has it.
    """
    places = [
        (not module.endswith("signals"), not module.startswith("django."), f"{module}.{name}")
        for module, content in _loaded_modules()
        for name, value in list(content.items())
        if value is signal
    ]
    if not places:
        raise ConfigurationError(f"{signal!r} cannot be imported; assign it to a name in a module")
    return min(places)[-1]


def label_of(sender: Any) -> str:
    """Return the label of a model, such as ``shop.Order``; a string unchanged; else the name of the class."""
    if isinstance(sender, str):
        return sender
    label = getattr(getattr(sender, "_meta", None), "label", None)
    return str(label or getattr(sender, "__qualname__", type(sender).__qualname__))


def after_commit(function: Callable[[], object], using: str | None = None) -> None:
    """Call ``function`` when the open transactions of this thread are committed; never, if one is rolled back.

    Without an open transaction, call it now. With autocommit turned off, Django knows no end of a transaction.

    Args:
        function: does not raise.
        using: alias of the only database to consider; by default, all that this thread has used.
    """
    transaction = sys.modules.get("django.db.transaction")
    connections = getattr(sys.modules.get("django.db"), "connections", None)
    if transaction is None or connections is None:
        function()
        return
    aliases = [connection.alias for connection in connections.all(initialized_only=True) if connection.in_atomic_block]
    waits_for = next((alias for alias in aliases if using in (None, alias)), None)
    if waits_for is None:
        function()
    else:
        # The transaction of another database can still be open then.
        transaction.on_commit(lambda: after_commit(function, using), using=waits_for)


class Receivers:
    """Receivers of the Django signals that are sources; they report signals that are sent in a test.

    Args:
        operation_finished: called when a connected signal was sent in a test.
    """

    def __init__(self, operation_finished: OperationFinished) -> None:
        self._operation_finished = operation_finished
        self._disconnect: dict[str, Callable[[], object]] = {}

    def follow(self, names: set[str]) -> None:
        """Connect to the loaded signals with these source names, and disconnect from all others."""
        for name in self._disconnect.keys() - names:
            self._disconnect.pop(name)()
        for name in names - self._disconnect.keys():
            if (signal := _signal(name.partition(" ")[0])) is not None:
                self._connect(name, signal)

    def _connect(self, name: str, signal: Any) -> None:
        _, label, names = [*name.split(" "), "", ""][:3]
        fields = names.split(",") if names else ()

        def receive(sender: Any, **kwargs: Any) -> None:
            # A receiver that raises would fail the application's own save().
            with GUARD("django", "automatic signals: failed to receive %s; continuing", name):
                report(sender, kwargs)

        def report(sender: Any, kwargs: dict[str, Any]) -> None:
            tests = operation_tests()
            if tests and (label in ("", _ANY) or label == label_of(sender)):
                outcome: dict[str, Any]
                try:
                    outcome = {"value": value_of(kwargs, fields)}
                except Exception as exc:  # noqa: BLE001 - reported to the test
                    reraise_from_handler(exc)
                    outcome = {"error": f"{name}: failed to read its value: {type_and_message(exc)}"}
                self._report(name, tests, outcome, kwargs.get("using"))

        signal.connect(receive, weak=False)
        self._disconnect[name] = lambda: signal.disconnect(receive)

    def _report(self, name: str, tests: list[TestExecution], outcome: dict[str, Any], using: Any) -> None:
        report = partial(self._operation_finished, DJANGO, name, tests, **outcome)
        try:
            after_commit(report, using if isinstance(using, str) else None)
        except Exception as exc:  # for example, Django has no settings
            reraise_from_handler(exc)
            logger.debug("django: no transaction for %s", name, exc_info=True)
            report()


def _signal(path: str) -> Any:
    """Return the Django signal with this import path, in a loaded module; None if there is none.

    The path can come from Redis: nothing is imported, no attribute is computed, and no other object is connected to.
    """
    kind = getattr(sys.modules.get("django.dispatch"), "Signal", None)
    name, _, attribute = path.rpartition(".")
    module = sys.modules.get(name)
    found = vars(module).get(attribute) if isinstance(module, ModuleType) else None
    return found if kind is not None and isinstance(found, kind) else None


def _loaded_modules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name != "__main__":  # __main__ differs between processes
            yield name, vars(module)
