"""Read the declaration of a case: its name and its signals."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, get_args, get_origin, get_type_hints

from livecheck_celery.cases.signals import BaseSignal
from livecheck_celery.errors import ConfigurationError

#: Longest name of a case, in characters.
MAX_NAME: Final = 512


def check_name(name: str) -> None:
    """Validate the name of a case.

    Raises:
        ConfigurationError: the name has curly brackets, is too long, or is not printable.
    """
    if "{" in name or "}" in name:
        raise ConfigurationError(f"case {name!r:.100}: name: curly brackets are reserved; give it another name=")
    if not name.isprintable() or len(name) > MAX_NAME:
        # Celery logs the names of beat entries unescaped.
        raise ConfigurationError(
            f"case {name!r:.100}: name: must be at most {MAX_NAME} printable characters; give it another name="
        )


def resolve_annotations(cls: type, local_names: Mapping[str, Any]) -> None:
    """Evaluate the signal annotations of ``cls`` and its bases that are text, as under ``from __future__``.

    An annotation can refer to ``local_names`` of the function that declares the class, which are not available later.
    Text that cannot be evaluated stays; `declared_signals` reports it.
    """
    for one in cls.__mro__:
        annotations = _annotations(one)
        resolved = {
            name: hint
            for name, annotation in annotations.items()
            if isinstance(annotation, str) and _is_signal(hint := _evaluate(one, name, annotation, local_names))
        }
        if resolved:
            one.__annotations__ = {**annotations, **resolved}


def declared_signals(cls: type, case_name: str) -> list[BaseSignal[Any]]:
    """Return the signals of ``cls`` and its bases: annotated ones first, in order, then those only assigned.

    Raises:
        ConfigurationError: the annotation of a signal cannot be evaluated.
    """
    found: dict[str, BaseSignal[Any]] = {}
    for one in reversed(cls.__mro__):
        found |= dict(_annotated(one, case_name))
        found |= {name: signal for name, signal in _assigned(one) if name not in found}
    return list(found.values())


def _assigned(cls: type) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, value in vars(cls).items():
        if isinstance(value, BaseSignal):
            yield name, value


def _annotated(cls: type, case_name: str) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, annotation in _annotations(cls).items():
        hint = _evaluate(cls, name, annotation, {}) if isinstance(annotation, str) else annotation
        if isinstance(hint, Exception):
            if "Signal" in annotation:
                raise ConfigurationError(f"case {case_name}: signal {name}: {annotation}: {hint}") from hint
        elif _is_signal(hint):
            kind = _without_class_var(hint)
            assigned = vars(cls).get(name)
            signal = assigned if isinstance(assigned, BaseSignal) else (get_origin(kind) or kind)(name)
            signal.annotate((get_args(kind) or (Any,))[0])
            yield name, signal


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):  # annotations are evaluated when read, and can fail
        from annotationlib import Format, get_annotations  # noqa: PLC0415 - new in Python 3.14

        return get_annotations(cls, format=Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _evaluate(cls: type, name: str, annotation: str, local_names: Mapping[str, Any]) -> Any:
    """Return the type that ``annotation`` stands for, or the exception raised by evaluating it."""
    # On its own, since get_type_hints() fails for a whole class when one annotation cannot be evaluated.
    holder = type(cls.__name__, (), {"__module__": cls.__module__, "__annotations__": {name: annotation}})
    try:
        return get_type_hints(holder, localns={**local_names, **vars(cls)}, include_extras=True)[name]
    except Exception as exc:  # noqa: BLE001 - the text is the user's, and can raise anything
        return exc


def _is_signal(hint: Any) -> bool:
    kind = _without_class_var(hint)
    origin = get_origin(kind) or kind
    return inspect.isclass(origin) and issubclass(origin, BaseSignal)


def _without_class_var(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is ClassVar and get_args(hint) else hint
