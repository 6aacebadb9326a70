"""Signals without their transport: identity, type of the value, conversion to JSON and back."""

from __future__ import annotations

from typing import Any, Final, Generic, Self, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.cases.serialization import encode
from livecheck_celery.errors import ConfigurationError, InvalidPayload, LiveCheckTestFailed
from livecheck_celery.models import SignalEvent, times_in_words
from livecheck_celery.propagation.sources import Source
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.type_adapters import adapter_of, name_of_type
from livecheck_celery.utils.validation import explain

#: Any by default, so that ``Signal.from_task(...)``, which has no annotation, is a ``Signal[Any]``.
T = TypeVar("T", default=Any)

UNDECORATED: Final = "its class is not registered as a case; decorate it with @livecheck.case()"


class BaseSignal(Generic[T]):
    """A signal's identity: name, case, position, and type of its value.

    Attributes:
        name: name of the attribute of the case.
        case: the case that declares the signal.
        index: position among the signals of the case, from 1.
        source: source of an automatic signal; None for a signal that services send.
        times: how many times the signal can arrive, at most; None for any number.
    """

    def __init__(
        self,
        name: str = "",
        case: DeclaredCase | None = None,
        index: int = -1,
        value_type: Any = None,
        source: Source | None = None,
        *,
        times: int | None = None,
    ) -> None:
        self.name = name
        self.index = index
        self.source = source
        self.times = times
        self._case = case
        self._value_type = value_type

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index}: {self.name}>"

    @property
    def case(self) -> DeclaredCase:
        """The case that declares the signal.

        Raises:
            ConfigurationError: the class that declares the signal is not registered as a case.
        """
        if self._case is None:
            raise ConfigurationError(f"signal {self.name}: {UNDECORATED}")
        return self._case

    @property
    def value_type(self) -> Any:
        """The ``T`` of ``Signal[T]``; Any without one."""
        if self._value_type is None:
            # Signal[T]() sets __orig_class__ only after __init__ has returned.
            args = get_args(getattr(self, "__orig_class__", None))
            self._value_type = args[0] if args else Any
        return self._value_type

    def annotate(self, value_type: Any) -> None:
        """Set the value type from the annotation, unless the signal was declared with a type."""
        if self.value_type is Any:
            self._value_type = value_type

    def clone(self, *, case: DeclaredCase, index: int) -> Self:
        """Return a copy of the signal that belongs to ``case``.

        Raises:
            ConfigurationError: values of the signal's type cannot be sent as JSON; or ``times`` is not a number.
        """
        if self.times is not None and (type(self.times) is not int or self.times < 1):
            raise ConfigurationError(
                f"case {case.name}: signal {self.name}: times={self.times!r} must be a number from 1, or None"
            )
        signal = type(self)(self.name, case, index, self.value_type, self.source, times=self.times)
        try:
            _ = signal.adapter
        except (PydanticUserError, TypeError, NameError) as exc:
            reason = str(exc).partition("\n")[0]
            raise ConfigurationError(
                f"case {case.name}: signal {self.name}: {self.value_type!r} cannot be sent as JSON: {reason}"
            ) from None
        return signal

    @lazy
    def adapter(self) -> TypeAdapter[T]:
        """The adapter that converts values to JSON and back."""
        return adapter_of(self.value_type)

    def encode(self, value: T) -> str:
        """Convert ``value`` to JSON.

        Raises:
            InvalidPayload: the value has no JSON form, or is over ``max_payload`` bytes.
        """
        limit = self.case.app.settings.max_payload
        try:
            text = encode(self.adapter, value, limit)
        except Exception as exc:
            reraise_from_handler(exc)
            raise InvalidPayload(f"{self.described}: value cannot be sent as JSON: {message_of(exc)}") from exc
        if len(text) > limit:
            raise InvalidPayload(
                f"{self.described}: value is {len(text)} bytes, over the limit of {limit} (livecheck_max_payload)"
            )
        return text.decode()

    def decode(self, event: SignalEvent) -> T:
        """Convert the value of ``event`` to ``T``.

        Raises:
            LiveCheckTestFailed: the sender could not encode the value, or the value is not of type ``T``.
        """
        if event.error is not None:
            raise LiveCheckTestFailed(event.error)
        try:
            return self.adapter.validate_json(event.value)
        except ValidationError as exc:
            expected = name_of_type(self.value_type)
            raise LiveCheckTestFailed(f"{self.described}: value is not of type {expected}: {explain(exc)}") from exc

    def check_times(self, event: SignalEvent) -> None:
        """Check how many times the signal has arrived.

        Raises:
            LiveCheckTestFailed: more than ``times`` times.
        """
        if self.times is not None and event.arrivals > self.times:
            raise LiveCheckTestFailed(f"{self.described} arrived {times_in_words(event.arrivals)} (times={self.times})")

    @property
    def described(self) -> str:
        """The signal's name and position, for errors."""
        return f"signal {self.name} ({self.index} of {len(self.case.signals)})"
