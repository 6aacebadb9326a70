"""Looks at what a class declares: the name of the case, and its signals."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, get_args, get_origin

from livecheck_celery.cases.signals import BaseSignal
from livecheck_celery.errors import ConfigurationError

#: Class attribute with the names that were in scope where the class was decorated; annotations may be text that
#: speaks of them.
SCOPE: Final = "__livecheck_scope__"


#: Longest name of a case, in characters.
MAX_NAME: Final = 512


def check_name(name: str) -> None:
    """Refuse a name that a case cannot have.

    Raises:
        ConfigurationError: it has curly brackets, or is too long, or not printable.
    """
    if "{" in name or "}" in name:
        raise ConfigurationError(f"case {name!r:.100}: name: curly brackets are for Redis; give it another name=")
    if not name.isprintable() or len(name) > MAX_NAME:
        # Celery logs the names of beat's entries as they are.
        raise ConfigurationError(
            f"case {name!r:.100}: name: must be of at most {MAX_NAME} printable characters; give it another name="
        )


def declared_signals(cls: type, case_name: str) -> list[BaseSignal[Any]]:
    """Signals of ``cls`` and its bases: annotated ones first, in order, then ones only assigned.

    Raises:
        ConfigurationError: an annotation that speaks of a signal cannot be understood.
    """
    found: dict[str, BaseSignal[Any]] = {}
    scope = getattr(cls, SCOPE, {})
    for one in reversed(cls.__mro__):
        found |= dict(_annotated(one, case_name, scope))
        found |= {name: signal for name, signal in _assigned(one) if name not in found}
    return list(found.values())


def _assigned(cls: type) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, value in vars(cls).items():
        if isinstance(value, BaseSignal):
            yield name, value


def _annotated(cls: type, case_name: str, scope: Mapping[str, Any]) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, annotation in inspect.get_annotations(cls).items():
        assigned = vars(cls).get(name)
        kind = _evaluate(cls, case_name, name, annotation, scope) if isinstance(annotation, str) else annotation
        if get_origin(kind) is ClassVar:
            kind = get_args(kind)[0]
        signal_type = get_origin(kind) or kind
        if inspect.isclass(signal_type) and issubclass(signal_type, BaseSignal):
            value_type = (get_args(kind) or (Any,))[0]
            signal = assigned if isinstance(assigned, BaseSignal) else signal_type(name)
            signal.annotate(value_type)
            yield name, signal


def _evaluate(cls: type, case_name: str, name: str, annotation: str, scope: Mapping[str, Any]) -> Any:
    module = sys.modules.get(cls.__module__)
    try:
        return eval(annotation, dict(vars(module)) if module else {}, {**scope, **vars(cls)})  # noqa: S307 - as typing does
    except Exception as exc:
        if "Signal" not in annotation:
            return None
        raise ConfigurationError(f"case {case_name}: signal {name}: {annotation}: {exc}") from exc
