"""Django's signals as what resolves signals of tests; Django itself is only looked at where it is loaded."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from pydantic_core import to_jsonable_python

from livecheck_celery.context import tests_here
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.hops.gate import Happened
from livecheck_celery.sources import DJANGO

logger = logging.getLogger("livecheck_celery.django")


def source_name(signal: Any, sender: Any = None) -> str:
    """How a Django signal, from ``sender`` or from anybody, is called in every process.

    Raises:
        ConfigurationError: no loaded module has ``signal``.
    """
    path = signal if isinstance(signal, str) else _path_of(signal)
    return f"{path} {_label_of(sender)}".rstrip()


def _path_of(signal: Any) -> str:
    homes = [
        (not module.rpartition(".")[2].endswith("signals"), module.count("."), f"{module}.{name}")
        for module, loaded in list(sys.modules.items())
        for name, value in list(getattr(loaded, "__dict__", {}).items())
        if value is signal
    ]
    if not homes:
        raise ConfigurationError(f"from_django(): no module has {signal!r} as an attribute; assign it to one")
    return min(homes)[2]


def _label_of(sender: Any) -> str:
    if sender is None or isinstance(sender, str):
        return sender or ""
    meta = getattr(sender, "_meta", None)
    return str(meta.label) if meta is not None else f"{sender.__module__}.{sender.__qualname__}"


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
            if signal is not None:
                self._connect(name, signal)

    def _connect(self, name: str, signal: Any) -> None:
        label = name.partition(" ")[2]

        def receive(sender: Any, **kwargs: Any) -> None:
            tests = tests_here()
            if tests and (not label or label == _label_of(sender)):
                self._happened(DJANGO, name, tests, value=_value_of(kwargs))

        signal.connect(receive, weak=False)
        self._undo[name] = lambda: signal.disconnect(receive)


def _value_of(kwargs: dict[str, Any]) -> Any:
    instance = kwargs.get("instance")
    if instance is not None and hasattr(instance, "_meta"):
        return {field.attname: _plain(getattr(instance, field.attname)) for field in instance._meta.concrete_fields}  # noqa: SLF001 - Django's documented API
    return {name: _plain(value) for name, value in kwargs.items() if name != "signal"}


def _plain(value: Any) -> Any:
    return to_jsonable_python(value, fallback=str)
