"""Instrumentation of `urllib3`, to carry the current test to other services.

A `PoolManager` sends each hop of a redirect through the pool of its host, with the caller's own headers. A single pool
connects to one host; a request that it may redirect to any host (``assert_same_host=False``) carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from urllib3 import HTTPConnectionPool
from urllib3.util import parse_url

from livecheck_celery.propagation.clients.instrumentation import Instrumentation, has_all
from livecheck_celery.propagation.gate import OWN_HEADERS, Gate

_PARAMETERS: Final = ("method", "url", "body", "headers", "retries", "redirect", "assert_same_host")
_HEADERS: Final = _PARAMETERS.index("headers")


def instrument(gate: Gate) -> Callable[[], None]:
    """Instrument every pool of this process, as ``gate`` allows; return a function that reverts this."""
    instrumentation = Instrumentation(gate)

    def make(urlopen: Callable[..., Any]) -> Callable[..., Any]:
        def urlopen_with_headers(self: HTTPConnectionPool, *args: Any, **kwargs: Any) -> Any:
            headers = instrumentation.apply(lambda gate: _merged(gate, self, _arguments(args, kwargs)))
            if headers is None:
                return urlopen(self, *args, **kwargs)
            # By position or by keyword, as the caller passed them: another replacement may expect them there.
            if len(args) > _HEADERS:
                args = (*args[:_HEADERS], headers, *args[_HEADERS + 1 :])
            else:
                kwargs = {**kwargs, "headers": headers}
            response = urlopen(self, *args, **kwargs)
            url = _arguments(args, kwargs).get("url", "")
            instrumentation.answered(lambda: (_authority(self, url), response.status, response.headers))
            return response

        return urlopen_with_headers

    instrumentation.replace(HTTPConnectionPool, "urlopen", make)
    return instrumentation.undo


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}


def _merged(gate: Gate, pool: HTTPConnectionPool, call: Mapping[str, Any]) -> Any:
    if call.get("redirect", True) and not call.get("assert_same_host", True):
        return None
    own = gate.headers_for(_host(pool, call["url"]))
    if not own:
        return None
    merged: Any = call.get("headers")
    if merged is None:
        merged = pool.headers
    if has_all(merged, own):
        return None
    merged = merged.copy()
    for name in [name for name in merged if name.lower() in OWN_HEADERS]:
        del merged[name]
    merged.update(own)
    return merged


def _host(pool: HTTPConnectionPool, url: str) -> str | None:
    if pool.proxy is None or url.startswith("/"):
        return pool.host
    host = parse_url(url).host  # a proxy gets the absolute URL
    return host and host.strip("[]")


def _authority(pool: HTTPConnectionPool, url: str) -> str:
    """Return the host, and the port unless it is that of the scheme."""
    if pool.proxy is not None and not url.startswith("/"):
        return parse_url(url).netloc or ""
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    return host if pool.port in (None, pool.ConnectionCls.default_port) else f"{host}:{pool.port}"
