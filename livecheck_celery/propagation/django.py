"""Django signals as sources of automatic signals. Never imports Django: uses it only where it is already loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pydantic_core import to_jsonable_python

from livecheck_celery.context import operation_tests
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.sources import DJANGO, OperationFinished
from livecheck_celery.utils.sanitize import type_and_message


def source_name(signal: Any, sender: Any = None) -> str:
    """Return the `Source` name of a Django signal, the same in every process.

    Args:
        signal: a Django signal, or its import path.
        sender: a model or its label, to include only signals of that model; None includes every sender.

    Raises:
        ConfigurationError: no loaded module has ``signal``, or ``sender`` is a string but not a model label.
    """
    if isinstance(sender, str) and not re.fullmatch(r"\w+\.\w+", sender):
        raise ConfigurationError(f"from_django(): sender {sender!r} must be a model, or its label such as 'shop.Order'")
    path = signal if isinstance(signal, str) else name_of(signal)
    return path if sender is None else f"{path} {label_of(sender)}"


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


def fields_of(instance: Any) -> dict[str, Any]:
    """Return the columns of a model instance by attribute name, as JSON types, without deferred ones."""
    deferred = instance.get_deferred_fields()  # reading one of these would run a query
    names = [field.attname for field in instance._meta.concrete_fields]  # noqa: SLF001 - documented by Django
    return {name: _as_json(getattr(instance, name)) for name in names if name not in deferred}


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
            # Only loaded modules are searched: data from Redis must never cause an import.
            module, _, attribute = name.partition(" ")[0].rpartition(".")
            signal = getattr(sys.modules.get(module), attribute, None)
            if hasattr(signal, "connect"):
                self._connect(name, signal)

    def _connect(self, name: str, signal: Any) -> None:
        label = name.partition(" ")[2]

        def receive(sender: Any, **kwargs: Any) -> None:
            tests = operation_tests()
            if tests and (not label or label == label_of(sender)):
                # A receiver that raises would fail the application's own save().
                try:
                    self._operation_finished(DJANGO, name, tests, value=_value_of(kwargs))
                except Exception as exc:  # noqa: BLE001 - reported to the test
                    self._operation_finished(
                        DJANGO, name, tests, error=f"{name}: failed to read its value: {type_and_message(exc)}"
                    )

        signal.connect(receive, weak=False)
        self._disconnect[name] = lambda: signal.disconnect(receive)


def _value_of(kwargs: dict[str, Any]) -> Any:
    instance = kwargs.get("instance")
    if hasattr(instance, "_meta"):
        return fields_of(instance)
    return {name: _as_json(value) for name, value in kwargs.items() if name != "signal"}


def _as_json(value: Any) -> Any:
    if isinstance(value, memoryview):  # some databases return binary columns as memoryview
        value = bytes(value)
    try:
        return to_jsonable_python(value, bytes_mode="base64", fallback=str)
    except ValueError:  # a value that contains itself
        return str(value)


def _loaded_modules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name != "__main__":  # __main__ differs between processes
            yield name, vars(module)
