"""How `urllib3` carries the current test to other services.

A `PoolManager` has each hop of a redirect sent by the pool of its host, with the caller's own headers. A pool by itself
goes to one host; what it is told to redirect to wherever it may be, carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from urllib3 import HTTPConnectionPool
from urllib3.util import parse_url

from livecheck_celery.propagation.clients.instrumentation import Instrumentation
from livecheck_celery.propagation.gate import OWN, Gate

_PARAMETERS: Final = ("method", "url", "body", "headers", "retries", "redirect", "assert_same_host")
_HEADERS: Final = _PARAMETERS.index("headers")


def instrument(gate: Gate) -> Callable[[], None]:
    """Make every pool of this process carry what is current as ``gate`` says; what is returned undoes it."""
    instrumentation = Instrumentation(gate)

    def make(urlopen: Callable[..., Any]) -> Callable[..., Any]:
        def carrying(self: HTTPConnectionPool, *args: Any, **kwargs: Any) -> Any:
            headers = instrumentation.apply(lambda gate: _merged(gate, self, _by_name(args, kwargs)))
            if headers is not None:
                # As they came: who has replaced the method before may look for them there only.
                if len(args) > _HEADERS:
                    args = (*args[:_HEADERS], headers, *args[_HEADERS + 1 :])
                else:
                    kwargs = {**kwargs, "headers": headers}
            return urlopen(self, *args, **kwargs)

        return carrying

    instrumentation.replace(HTTPConnectionPool, "urlopen", make)
    return instrumentation.undo


def _by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}


def _merged(gate: Gate, pool: HTTPConnectionPool, call: Mapping[str, Any]) -> Any:
    if call.get("redirect", True) and not call.get("assert_same_host", True):
        return None
    ours = gate.headers_for(_host(pool, call["url"]))
    if not ours:
        return None
    merged: Any = call.get("headers")
    if merged is None:
        merged = pool.headers
    merged = merged.copy()
    for name in [name for name in merged if name.lower() in OWN]:
        del merged[name]
    merged.update(ours)
    return merged


def _host(pool: HTTPConnectionPool, url: str) -> str | None:
    if pool.proxy is None or url.startswith("/"):
        return pool.host
    host = parse_url(url).host  # a proxy is told the whole URL
    return host and host.strip("[]")
