"""Signals without their transport: interface, identity, type of the value, conversion to JSON and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeVar

from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.cases.serialization import encode, plain_json
from livecheck_celery.cases.value_types import value_type_of
from livecheck_celery.errors import ConfigurationError, InvalidPayload, LiveCheckTestFailed
from livecheck_celery.models import JSONText, SignalEvent, times_in_words
from livecheck_celery.propagation.sources import Source
from livecheck_celery.utils.annotations import signature_of
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.type_adapters import adapter_of, name_of_type
from livecheck_celery.utils.validation import explain

#: Any by default, so that ``Signal.from_task(...)``, which has no annotation, is a ``Signal[Any]``.
T = TypeVar("T", default=Any)

UNDECORATED: Final = "its class is not registered as a case; decorate it with @livecheck.case()"


#: Attributes that the type of the values determines.
_OF_TYPE: Final = ("adapter", "_takes_plain_values")
#: The arguments of a `BaseSignal` that can be given by position.
_POSITIONAL: Final = ("name", "case", "index", "value_type", "source")


class BaseSignal(Generic[T]):
    """The identity of a signal, and the interface that each kind of signal implements: `send`, `wait` and `resolve`.

    A subclass can have more arguments, if it passes the others on to ``super().__init__()``: each case has a `clone`.

    Attributes:
        name: name of the attribute of the case.
        case: the case that declares the signal.
        index: position among the signals of the case, from 1.
        source: source of an automatic signal; None for a signal that services send.
        times: how many times the signal can arrive, at most; None for any number.
    """

    name = ""
    index = -1
    source: Source | None = None
    times: int | None = None
    #: Whether `wait` is a coroutine, so that only cases of the asyncio face can have the signal; None if unknown.
    is_awaited: ClassVar[bool | None] = None
    _case: DeclaredCase | None = None
    _value_type: Any = None
    _given: Mapping[str, Any] = MappingProxyType({})

    if not TYPE_CHECKING:  # type checkers take the arguments from __init__()

        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            """Keep the arguments, for copies."""
            signal = super().__new__(cls)
            signal._given = _by_name(signal, args, kwargs)
            return signal

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

    # -- the interface

    def send(self, value: T | None = None, *, key: Any = None, force: bool = False) -> Any:
        """Send the signal to the test ``key``, by default to the current one; with ``force``, also outside a test."""
        raise NotImplementedError(f"{type(self).__name__} has no send()")

    def wait(self, *, key: Any = None, timeout: Any = None) -> Any:
        """Wait ``timeout`` seconds for the signal of the test ``key``, by default the current one; return its value."""
        raise NotImplementedError(f"{type(self).__name__} has no wait()")

    def resolve(self, key: Any, event: SignalEvent) -> Any:
        """Store ``event`` for the test ``key``, and wake its waiters; `Case.resolve_signal` calls it."""
        raise NotImplementedError(f"{type(self).__name__} has no resolve()")

    # -- declaration

    @property
    def case(self) -> DeclaredCase:
        """The case that declares the signal.

        Raises:
            ConfigurationError: the class that declares the signal is not registered as a case.
        """
        if self._case is None:
            raise ConfigurationError(f"signal {self.name}: {UNDECORATED}")
        return self._case

    @case.setter
    def case(self, case: DeclaredCase | None) -> None:
        self._case = case

    @property
    def value_type(self) -> Any:
        """The ``T`` of ``Signal[T]``; Any without one."""
        if self._value_type is None:
            # Signal[T]() sets __orig_class__ only after __init__ has returned.
            self._value_type = value_type_of(getattr(self, "__orig_class__", type(self)), BaseSignal)
        return self._value_type

    def annotate(self, value_type: Any) -> None:
        """Set the value type, from an annotation."""
        self._value_type = value_type
        for name in _OF_TYPE:
            vars(self).pop(name, None)

    def clone(self, **kwargs: Any) -> Self:
        """Return a copy of the signal, made with the same arguments, except ``kwargs`` (reference: ``clone``)."""
        signal = type(self)(**{**self._asdict(), **kwargs})
        if "value_type" not in kwargs:
            signal.annotate(self.value_type)
        for name, value in vars(self).items():
            is_given = name in kwargs or name in _OF_TYPE
            if not is_given and (name in {"source", "times"} or name not in vars(signal)):
                setattr(signal, name, value)
        return signal

    def _asdict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of a `clone` (reference: ``_asdict``, which subclasses override)."""
        return {**self._given, "name": self.name, "case": self._case, "index": self.index, **kwargs}

    def check_declaration(self) -> None:
        """Check the declaration of the signal, which belongs to a case.

        Raises:
            ConfigurationError: it is wrong.
        """
        if type(self) is BaseSignal:
            raise ConfigurationError(
                f"case {self.case.name}: signal {self.name}: BaseSignal is an interface; use Signal, or a subclass "
                "that has send(), wait() and resolve()"
            )

    # -- values

    @lazy
    def adapter(self) -> TypeAdapter[T]:
        """The adapter that converts values to JSON and back."""
        return adapter_of(self.value_type)

    @lazy
    def _takes_plain_values(self) -> bool:
        """Whether the adapter converts plain values as `plain_json` does."""
        is_plain = any(self.value_type is kind for kind in (Any, str, int, bool))
        return is_plain and type(self).adapter is BaseSignal.adapter

    def encode(self, value: T) -> JSONText:
        """Convert ``value`` to JSON.

        Raises:
            InvalidPayload: the value has no JSON form, or is over ``max_payload`` bytes.
        """
        limit = self.case.app.settings.max_payload
        text: str | bytes | None = plain_json(value) if self._takes_plain_values else None
        if text is None:
            try:
                text = encode(self.adapter, value, limit)
            except Exception as exc:
                reraise_from_handler(exc)
                raise InvalidPayload(f"{self.described}: value cannot be sent as JSON: {message_of(exc)}") from exc
        if len(text) > limit:
            raise InvalidPayload(
                f"{self.described}: value is {len(text)} bytes, over the limit of {limit} (livecheck_max_payload)"
            )
        return JSONText(text if isinstance(text, str) else text.decode())

    def decode(self, event: SignalEvent) -> T:
        """Convert the value of ``event`` to ``T``.

        Raises:
            LiveCheckTestFailed: the sender could not encode the value, or the value is not of type ``T``.
            InvalidPayload: the value is not JSON text, and has no JSON form.
        """
        if event.error is not None:
            raise LiveCheckTestFailed(event.error)
        text = event.value if isinstance(event.value, JSONText) else self.encode(event.value)
        try:
            return self.adapter.validate_json(text)
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


#: Its annotations are not read, so that it is the same after they have been evaluated.
_signature: Final = lru_cache(maxsize=64)(signature_of)


def _by_name(signal: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with which ``signal`` is made, by name."""
    if not args:
        return dict(kwargs)
    signature = _signature(type(signal).__init__)
    try:
        bound = signature.bind(signal, *args, **kwargs)
    except TypeError:  # which the call raises, too
        return dict(kwargs)
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= zip((each for each in _POSITIONAL if each not in signature.parameters), value, strict=False)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named
