"""Django's signals as what resolves signals of tests; Django itself is only looked at where it is loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pydantic_core import to_jsonable_python

from livecheck_celery.context import tests_here
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.gate import Happened
from livecheck_celery.propagation.sources import DJANGO


def source_name(signal: Any, sender: Any = None) -> str:
    """How a Django signal, or the path to import it by, is called in every process, when ``sender`` has sent it.

    Raises:
        ConfigurationError: no loaded module has ``signal``, or ``sender`` is a text but no label.
    """
    if isinstance(sender, str) and not re.fullmatch(r"\w+\.\w+", sender):
        raise ConfigurationError(f"from_django(): sender {sender!r} must be a model, or its label such as 'shop.Order'")
    path = signal if isinstance(signal, str) else name_of(signal)
    return path if sender is None else f"{path} {label_of(sender)}"


def name_of(signal: Any) -> str:
    """Where a Django signal can be imported from, such as ``django.db.models.signals.post_save``.

    Of several places the most likely to be its own: a module called ``signals``, Django's own before others.

    Raises:
        ConfigurationError: it is in no module that is loaded.
    """
    places = [
        (not module.endswith("signals"), not module.startswith("django."), f"{module}.{name}")
        for module, content in _loaded_modules()
        for name, value in list(content.items())
        if value is signal
    ]
    if not places:
        raise ConfigurationError(f"{signal!r}: cannot be imported; a module must have it under a name")
    return min(places)[-1]


def label_of(sender: Any) -> str:
    """What a sender is called: a model by its label, such as ``shop.Order``; a label by itself; others by name."""
    if isinstance(sender, str):
        return sender
    label = getattr(getattr(sender, "_meta", None), "label", None)
    return str(label or getattr(sender, "__qualname__", type(sender).__qualname__))


def fields_of(instance: Any) -> dict[str, Any]:
    """The columns of a model's instance by attribute name, as JSON's types; those not loaded are left out."""
    deferred = instance.get_deferred_fields()  # a look at one of these would be a query
    names = [field.attname for field in instance._meta.concrete_fields]  # noqa: SLF001 - Django documents it
    return {name: _as_json(getattr(instance, name)) for name in names if name not in deferred}


class Receivers:
    """Connected to the Django signals that are wanted, and telling ``happened`` of those sent in a test."""

    def __init__(self, happened: Happened) -> None:
        self._happened = happened
        self._undo: dict[str, Callable[[], object]] = {}

    def follow(self, names: set[str]) -> None:
        """Be connected to the signals called ``names``, as far as this process has them, and to no others."""
        for name in self._undo.keys() - names:
            self._undo.pop(name)()
        for name in names - self._undo.keys():
            # Looked up among what is loaded: what Redis says must not have anything imported.
            module, _, attribute = name.partition(" ")[0].rpartition(".")
            signal = getattr(sys.modules.get(module), attribute, None)
            if hasattr(signal, "connect"):
                self._connect(name, signal)

    def _connect(self, name: str, signal: Any) -> None:
        label = name.partition(" ")[2]

        def receive(sender: Any, **kwargs: Any) -> None:
            tests = tests_here()
            if tests and (not label or label == label_of(sender)):
                # A receiver that raised would break the application's own save().
                try:
                    self._happened(DJANGO, name, tests, value=_value_of(kwargs))
                except Exception as exc:  # noqa: BLE001 - the test is told
                    self._happened(DJANGO, name, tests, error=f"{name}: its value cannot be told: {exc!r}")

        signal.connect(receive, weak=False)
        self._undo[name] = lambda: signal.disconnect(receive)


def _value_of(kwargs: dict[str, Any]) -> Any:
    instance = kwargs.get("instance")
    if hasattr(instance, "_meta"):
        return fields_of(instance)
    return {name: _as_json(value) for name, value in kwargs.items() if name != "signal"}


def _as_json(value: Any) -> Any:
    if isinstance(value, memoryview):  # what some databases give for bytes
        value = bytes(value)
    try:
        return to_jsonable_python(value, bytes_mode="base64", fallback=str)
    except ValueError:  # something that contains itself
        return str(value)


def _loaded_modules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name != "__main__":  # which is another one in each process
            yield name, vars(module)
