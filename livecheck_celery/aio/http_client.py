"""The httpx client of the asyncio face: from the environment it takes proxies and certificates, as `Session` does."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import httpx
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy

from livecheck_celery.cases.session import Session
from livecheck_celery.propagation.clients.httpx import CarryingTransport
from livecheck_celery.propagation.gate import Gate

#: The rules of the environment.
SESSION: Final = Session()

#: Arguments of `httpx.AsyncClient` that are those of a transport.
_OF_TRANSPORT: Final = ("verify", "cert", "http1", "http2", "limits", "proxy", "trust_env")


def client(gate: Gate, **kwargs: Any) -> httpx.AsyncClient:
    """Return a client that carries the current test, as ``gate`` allows.

    Args:
        gate: decides which hosts receive the test.
        kwargs: arguments of `httpx.AsyncClient`.
    """
    options = {name: kwargs.pop(name) for name in _OF_TRANSPORT if name in kwargs}
    transport = kwargs.pop("transport", None) or _Transport(**options)
    if mounts := kwargs.pop("mounts", None):
        kwargs["mounts"] = {key: each and CarryingTransport(each, gate) for key, each in mounts.items()}
    return httpx.AsyncClient(transport=CarryingTransport(transport, gate), **kwargs)


class _Transport(httpx.AsyncBaseTransport):
    """Sends each hop of a redirect by the proxy, and with the certificates, that the environment has for its URL.

    TLS is verified; ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` name other certificates, but do not disable it.
    """

    def __init__(self, *, verify: Any = True, proxy: Any = None, trust_env: bool = True, **options: Any) -> None:
        self._verify = verify
        self._proxy = proxy
        self._trust_env = trust_env
        self._options = options
        self._transports: dict[tuple[str | None, Any], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one hop."""
        proxy, verify = None, self._verify
        if self._trust_env:
            environment = SESSION.merge_environment_settings(str(request.url), {}, None, verify, None)
            proxy, verify = select_proxy(str(request.url), environment["proxies"]), environment["verify"]
        if (proxy, verify) not in self._transports:
            self._transports[proxy, verify] = self._open(proxy, verify)
        return await self._transports[proxy, verify].handle_async_request(request)

    def _open(self, proxy: str | None, verify: Any) -> httpx.AsyncHTTPTransport:
        chosen = self._proxy or (f"http://{proxy}" if proxy and "://" not in proxy else proxy)
        context = _context(verify, is_shared="cert" not in self._options)
        return httpx.AsyncHTTPTransport(verify=context, proxy=chosen, trust_env=False, **self._options)

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            await transport.aclose()


def _context(verify: Any, *, is_shared: bool) -> Any:
    """Return the TLS context for a value of ``verify``; loading the certificates takes some 20 ms.

    Raises:
        OSError: the certificates do not exist.
    """
    if verify is not True and not isinstance(verify, str):
        return verify
    path = Path(DEFAULT_CA_BUNDLE_PATH if verify is True else verify)
    if not path.exists():
        raise OSError(f"Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
    return (_load if is_shared else _load.__wrapped__)(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: Path, _changed: int) -> ssl.SSLContext:
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
