"""Generate tables of pages: of the settings, from their models, and of the attributes of a suite."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from celery.schedules import BaseSchedule
from pydantic import BaseModel, BeforeValidator

from livecheck_celery.cases.case import Case
from livecheck_celery.cases.descriptors import SuiteAttribute
from livecheck_celery.config import CaseSettings, Settings
from livecheck_celery.utils.durations import duration, optional_duration

#: Models by name; the page has a marker of that name around each table.
MODELS: Final[Mapping[str, type[BaseModel]]] = {"Settings": Settings, "CaseSettings": CaseSettings}

#: Defaults that are computed, in words.
COMPUTED: Final = {
    "broker_url": "the Celery app's, or `redis://localhost:6379/0`",
    "redis_url": "the broker's, if it is Redis",
}

_NAMES: Final = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    tuple: "list of str",
    timedelta: "duration",
    BaseSchedule: "Celery schedule",
}
_UNITS: Final = {3600: "h", 60: "min", 1: "s"}


def settings_page(root: Path) -> str:
    """Return docs/settings.md with a new table of each model; errors as for `fill`."""
    text = (root / "docs" / "settings.md").read_text()
    for name, model in MODELS.items():
        text = fill(text, name, table(model))
    return text


def api_page(root: Path) -> str:
    """Return docs/api.md with a new table of the attributes of a suite; errors as for `fill`."""
    rows = ["| attribute | before the first test | description |", "| --- | --- | --- |"]
    for name, attribute in vars(Case).items():
        if isinstance(attribute, SuiteAttribute):
            default = getattr(Case, name)
            shown = "empty" if default in (Counter(), deque()) else f"`{default}`"
            rows.append(f"| `{name}` | {shown} | {attribute.__doc__} |")
    return fill((root / "docs" / "api.md").read_text(), "attributes", "\n".join(rows))


def fill(text: str, name: str, block: str) -> str:
    """Return ``text`` with ``block`` between the comments ``<!-- generated: name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: a comment is missing.
    """
    start, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"missing {start.strip()} or {end}; add both comments to the page")
    return f"{before}{start}\n{block}\n\n{end}{after}"


def table(model: type[BaseModel]) -> str:
    """Return a Markdown table of the fields of ``model``: name, type, default and description."""
    rows = ["| name | type | default | description |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation, field.metadata)
        default = COMPUTED.get(name) or _in_words(field.default, kind)
        description = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {kind} | {default} | {description} |")
    return "\n".join(rows)


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin in {Union, UnionType}:
        return " or ".join(_kind(each) for each in arguments if each is not NoneType)
    if any(isinstance(each, BeforeValidator) and each.func in (duration, optional_duration) for each in metadata):
        return "duration"
    return _NAMES[origin or annotation]


def _in_words(default: Any, kind: str) -> str:
    match default:
        case None | ():
            return "none"
        case bool():
            return str(default).lower()
        case timedelta():
            return _duration(default.total_seconds())
        case tuple():
            return f"`{','.join(default)}`"
        case str():
            return f"`{default}`"
    return _duration(default) if kind == "duration" else f"{default:,}"


def _duration(value: float) -> str:
    unit = next((unit for unit in _UNITS if value >= unit and value % unit == 0), 1)
    return f"{value / unit:g} {_UNITS[unit]}"
