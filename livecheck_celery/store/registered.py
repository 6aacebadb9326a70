"""Settings of registered cases, as readers use them: each option by itself, since any program can write to Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, Strict, TypeAdapter
from typing_extensions import TypedDict

#: Seconds that can be printed.
_Number = Annotated[float, Strict(), Field(ge=0, le=1e11)]

#: Options and other entries that readers use; all others are only shown.
_TYPES: Final[dict[str, Any]] = {
    "active": Annotated[bool, Strict()],
    "probability": Annotated[_Number, Field(ge=0, le=1)],
    "frequency": _Number | str | None,
    "warn_stalled_after": _Number,
    "signals": list[str],
    "sources": dict[str, Any],
}
_ADAPTERS: Final = {name: TypeAdapter(hint) for name, hint in _TYPES.items()}
#: All at once, which is faster than each by itself.
_ALL: Final = TypeAdapter[dict[str, Any]](TypedDict("_Options", _TYPES, total=False))  # type: ignore[operator] # made at run time
_SOURCE: Final = TypeAdapter(tuple[str, str])

#: Called with the name of an entry that cannot be used, and why.
Skip = Callable[[str, ValueError], object]


def checked(option: str, value: object) -> Any:
    """Return the value of an option.

    Raises:
        ValueError: readers cannot use it.
    """
    adapter = _ADAPTERS.get(option)
    return value if adapter is None else adapter.validate_python(value)


def checked_settings(settings: Mapping[str, Any], skip: Skip) -> dict[str, Any]:
    """Return the settings that readers can use; call ``skip`` for each other one."""
    try:
        found = {**settings, **_ALL.validate_python({name: settings[name] for name in _TYPES.keys() & settings.keys()})}
    except ValueError:
        found = _each_checked(settings, skip)
    if "sources" in found:
        found["sources"] = {name: list(source) for name, source in checked_sources(found["sources"], skip).items()}
    return found


def _each_checked(settings: Mapping[str, Any], skip: Skip) -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        try:
            found[name] = checked(name, value)
        except ValueError as exc:
            skip(name, exc)
    return found


def checked_sources(sources: Mapping[str, Any], skip: Skip) -> dict[str, tuple[str, str]]:
    """Return kind and name of the source of each signal; call ``skip`` for each that is not readable."""
    found = {}
    for signal, source in sources.items():
        try:
            found[signal] = _SOURCE.validate_python(source)
        except ValueError as exc:
            skip(f"source of {signal}", exc)
    return found
