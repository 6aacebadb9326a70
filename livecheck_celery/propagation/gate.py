"""The trust boundary of one process: which headers to accept, which to send, and to which hosts.

A header that is unsigned, forged, expired, oversized, duplicated or malformed is ignored and counted. It never fails
the request, and is not logged, except that an earlier version of LiveCheck sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from livecheck_celery.config import Settings
from livecheck_celery.context import mark_in_force
from livecheck_celery.guard import Guard, guarded
from livecheck_celery.models import (
    HEADER_ACCEPTED,
    HEADER_AUDIENCE,
    HEADER_OUTER,
    HEADER_SIGNATURE,
    OLD_MARK,
    UNACKNOWLEDGED,
    TestExecution,
)
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.headers import (
    DATA_HEADERS,
    MAX_HEADER,
    NOTHING,
    Carried,
    is_from_the_future,
    limit,
    outgoing,
    parse,
)
from livecheck_celery.propagation.replays import Replays
from livecheck_celery.propagation.routes import Routes
from livecheck_celery.propagation.signatures import Keyring
from livecheck_celery.propagation.sources import REQUEST, SPAN, OperationFinished
from livecheck_celery.utils.hosts import Hosts
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.throttle import ThrottledLogger

throttled = ThrottledLogger(get_logger(__name__))

#: Spelling of LiveCheck's own headers, by name in lower case.
OWN_HEADERS: Final = {name.lower(): name for name in (*DATA_HEADERS, HEADER_AUDIENCE, HEADER_SIGNATURE)}
#: Spelling of every header that `Gate.accept` reads, by name in lower case.
KNOWN_HEADERS: Final = {**OWN_HEADERS, baggage.HEADER: baggage.HEADER}

_FIRST_SERVER_ERROR: Final = 500
#: The signature of an earlier version of LiveCheck, which does not name its key.
_EARLIER_VERSION: Final = "earlier version"


class Policy(NamedTuple):
    """What a process sends and accepts.

    Attributes:
        keys: sign and verify the headers. Without keys, no test is accepted or sent.
        hosts: receive them.
        max_age: seconds from the trigger of a test, or the beginning of a fake request, in which headers are accepted.
        audience: names of this service; headers signed for another one are ignored. Empty for any.
    """

    keys: Keyring
    hosts: Hosts
    max_age: float
    audience: Hosts

    @classmethod
    def of(cls, settings: Settings, hosts: Iterable[str] | None = None) -> Self:
        """Return the policy of these settings; ``hosts`` replace ``http_hosts``."""
        listed = Hosts(settings.http_hosts)
        audience = settings.audience or filter(None, [listed.name(settings.service)])
        receivers = listed if hosts is None else Hosts(hosts)
        return cls(Keyring(settings.secret_key), receivers, settings.max_hop_age, Hosts(audience))


_CLOSED: Final = Policy(Keyring(()), Hosts(()), 0.0, Hosts(()))


class _Ignored(Exception):
    """Headers that are ignored, for a reason that is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Gate:
    """Accepts tests from the headers of incoming requests, and builds the headers of outgoing ones.

    Args:
        policy: what to accept and to send.
        count_ignored: called with the reason each time headers are ignored.
        operation_finished: called when a request or a span finishes.
        on_request: called at the start of each incoming request, before its headers are read.
        count_hop: called with `UNACKNOWLEDGED`, host and port each time a request that carried a test was answered
            without `HEADER_ACCEPTED`; and with `OLD_MARK` and the host each time a request is sent whose mark its
            receiver no longer accepts.
        routes: the cases to trigger on incoming requests.

    Attributes:
        routes: the same.
    """

    def __init__(
        self,
        policy: Policy | None,
        *,
        count_ignored: Callable[[str], object],
        operation_finished: OperationFinished,
        on_request: Callable[[], object],
        count_hop: Callable[[str, str], object] = lambda *_: None,
        routes: Routes | None = None,
    ) -> None:
        self._policy = policy
        self._replays = Replays()
        self._count_ignored = count_ignored
        self._operation_finished = operation_finished
        self._on_request = on_request
        self._count_hop = count_hop
        self.routes = routes

    def _current_policy(self) -> Policy:
        return self._policy or _CLOSED

    @guarded("http: failed to read the headers of a request; it carries no test", NOTHING)
    def accept(self, headers: Iterable[tuple[str, str]], *, has_audience: bool = True) -> Carried:
        """Return the tests and the mark in the ``headers`` of a request, if they can be trusted; else `NOTHING`.

        LiveCheck's own headers take precedence; without any, LiveCheck's entry in the W3C baggage is used.

        Args:
            headers: names in any case, and values; headers of others are skipped.
            has_audience: whether the sender knew the receiving service, as over HTTP.
        """
        self._on_request()
        try:
            return self._accept(headers, has_audience=has_audience)
        except _Ignored as ignored:
            self._count_ignored(ignored.reason)
            if ignored.reason == _EARLIER_VERSION:
                throttled.warning(
                    "http: ignored the headers of a request: their signature is that of an earlier version of "
                    "LiveCheck; upgrade all services, see docs/running.md#upgrade-livecheck"
                )
            return NOTHING

    def _accept(self, headers: Iterable[tuple[str, str]], *, has_audience: bool) -> Carried:
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
                raise _Ignored("duplicated")
            if not isinstance(value, str):
                raise _Ignored("malformed")
            found[known] = value
        if found:
            return self._accept_signed(found, has_audience=has_audience)
        return self._accept_baggage(baggages) if baggages else NOTHING

    @guarded("http: failed to build the headers of a request; it carries no test", {})
    def headers_for(self, host: str | None) -> Mapping[str, str]:
        """Build the signed headers of a request to ``host``; empty when ``host`` is not listed.

        They are signed for ``host`` alone if it is listed by name.
        """
        policy = self._current_policy()
        if host is None or host not in policy.hosts or not policy.keys:
            return {}
        if (mark := mark_in_force()) is not None and mark.is_expired:
            self._count_hop(OLD_MARK, host.lower())
        return self._signed(policy.hosts.name(host))

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
            self._count_hop(UNACKNOWLEDGED, authority.lower())

    @guarded("http: failed to build the headers of a request; it carries no test", {})
    def headers(self) -> Mapping[str, str]:
        """Build the signed headers of the current test or fake request, for any service; empty outside of both."""
        return self._signed()

    def lists(self, host: str | None) -> bool:
        """Return whether requests to ``host`` can carry headers; never raise."""
        return host is not None and host in self._current_policy().hosts

    def _signed(self, audience: str | None = None) -> Mapping[str, str]:
        keys = self._current_policy().keys
        headers = outgoing() if keys else {}
        if headers and audience is not None:
            headers[HEADER_AUDIENCE] = audience
        return keys.sign(headers) if headers else {}

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
            raise _Ignored("oversized")
        if len(entries) > 1:
            raise _Ignored("duplicated")
        found = baggage.unpack(entries[0])
        if found is None:
            raise _Ignored("malformed")
        if len(outer := baggage.entries(text, baggage.OUTER_ENTRY)) == 1:
            found[HEADER_OUTER] = baggage.plain(outer[0])
        return self._accept_signed(found, has_audience=False)

    def _accept_signed(self, headers: Mapping[str, str], *, has_audience: bool) -> Carried:
        policy = self._current_policy()
        genuine = _verified(headers, policy.keys)
        if has_audience and policy.audience and genuine.get(HEADER_AUDIENCE) not in policy.audience:
            raise _Ignored("audience")
        if HEADER_OUTER in headers and HEADER_OUTER not in genuine:
            self._count_ignored("forged")
        parsed = parse(genuine)
        if is_from_the_future(parsed):
            raise _Ignored("future")
        carried = limit(parsed, policy.max_age)
        if carried == NOTHING:
            raise _Ignored("expired")
        if not self._replays.accept(carried, headers[HEADER_SIGNATURE]):
            raise _Ignored("replayed")
        return carried


def _verified(headers: Mapping[str, str], keys: Keyring) -> Mapping[str, str]:
    """Return those of ``headers`` that one of ``keys`` signed.

    Raises:
        _Ignored: there are none.
    """
    if not keys:
        raise _Ignored("no secret_key")
    if not headers.get(HEADER_SIGNATURE):
        raise _Ignored("unsigned")
    if any(len(value) > MAX_HEADER for value in headers.values()):
        raise _Ignored("oversized")
    if "." not in headers[HEADER_SIGNATURE]:
        raise _Ignored(_EARLIER_VERSION)
    if not keys.knows(headers[HEADER_SIGNATURE]):
        raise _Ignored("unknown key")
    genuine = keys.verify(headers)
    if genuine is None:
        raise _Ignored("forged")
    return genuine


class LateGate(Gate):
    """A gate whose policy is read when first needed; closed while a setting is wrong.

    Args:
        read: returns the policy; called until it does not raise.
        guard: logs what it raises.
        callbacks: as for `Gate`.
    """

    def __init__(self, read: Callable[[], Policy], guard: Guard, **callbacks: Any) -> None:
        super().__init__(None, **callbacks)
        self._read = read
        self._guard = guard

    def _current_policy(self) -> Policy:
        if self._policy is None:
            with self._guard("gate", "http: a setting is wrong; requests carry no tests"):
                self._policy = self._read()
        return super()._current_policy()
