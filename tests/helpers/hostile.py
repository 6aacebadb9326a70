"""Values, headers and settings of an application that break whatever looks at them."""

from __future__ import annotations

import weakref
from typing import Any

from hypothesis import strategies as st

from livecheck_celery.config import Settings
from livecheck_celery.propagation.gate import KNOWN_HEADERS


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise ZeroDivisionError


_SPECIAL = ("str", "repr", "eq", "hash", "len", "bool", "iter", "bytes", "int", "float", "format", "lt", "contains")


def _hostile(methods: list[str]) -> Any:
    return type("Hostile", (), {f"__{name}__": _refuse for name in methods})()


def _recursive() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


class _Proxied:
    """An object that is gone when its weak reference is used."""


#: Objects that an application can pass anywhere.
values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-(2**63), 2**64]),
    st.just(None).map(lambda _: 10**5000),  # has no text
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["caf\udce9", "\x00", "x" * 5000, "", "{", ">"]),
    st.binary(max_size=20),
    st.lists(st.sampled_from(_SPECIAL), min_size=1, unique=True).map(_hostile),
    st.just(None).map(lambda _: _recursive()),
    st.just(None).map(lambda _: weakref.ref(_Proxied())),
    st.just(None).map(lambda _: (number for number in range(3))),
    st.sampled_from([print, int, Exception("x"), object()]),
)

names = st.one_of(st.sampled_from(sorted({*KNOWN_HEADERS, *KNOWN_HEADERS.values()})), values)
#: Headers: pairs of anything, a mapping of text, or no headers at all.
headers = st.one_of(
    st.lists(st.tuples(names, values), max_size=4),
    st.dictionaries(st.text(max_size=5), values, max_size=3),
    values,
)

#: Options of a LiveCheck, of any value.
settings = st.dictionaries(
    st.sampled_from(sorted(Settings.model_fields)),
    st.one_of(
        values,
        st.sampled_from(
            [
                "redis://localhost:1/0?socket_timeout=5",
                "redis://localhost:1/abc",
                "redis://localhost:1/0?nonsense=1",
                "redis://localhost:1/0?credential_provider=nowhere.Provider",
                "http://orders:8000",
                "http://[::1",
                ["*"],
                "amqp://localhost:1",
                "redis://localhost:1/0;redis://localhost:2/0",
            ]
        ),
    ),
    max_size=3,
)
