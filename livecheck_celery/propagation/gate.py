"""The trust boundary of one process: which headers to accept, which to send, and to which hosts.

A header that is unsigned, forged, expired, oversized, duplicated or malformed is ignored and counted. It never fails
the request, and is not logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from livecheck_celery.guard import Guard, guarded
from livecheck_celery.models import HEADER_ACCEPTED, HEADER_OUTER, HEADER_SIGNATURE, TestExecution
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.headers import (
    DATA_HEADERS,
    MAX_HEADER,
    NOTHING,
    Carried,
    outgoing,
    parse,
    sign,
    verify,
)
from livecheck_celery.propagation.routes import Routes
from livecheck_celery.propagation.sources import REQUEST, SPAN, OperationFinished
from livecheck_celery.utils.hosts import Hosts
from livecheck_celery.utils.sanitize import type_and_message

#: Spelling of LiveCheck's own headers, by name in lower case.
OWN_HEADERS: Final = {name.lower(): name for name in (*DATA_HEADERS, HEADER_SIGNATURE)}
#: Spelling of every header that `Gate.accept` reads, by name in lower case.
KNOWN_HEADERS: Final = {**OWN_HEADERS, baggage.HEADER: baggage.HEADER}

_FIRST_SERVER_ERROR: Final = 500


class Policy(NamedTuple):
    """The keys that sign headers, and the hosts that receive them."""

    keys: tuple[str, ...]
    hosts: Hosts


_CLOSED: Final = Policy((), Hosts(()))


class Gate:
    """Accepts tests from the headers of incoming requests, and builds the headers of outgoing ones.

    Args:
        keys: secret keys. The first one signs; a signature by any of them is accepted. Without keys, no test is
            accepted or sent.
        hosts: the hosts that tests are sent to, as in `Hosts`.
        count_ignored: called with the reason each time headers are ignored.
        operation_finished: called when a request or a span finishes.
        on_request: called at the start of each incoming request, before its headers are read.
        count_unacknowledged: called with host and port each time a request that carried a test was answered without
            `HEADER_ACCEPTED`.
        routes: the cases to trigger on incoming requests.

    Attributes:
        routes: the same.
    """

    def __init__(
        self,
        keys: tuple[str, ...],
        hosts: Iterable[str],
        *,
        count_ignored: Callable[[str], object],
        operation_finished: OperationFinished,
        on_request: Callable[[], object],
        count_unacknowledged: Callable[[str], object] = lambda _: None,
        routes: Routes | None = None,
    ) -> None:
        self._policy: Policy | None = Policy(keys, Hosts(hosts))
        self._count_ignored = count_ignored
        self._operation_finished = operation_finished
        self._on_request = on_request
        self._count_unacknowledged = count_unacknowledged
        self.routes = routes

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._current_policy().keys

    def _current_policy(self) -> Policy:
        return self._policy or _CLOSED

    @guarded("http: failed to read the headers of a request; it carries no test", NOTHING)
    def accept(self, headers: Iterable[tuple[str, str]]) -> Carried:
        """Return the test or mark that the ``headers`` of a request carry, if they can be trusted; else `NOTHING`.

        LiveCheck's own headers take precedence; without any, LiveCheck's entry in the W3C baggage is used.

        Args:
            headers: names in any case, and values; headers of others are skipped.
        """
        self._on_request()
        found: dict[str, str] = {}
        baggages: list[str] = []
        for name, value in headers:
            known = KNOWN_HEADERS.get(name.lower()) if isinstance(name, str) else None
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
            return self._accept_signed(found)
        return self._accept_baggage(baggages) if baggages else NOTHING

    def headers_for(self, host: str | None) -> Mapping[str, str]:
        """Build the signed headers of a request to ``host``; empty when ``host`` is not listed."""
        return self.headers() if host in self._current_policy().hosts else {}

    @guarded("http: failed to record the answer to a request; continuing", None)
    def answered(self, authority: str, status: int, headers: Mapping[str, str]) -> None:
        """Note the answer to a request that carried headers; count it if the service did not accept them.

        Only statuses 2xx and 4xx are counted: servers and proxies make redirects and server errors themselves, and
        a WebSocket is opened without the acknowledgement.

        Args:
            authority: host of the request, with the port if the URL has one.
            status: HTTP status.
            headers: of the response; names in any case.
        """
        if status // 100 in (2, 4) and headers.get(HEADER_ACCEPTED) is None:
            self._count_unacknowledged(authority.lower())

    @guarded("http: failed to build the headers of a request; it carries no test", {})
    def headers(self) -> Mapping[str, str]:
        """Build the signed headers of the current test or fake request; empty outside of both."""
        headers = outgoing() if self._keys else {}
        return sign(headers, self._keys) if headers else {}

    @guarded("http: failed to record the outcome of a request; continuing", None)
    def request_finished(
        self, method: str, path: str, status: int, tests: Sequence[TestExecution], error: BaseException | None = None
    ) -> None:
        """Report that a request that was part of ``tests`` finished; ``error`` is what the application raised."""
        if not tests:
            return
        route = f"{method} {path}"
        if error is not None:
            self._operation_finished(REQUEST, route, tests, error=f"{route} raised {type_and_message(error)}")
        elif status >= _FIRST_SERVER_ERROR:
            self._operation_finished(REQUEST, route, tests, error=f"{route} returned status {status}")
        else:
            self._operation_finished(REQUEST, route, tests, value={"method": method, "path": path, "status": status})

    def span_finished(
        self, span: str, tests: Sequence[TestExecution], attributes: Mapping[str, Any], error: str | None = None
    ) -> None:
        """Report that the OpenTelemetry span named ``span`` finished; ``error`` describes an error status."""
        if error is not None:
            self._operation_finished(SPAN, span, tests, error=f"span {span}: {error}")
        else:
            self._operation_finished(SPAN, span, tests, value=attributes)

    def _accept_baggage(self, headers: Sequence[str]) -> Carried:
        # Baggage can be split over several headers, and is mostly set by others: without our entry, count nothing.
        text = ",".join(header for header in headers if isinstance(header, str))
        entries = baggage.entries(text)
        if not entries:
            return NOTHING
        if len(text) > baggage.MAX_HEADER:
            return self._ignore("oversized")
        if len(entries) > 1:
            return self._ignore("duplicated")
        found = baggage.unpack(entries[0])
        if found is None:
            return self._ignore("malformed")
        if len(outer := baggage.entries(text, baggage.OUTER_ENTRY)) == 1:
            found[HEADER_OUTER] = baggage.plain(outer[0])
        return self._accept_signed(found)

    def _accept_signed(self, headers: Mapping[str, str]) -> Carried:
        if not self._keys:
            return self._ignore("no secret_key")
        if HEADER_SIGNATURE not in headers:
            return self._ignore("unsigned")
        if any(len(value) > MAX_HEADER for value in headers.values()):
            return self._ignore("oversized")
        genuine = verify(headers, self._keys)
        if genuine is None:
            return self._ignore("forged")
        if HEADER_OUTER in headers and HEADER_OUTER not in genuine:
            self._count_ignored("forged")
        carried = parse(genuine)
        return self._ignore("expired") if carried == NOTHING else carried

    def _ignore(self, reason: str) -> Carried:
        self._count_ignored(reason)
        return NOTHING


class LateGate(Gate):
    """A gate whose keys and hosts are read when first needed; closed while a setting is wrong.

    Args:
        read: returns the keys and hosts; called until it does not raise.
        guard: logs what it raises.
        callbacks: as for `Gate`.
    """

    def __init__(
        self, read: Callable[[], tuple[tuple[str, ...], Iterable[str]]], guard: Guard, **callbacks: Any
    ) -> None:
        super().__init__((), (), **callbacks)
        self._policy = None
        self._read = read
        self._guard = guard

    def _current_policy(self) -> Policy:
        if self._policy is None:
            with self._guard("gate", "http: a setting is wrong; requests carry no tests"):
                keys, hosts = self._read()
                self._policy = Policy(keys, Hosts(hosts))
        return super()._current_policy()
