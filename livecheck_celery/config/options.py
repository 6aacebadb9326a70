"""The model of settings: values from several sources, validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from types import NoneType
from typing import Any, Final, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.sanitize import type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.validation import explain_options


class NotGiven(Enum):
    """The type of `NOT_GIVEN`, the value of an option that its source does not have; None can be a value."""

    NOT_GIVEN = auto()


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


class Resolved(BaseModel):
    """Settings by name; the first source that has a name gives its value."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    def resolve(
        cls,
        owner: str,
        sources: tuple[Callable[[str], Any], ...],
        arguments: Mapping[str, Any],
    ) -> Self:
        """Build the settings from ``arguments``, then from the first of ``sources`` that has the name.

        ``owner`` names the object being configured in errors. None means "not given", except for an option that can be
        None.

        Raises:
            ConfigurationError: an option is unknown, or a value is out of range.
        """
        values = {name: value for name, value in arguments.items() if cls._is_given(name, value)}
        for name in cls.model_fields.keys() - values.keys():
            for source in sources:
                if (value := source(name)) is NOT_GIVEN:
                    continue
                value = cls._none_or(name, value)
                if cls._is_given(name, value) and not _is_empty(value):
                    values[name] = value
                    break
        try:
            return cls(**values)
        except ValidationError as exc:
            raise ConfigurationError(f"{owner}: {explain_options(exc, cls.model_fields)}") from None
        except Exception as exc:  # noqa: BLE001 - a value that raises when it is looked at
            reraise_from_handler(exc)
            raise ConfigurationError(f"{owner}: a setting cannot be read: {type_and_message(exc)}") from None

    @classmethod
    def _none_or(cls, name: str, value: Any) -> Any:
        """Return None for the text ``none``, which a variable of the environment has in its place."""
        is_none = isinstance(value, str) and value.strip().lower() == "none"
        return None if is_none and cls._can_be_none(name) else value

    @classmethod
    def _can_be_none(cls, name: str) -> bool:
        return NoneType in get_args(cls.model_fields[name].annotation)

    @classmethod
    def _is_given(cls, name: str, value: Any) -> bool:
        if value is None and name in cls.model_fields:
            return cls._can_be_none(name)
        return value is not None and value is not NOT_GIVEN


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value
