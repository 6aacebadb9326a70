"""Build executions from the arguments of a trigger, and limit their size."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from livecheck_celery.blocks import mark_in_force
from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.cases.serialization import as_json
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.models import MAX_ID, TestExecution, id_of, made, new_send_id
from livecheck_celery.propagation.traceparent import traceparent
from livecheck_celery.utils import clock
from livecheck_celery.utils.own_random import OWN
from livecheck_celery.utils.sanitize import message_of

#: Longest JSON escape of one character.
_LONGEST_ESCAPE: Final = 6
_LARGE: Final = 2**63


def build(
    case: DeclaredCase,
    id: object = None,  # noqa: A002 - the reference's name
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    expires_in: float | None = None,
) -> TestExecution:
    """Build an execution of ``case``, triggered now; without an id, or with an empty one, it gets a new one.

    Raises:
        InvalidPayload: the arguments are not JSON, or the id has no text or is too long.
    """
    return _build(case, id, args, kwargs or {}, expires_in)[0]


def build_checked(
    case: DeclaredCase, test_id: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[TestExecution, int]:
    """Build an execution as `build`, and check its size as `check_size`; return both."""
    test, length = _build(case, test_id, args, kwargs, None)
    limit = case.app.settings.max_payload
    if length is not None and length * _LONGEST_ESCAPE < limit:
        return test, length
    return test, check_size(test, limit)


def _build(
    case: DeclaredCase, given: object, args: tuple[Any, ...], kwargs: dict[str, Any], expires_in: float | None
) -> tuple[TestExecution, int | None]:
    """Return an execution, and the approximate length of its id and arguments as JSON, if no serializer is needed."""
    try:
        test_id = given if type(given) is str and given and given.isascii() else id_of(given) or _new_id()
    except InvalidPayload as exc:
        raise InvalidPayload(f"case {case.name}: {exc}") from exc
    if len(test_id) > MAX_ID:
        raise InvalidPayload(
            f"case {case.name}: the id {test_id!a:.40} … is {len(test_id)} characters, over the limit of {MAX_ID}"
        )
    now = clock.now()
    limit = case.app.settings.max_payload
    positional = _json_length(args) if args else 0
    named = _json_length(kwargs.values()) if kwargs else 0
    test = made(
        TestExecution,
        id=test_id,
        case_name=case.name,
        timestamp=now,
        test_args=as_json(args, limit) if positional is None else list(args),
        test_kwargs=as_json(kwargs, limit) if named is None else dict(kwargs),
        expires=now + (case.test_expires if expires_in is None else timedelta(seconds=expires_in)),
        mark=mark_in_force(),
        traceparent=traceparent(),
        recorded_at=None,
        message_options=None,
        nonce=new_send_id(),
    )
    names = _json_length((test_id, *kwargs))
    if positional is None or named is None or names is None:
        return test, None
    return test, positional + named + names


def _new_id() -> str:
    # Not uuid4(): it reads the system's random source, and releases the interpreter lock meanwhile.
    return str(uuid.UUID(int=OWN.getrandbits(128), version=4))


def split_id(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Split the arguments of a trigger into the test's id and the arguments of ``run()``."""
    if args:
        return args[0], tuple(args[1:]), dict(kwargs)
    return kwargs.get("id"), (), {name: value for name, value in kwargs.items() if name != "id"}


def check_size(test: TestExecution, limit: int) -> int:
    """Return the approximate size in bytes of the id and the arguments of ``test`` as JSON.

    Args:
        test: the execution.
        limit: bytes allowed (``max_payload``).

    Raises:
        InvalidPayload: they have no JSON form, or are over the limit.
    """
    try:
        size = len(to_json((test.id, test.test_args, test.test_kwargs)))
    except PydanticSerializationError as exc:  # half a surrogate pair, in the id or an argument
        raise InvalidPayload(f"case {test.case_name}: test {test.id!a:.40} is not JSON: {message_of(exc)}") from exc
    if size > limit:
        raise InvalidPayload(
            f"case {test.case_name}: the arguments of test {test.id:.40} are {size} bytes, over the limit of {limit} "
            "(livecheck_max_payload)"
        )
    return size


def _json_length(values: Iterable[Any]) -> int | None:
    """Return the approximate length of ``values`` as JSON if each is plain ASCII text, a small integer, a bool or None.

    None means that a serializer is needed. Most tests have a short id and few arguments, and need none.
    """
    characters = 0
    for value in values:
        kind = type(value)
        if kind is str and value.isascii():
            characters += len(value) + 3
        elif kind is bool or value is None or (kind is int and -_LARGE < value < _LARGE):
            characters += 20
        else:
            return None
    return characters
