"""Values of Django signals as JSON types: primary keys or the fields asked for, without secrets and queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic_core import to_jsonable_python

from livecheck_celery.utils import strict_json
from livecheck_celery.utils.secrets import masked
from livecheck_celery.utils.signal_handlers import reraise_from_handler

#: Parts of one value; the size of the whole is limited where it is sent.
_MAX_PARTS: Final = 100_000


def value_of(arguments: dict[str, Any], fields: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of a Django signal that was sent with ``arguments``.

    With a model instance among them, the value has its ``fields``, by default its primary key; else it has the
    arguments of these names, by default all. The value of a secret, such as ``password``, is masked.

    Raises:
        AttributeError: there is no such field or argument.
    """
    instance = arguments.get("instance")
    if _is_model(instance):
        return fields_of(instance, fields)
    names = fields or [name for name in arguments if name not in ("signal", "sender")]
    missing = [name for name in names if name not in arguments]
    if missing:
        raise AttributeError(f"the signal has no argument {missing[0]!r}; it has: {', '.join(arguments)}")
    return _masked({name: _argument(arguments[name]) for name in names})


def fields_of(instance: Any, fields: Sequence[str] = ()) -> dict[str, Any]:
    """Return these fields of a model instance, by default its primary key; deferred ones are left out.

    Reads what the instance has stored, so that no property runs and no query is made.

    Raises:
        AttributeError: the model has no such column.
    """
    stored = vars(instance)
    columns = {name: column for name, column in _columns(type(instance), fields) if column in stored}
    return _masked({name: _field(stored[column]) for name, column in columns.items()})


def _columns(model: Any, fields: Sequence[str]) -> Iterable[tuple[str, str]]:
    meta = model._meta  # noqa: SLF001 - documented by Django
    if not fields:
        return [(field.attname, field.attname) for field in getattr(meta, "pk_fields", None) or [meta.pk]]
    known = {name: field.attname for field in meta.concrete_fields for name in (field.name, field.attname)}
    known["pk"] = meta.pk.attname
    missing = [name for name in fields if name not in known]
    if missing:
        raise AttributeError(f"{meta.label} has no column {missing[0]!r}; choose from: {', '.join(sorted(known))}")
    return [(name, known[name]) for name in fields]


def _is_model(value: Any) -> bool:
    return hasattr(type(value), "_meta") and "_state" in getattr(value, "__dict__", ())


def _field(value: Any) -> Any:
    if isinstance(value, memoryview):  # some databases return binary columns as memoryview
        value = bytes(value)
    try:
        strict_json.check(value, _MAX_PARTS)
        return to_jsonable_python(value, bytes_mode="base64")
    except ValueError as exc:  # an expression, a file, a value that contains itself
        reraise_from_handler(exc)
        return str(value)


def _argument(value: Any) -> Any:
    if _is_model(value):
        keys = list(fields_of(value).values())
        return keys[0] if len(keys) == 1 else keys
    try:
        return strict_json.as_json_types(value, _MAX_PARTS)
    except ValueError as exc:  # a request, a query, a connection: nothing of it runs
        reraise_from_handler(exc)
        return f"<{type(value).__name__}>"


def _masked(values: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = masked(values)
    return shown
