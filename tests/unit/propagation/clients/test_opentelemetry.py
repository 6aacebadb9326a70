"""OpenTelemetry's own instrumentation of HTTP clients, beside LiveCheck's, and with its baggage."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from requests.adapters import HTTPAdapter

from livecheck_celery.context import under_test
from livecheck_celery.propagation import otel
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import CLIENTS, Client
from tests.helpers.http_server import KEY, Server
from tests.helpers.tracing import recording

TEST = make_test("order-1")
INSTRUMENTORS = {"requests": RequestsInstrumentor, "httpx": HTTPXClientInstrumentor}


@pytest.mark.parametrize("first", ["livecheck", "opentelemetry"])
@pytest.mark.parametrize("undone_first", ["livecheck", "opentelemetry"])
def test_both_instrumentations_send_their_headers(
    first: str, undone_first: str, instrument: Callable[[str, Gate], Callable[[], None]], server: Server
) -> None:
    send, tracing = HTTPAdapter.send, RequestsInstrumentor()
    undo: dict[str, Callable[[], object]] = {}
    for name in sorted(["livecheck", "opentelemetry"], key=lambda name: name != first):
        if name == "livecheck":
            undo[name] = instrument("requests", make_gate(KEY, hosts=["127.0.0.1"]))
        else:
            tracing.instrument(tracer_provider=TracerProvider())
            undo[name] = tracing.uninstrument
    with requests.Session() as session:
        session.trust_env = False
        with under_test(TEST):
            session.get(server.url())
        session.get(server.url())
        undo.pop(undone_first)()
        with under_test(TEST):
            session.get(server.url())
    [remaining] = undo
    undo[remaining]()
    traced = ["traceparent" in {name.lower() for name, _ in each.headers} for each in server.received]
    assert server.tests() == ["order-1", None, "order-1" if remaining == "livecheck" else None]
    assert traced == [True, True, remaining == "opentelemetry"]
    assert HTTPAdapter.send is send


@pytest.fixture
def carries(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client that OpenTelemetry instruments, and whose baggage carries tests to 127.0.0.1; with a sampler."""
    name, sampler = request.param
    client = CLIENTS[name]
    with recording():
        tracing = INSTRUMENTORS[client.library]()
        undo = otel.instrument(make_gate(KEY, hosts=["127.0.0.1"]))
        tracing.instrument(tracer_provider=TracerProvider(sampler, shutdown_on_exit=False))
        yield client
        tracing.uninstrument()
        undo()


every_traced_client = pytest.mark.parametrize(
    "carries", [(name, ALWAYS_ON) for name in ("requests", "httpx", "httpx-async")], ids=lambda it: it[0], indirect=True
)


@every_traced_client
def test_baggage_goes_to_listed_hosts_only(carries: Client, server: Server) -> None:
    with under_test(TEST):
        carries.send(server.url(), server.url("localhost"), server.url())
    carried = [make_gate(KEY).accept(received.headers).test for received in server.received]
    assert carried == [TEST, None, TEST]
    assert "livecheck" not in str(server.received[1].headers)
    assert all("Traceparent" in dict(received.headers) for received in server.received)


@pytest.mark.parametrize(
    "carries", [(name, ALWAYS_ON) for name in ("requests", "httpx", "httpx-async")], ids=lambda it: it[0], indirect=True
)
def test_redirect_to_an_unlisted_host_carries_no_baggage_of_livecheck(carries: Client, server: Server) -> None:
    hops = [server.url(), server.url("localhost"), server.url()]
    with under_test(TEST):
        carries.send("?to=".join(hops))
    carried = [make_gate(KEY).accept(received.headers).test for received in server.received]
    assert carried == [TEST, None, TEST]
    assert "Baggage" not in dict(server.received[1].headers)


@pytest.mark.parametrize(
    "carries",
    [(name, ALWAYS_OFF) for name in ("requests", "httpx", "httpx-async")],
    ids=lambda it: it[0],
    indirect=True,
)
def test_request_whose_span_is_not_sampled_carries_no_baggage(carries: Client, server: Server) -> None:
    with under_test(TEST):
        carries.send(server.url(), server.url("localhost"))
    assert "livecheck" not in str([received.headers for received in server.received])
