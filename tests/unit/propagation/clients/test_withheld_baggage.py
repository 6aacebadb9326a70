"""Clients that copy the baggage of a request to all hops of a redirect, as OpenTelemetry added it to the first one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from livecheck_celery.propagation import baggage
from tests.helpers.factories import make_gate
from tests.helpers.http_clients import CLIENTS, Call, Client, methods_of
from tests.helpers.http_server import KEY, Server

OURS = f"{baggage.ENTRY}=abc, {baggage.OUTER_ENTRY}=def"


@pytest.fixture(params=["requests", "aiohttp"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client whose requests carry LiveCheck's baggage to 127.0.0.1 only."""
    before = methods_of(request.param)
    module = import_module(f"livecheck_celery.propagation.clients.{request.param}")
    undo = module.withhold_baggage(make_gate(KEY, hosts=["127.0.0.1"]))
    yield CLIENTS[request.param]
    undo()
    assert methods_of(request.param) == before


@pytest.mark.parametrize(("header", "rest"), [(f"a=1,{OURS},b=2", "a=1,b=2"), (OURS, None), ("a=1", "a=1")])
def test_hop_to_an_unlisted_host_has_the_baggage_of_others_only(
    client: Client, server: Server, header: str, rest: str | None
) -> None:
    hops = [server.url(), server.url("localhost"), server.url()]
    client.send(Call("?to=".join(hops), headers={"Baggage": header}))
    carried = [{name.lower(): value for name, value in received.headers} for received in server.received]
    assert [headers.get("baggage") for headers in carried] == [header, rest, header]
