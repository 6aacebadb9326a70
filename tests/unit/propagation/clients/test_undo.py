"""Instrumenting HTTP clients: undo restores the libraries, and what cannot be instrumented is rejected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from itertools import permutations
from typing import Any

import pytest

from livecheck_celery.context import under_test
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import CLIENTS, METHODS, Client, methods_of
from tests.helpers.http_server import KEY, Server

TEST = make_test("order-1")

Instrument = Callable[[str, Gate], Callable[[], None]]
every_library = pytest.mark.parametrize("library", METHODS)
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


def gate_to(*hosts: str) -> Gate:
    return make_gate(KEY, hosts=hosts)


def test_all_registered_clients_are_covered() -> None:
    assert sorted([*METHODS, "otel"]) == sorted(clients.CLIENTS)


@pytest.mark.promise("`uninstrument()`, in any order, restores the libraries.", theme="propagation")
@every_library
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_undo_in_any_order_restores_the_methods(library: str, order: list[int]) -> None:
    before = methods_of(library)
    undos = [clients.instrument(library, gate_to("127.0.0.1")) for _ in range(3)]
    for number in order:
        assert methods_of(library) != before
        undos[number]()
        undos[number]()  # once more does no harm
    assert methods_of(library) == before


@every_client
@pytest.mark.parametrize("undone", [0, 1])
def test_undo_of_one_instrumentation_keeps_the_other(
    client: Client, instrument: Instrument, server: Server, undone: int
) -> None:
    hosts = ["127.0.0.1", "localhost"]
    undos = [instrument(client.library, gate_to(host)) for host in hosts]
    with under_test(TEST):
        client.send(*map(server.url, hosts))
        undos.pop(undone)()
        client.send(*map(server.url, hosts))
        undos.pop()()
        client.send(*map(server.url, hosts))
    between = [None, "order-1"] if undone == 0 else ["order-1", None]
    assert server.tests() == ["order-1", "order-1", *between, None, None]


@pytest.mark.promise(
    "A request carries the headers once, however often its library is instrumented.",
    theme="propagation",
)
@every_client
def test_headers_are_sent_once_if_instrumented_twice(client: Client, instrument: Instrument, server: Server) -> None:
    for _ in range(2):
        instrument(client.library, gate_to("127.0.0.1"))
    with under_test(TEST):
        client.send(server.url())
    assert server.tests() == ["order-1"]


@pytest.mark.parametrize("libraries", [["requests", "urllib3"], ["urllib3", "requests"]])
def test_headers_are_sent_once_if_requests_and_urllib3_are_instrumented(
    libraries: list[str], instrument: Instrument, server: Server
) -> None:
    for library in libraries:
        instrument(library, gate_to("127.0.0.1"))
    with under_test(TEST):
        CLIENTS["requests"].send(server.url(path=f"?to={server.url('localhost')}"))
    assert server.tests() == ["order-1", None]


@every_client
def test_later_replacement_by_another_library_survives_undo(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    before = methods_of(client.library)
    undo = clients.instrument(client.library, gate_to("127.0.0.1"))
    with monkeypatch.context() as patching:
        for owner, name in METHODS[client.library]:
            patching.setattr(owner, name, recording(calls, vars(owner)[name]))
        theirs = methods_of(client.library)
        undo()
        assert methods_of(client.library) == theirs
        with under_test(TEST):
            client.send(server.url())
    assert calls == ["called"]
    assert server.tests() == [None]
    clients.instrument(client.library, gate_to("127.0.0.1"))()
    assert methods_of(client.library) == before


def recording(calls: list[str], inner: Any) -> Any:
    """A replacement of a method by another library."""

    @wraps(inner)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        calls.append("called")
        return inner(*args, **kwargs)

    return replacement


class Wrapped:
    """A method as wrapt replaces it, for OpenTelemetry and others: not a function, but bound like one."""

    def __init__(self, inner: Any, instance: Any = None, *, is_bound: bool = False) -> None:
        self.inner, self.instance, self.is_bound = inner, instance, is_bound

    def __get__(self, instance: Any, owner: Any) -> Wrapped:
        return Wrapped(self.inner, instance, is_bound=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert self.is_bound
        return self.inner(*args, **kwargs) if self.instance is None else self.inner(self.instance, *args, **kwargs)


@every_client
def test_earlier_descriptor_of_another_library_is_called_bound(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patching:
        for owner, name in METHODS[client.library]:
            patching.setattr(owner, name, Wrapped(vars(owner)[name]))
        theirs = methods_of(client.library)
        undo = clients.instrument(client.library, gate_to("127.0.0.1"))
        with under_test(TEST):
            client.send(server.url())
        undo()
        assert methods_of(client.library) == theirs
    assert server.tests() == ["order-1"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("GET", "/"), {}),
        (("GET", "/"), {"headers": {"X": "1"}}),
        (("GET", "/", None, {"X": "1"}, False), {}),
        (("GET", "/", None, None), {"redirect": False}),
        ((), {"method": "GET", "url": "/", "headers": None, "assert_same_host": True}),
    ],
)
def test_urllib3_arguments_stay_positional_or_keyword(
    args: tuple[Any, ...], kwargs: dict[str, Any], instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    [[owner, name]] = METHODS["urllib3"]
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with monkeypatch.context() as patching:
        patching.setattr(owner, name, lambda pool, *args, **kwargs: seen.append((args, kwargs)))
        undo = instrument("urllib3", gate_to("shop.example"))
        with under_test(TEST), owner("shop.example") as pool:
            pool.urlopen(*args, **kwargs)
        undo()
    [[seen_args, seen_kwargs]] = seen
    assert len(seen_args) == len(args)
    assert seen_kwargs.keys() == kwargs.keys() | ({"headers"} if len(args) < 4 else set())
    headers = seen_args[3] if len(args) > 3 else seen_kwargs["headers"]
    given = args[3] if len(args) > 3 else kwargs.get("headers")
    assert headers.items() >= {"LiveCheck-Test-Id": "order-1", **(given or {})}.items()


def test_unknown_client_is_rejected_with_the_choices() -> None:
    with pytest.raises(
        ConfigurationError, match="unknown client 'curl'; choose from aiohttp, httpx, otel, requests, urllib3"
    ):
        clients.instrument("curl", gate_to())


@every_library
def test_missing_library_names_the_pip_command(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"livecheck_celery.propagation.clients.{library}", raising=False)
    with pytest.raises(ConfigurationError, match=f"{library} is not installed; run: pip install {library}"):
        clients.instrument(library, gate_to())


def test_import_error_of_an_installed_library_propagates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livecheck_celery.propagation.clients.instrumentation", None)
    monkeypatch.delitem(sys.modules, "livecheck_celery.propagation.clients.httpx", raising=False)
    with pytest.raises(ModuleNotFoundError):
        clients.instrument("httpx", gate_to())


@every_library
def test_unsupported_version_is_rejected(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = METHODS[library][0]
    monkeypatch.delattr(owner, name)
    with pytest.raises(ConfigurationError, match=f"has no {name}.*; this version is not supported"):
        clients.instrument(library, gate_to())
