"""What one process lets in over HTTP, what it sends out, and whom it tells what became of a request.

HTTP is a trust boundary. A header that is unsigned, forged, expired, oversized, given twice or malformed is ignored and
counted; it costs the request nothing, and writes no line to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from livecheck_celery.models import HEADER_SIGNATURE, TestExecution
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.sources import SPAN

#: LiveCheck's own headers, by their names in lower case.
OWN: Final = {name.lower(): name for name in (*carrier.HEADERS, HEADER_SIGNATURE)}
#: Every header that is looked at, by its name in lower case.
LOOKED_AT: Final = {**OWN, baggage.HEADER: baggage.HEADER}

_FIRST_SERVER_ERROR: Final = 500


class Happened(Protocol):
    """Told of what happened in ``tests``: a signal may have been declared as resolved by it. Never raises or waits."""

    def __call__(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """``value`` is what came of it, or ``error`` why nothing did.

        ``kind`` and ``name`` say what it was: ``task`` and its name, ``request`` and ``POST /order/create/`` …
        """


class Gate:
    """Accepts tests from the headers of requests, and makes the headers of others.

    Args:
        keys: secret keys; the first signs, any is believed. Without one, nothing is let in or out.
        hosts: host names that tests may be carried to; compared whole, without case and port.
        count: called with the reason each time headers are ignored.
        happened: told what became of requests.
        begin: called as each request comes in, before anything is known of it.
    """

    def __init__(
        self,
        keys: tuple[str, ...],
        hosts: Iterable[str],
        count: Callable[[str], object],
        happened: Happened,
        begin: Callable[[], object],
    ) -> None:
        self._begin = begin
        self._keys = keys
        self._hosts = frozenset(filter(None, map(hostname, hosts)))
        self._count = count
        self._happened = happened

    def accept(self, headers: Iterable[tuple[str, str]]) -> carrier.Carried:
        """What a request's ``headers``, names in any case, carry that can be believed; else `carrier.NOTHING`.

        LiveCheck's own headers count, or where there are none, LiveCheck's entry in the W3C baggage.
        """
        self._begin()
        found: dict[str, str] = {}
        baggages: list[str] = []
        for name, value in headers:
            known = LOOKED_AT.get(name.lower())
            if known is None:
                continue
            if known == baggage.HEADER:
                baggages.append(value)
                continue
            if known in found:
                return self._ignore("duplicated")
            if not isinstance(value, str):
                return self._ignore("malformed")
            found[known] = value
        if found:
            return self._judge(found)
        return self._accept_baggage(baggages) if baggages else carrier.NOTHING

    def headers_for(self, host: str | None) -> Mapping[str, str]:
        """Headers that carry what is current to ``host``; none when it is not on the list."""
        return self.headers() if host is not None and host.lower() in self._hosts else {}

    def headers(self) -> Mapping[str, str]:
        """Headers that carry what is current to anybody."""
        headers = carrier.outgoing() if self._keys else {}
        return carrier.sign(headers, self._keys) if headers else {}

    def answered(
        self, method: str, path: str, status: int, tests: Sequence[TestExecution], error: BaseException | None = None
    ) -> None:
        """Tell that a request in ``tests`` has been answered; ``error`` is what the application raised."""
        if not tests:
            return
        route = f"{method} {path}"
        if error is not None:
            self._happened("request", route, tests, error=f"{route} raised {_described(error)}")
        elif status >= _FIRST_SERVER_ERROR:
            self._happened("request", route, tests, error=f"{route} answered {status}")
        else:
            self._happened("request", route, tests, value={"method": method, "path": path, "status": status})

    def ended(
        self, span: str, tests: Sequence[TestExecution], attributes: Mapping[str, Any], error: str | None = None
    ) -> None:
        """Tell that an OpenTelemetry span in ``tests`` has ended; ``error`` is what its status says, if that is bad."""
        if error is not None:
            self._happened(SPAN, span, tests, error=f"span {span}: {error}")
        else:
            self._happened(SPAN, span, tests, value=attributes)

    def _accept_baggage(self, headers: Sequence[str]) -> carrier.Carried:
        # Unlike LiveCheck's headers, baggage may be spread over several and is mostly of others, who are not counted.
        text = ",".join(header for header in headers if isinstance(header, str))
        entries = baggage.entries(text)
        if not entries:
            return carrier.NOTHING
        if len(text) > baggage.MAX_HEADER:
            return self._ignore("oversized")
        if len(entries) > 1:
            return self._ignore("duplicated")
        found = baggage.unpack(entries[0])
        return self._ignore("malformed") if found is None else self._judge(found)

    def _judge(self, headers: Mapping[str, str]) -> carrier.Carried:
        if not self._keys:
            return self._ignore("no secret_key")
        if HEADER_SIGNATURE not in headers:
            return self._ignore("unsigned")
        if any(len(value) > carrier.MAX_HEADER for value in headers.values()):
            return self._ignore("oversized")
        genuine = carrier.verified(headers, self._keys)
        if genuine is None:
            return self._ignore("forged")
        carried = carrier.arrived(genuine)
        return self._ignore("expired") if carried == carrier.NOTHING else carried

    def _ignore(self, reason: str) -> carrier.Carried:
        self._count(reason)
        return carrier.NOTHING


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its __str__ is the application's, which raised something else than this
        return type(error).__name__


def hostname(host: str) -> str | None:
    """The name in ``host``, which may have a port; in lower case."""
    host = host.strip()
    if host.count(":") > 1 and not host.startswith("["):  # an IPv6 address on its own
        host = f"[{host}]"
    return urlsplit(f"//{host}").hostname
