"""OpenTelemetry's own instrumentation of requests, beside LiveCheck's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from requests.adapters import HTTPAdapter

from livecheck_celery.context import under_test
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_server import KEY, Server

TEST = make_test("order-1")


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
