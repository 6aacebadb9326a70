"""The examples in docs/following.md run and carry the test."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import celery
import pytest

import livecheck_celery
from livecheck_celery import LiveCheck, is_synthetic
from livecheck_celery.context import fake_request, under_test
from livecheck_celery.propagation.allowed_sources import AllowedSources
from livecheck_celery.propagation.sources import Source
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import CLIENTS, METHODS, methods_of
from tests.helpers.http_server import KEY, Server

PAGE = (Path(__file__).parents[3] / "docs" / "following.md").read_text()
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!## )[^\n]*\n)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))

TEST = make_test("order-1")
SYNTHETIC = make_test("order-2", synthetic=True)


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The namespace of the example under the heading that the test is parametrized with."""
    app = celery.Celery("shop", broker="memory://", set_as_current=False)
    monkeypatch.setattr(livecheck_celery, "LiveCheck", lambda **options: LiveCheck(app, **options))
    monkeypatch.setattr(celery, "Celery", partial(celery.Celery, broker="memory://", set_as_current=False))
    monkeypatch.setenv("LIVECHECK_SECRET_KEY", KEY)
    monkeypatch.setenv("LIVECHECK_REDIS_URL", "redis://nowhere")
    before = {library: methods_of(library) for library in METHODS}
    namespace: dict[str, Any] = {}
    exec(EXAMPLES[request.param], namespace)
    yield namespace
    if "livecheck" in namespace:
        namespace["livecheck"].close()
    assert {library: methods_of(library) for library in METHODS} == before


@pytest.mark.promise("The examples of the page on following a request run.", theme="docs")
@pytest.mark.parametrize("example", ["Call services over HTTP"], indirect=True)
@pytest.mark.parametrize(
    ("client", "carried_to"),
    [
        ("requests", ["orders", "stock.example"]),
        ("httpx", ["payment.example"]),
        ("httpx-async", ["payment.example"]),
        ("aiohttp", []),
    ],
)
def test_instrumented_clients_carry_the_test_to_listed_hosts(
    example: dict[str, Any], client: str, carried_to: list[str], server: Server
) -> None:
    hosts = ["orders", "stock.example", "payment.example", "www.stock.example", "stock.example."]
    with under_test(TEST):
        CLIENTS[client].send(*[f"http://{host}/" for host in hosts], proxy=server.url())
    assert server.tests() == [TEST.id if host in carried_to else None for host in hosts]


@pytest.mark.parametrize("example", ["Run Celery tasks"], indirect=True)
def test_celery_messages_carry_the_unsigned_test(example: dict[str, Any]) -> None:
    app = example["app"]
    with under_test(TEST):
        app.send_task("billing.pay")
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["LiveCheck-Test-Id"] == TEST.id
    assert "LiveCheck-Test-Signature" not in message.headers


@pytest.mark.parametrize("example", ["Use another transport"], indirect=True)
def test_another_transport_carries_the_test(example: dict[str, Any]) -> None:
    topic: list[Any] = []
    with under_test(TEST):
        example["publish"](topic, "an order")
    example["publish"](topic, "another")
    assert [example["consume"](topic) for _ in range(2)] == [("an order", TEST), ("another", None)]


@pytest.mark.parametrize("example", ["Carry a test into threads, processes and callbacks"], indirect=True)
def test_bound_functions_are_part_of_the_test(example: dict[str, Any]) -> None:
    with example["pool"]:
        with under_test(TEST):
            tested = example["submit"]("an order")
        assert tested.result() == ("an order", TEST)
        assert example["submit"]("another").result() == ("another", None)
        example["store"] = lambda order: is_synthetic()
        with fake_request("shop.test_order"):
            assert example["submit"]("an order").result() is True
        assert example["submit"]("an order").result() is False


@pytest.mark.parametrize("example", ["Start work that outlives the request"], indirect=True)
def test_detached_worker_is_part_of_no_test(example: dict[str, Any]) -> None:
    async def run() -> dict[str, Any]:
        order: dict[str, Any] = {"id": 1}
        with under_test(TEST):
            await example["accept"](order)
            await example["accept"](None)
        await example["workers"][0]
        return order

    assert asyncio.run(run()) == {"id": 1, "test": None}


@pytest.mark.parametrize("example", ["Nest the blocks of several cases"], indirect=True)
def test_signals_of_nested_blocks_go_to_their_own_tests(
    example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, items = example["livecheck"].runtime.outbox, list[Any]()
    monkeypatch.setattr(outbox, "put", lambda item: items.append(item) or True)
    monkeypatch.setattr(outbox, "start", lambda: None)
    example["place"]("o-1")
    signals = {item.signal_name: (item.case_name, item.key) for item in items[2:]}
    names = [example["test_order"].name, example["test_stock"].name]
    assert signals == {"order_stored": (names[0], "o-1"), "stock_reserved": (names[1], "o-1")}


@pytest.mark.parametrize("example", ["Recognize synthetic traffic"], indirect=True)
def test_synthetic_tests_are_recognized(example: dict[str, Any]) -> None:
    assert example["charge"]("an order") == "charged"
    with under_test(TEST):
        assert example["charge"]("an order") == "charged"
    with under_test(SYNTHETIC):
        assert example["charge"]("an order") == "not charged"
    with fake_request("shop.test_order"):
        assert example["charge"]("an order") == "not charged"


@pytest.mark.parametrize("example", ["Limit automatic signals"], indirect=True)
def test_service_allows_a_model_and_no_other(example: dict[str, Any]) -> None:
    allows, saved = AllowedSources(example["livecheck_allow_sources"], {}), "django.db.models.signals.post_save"
    assert allows(Source("django", f"{saved} shop.Order id,status"))
    assert not allows(Source("django", f"{saved} auth.User"))


@pytest.mark.parametrize("example", ["Trust"], indirect=True)
def test_service_accepts_headers_for_each_of_its_names(example: dict[str, Any]) -> None:
    sender, receiver = make_gate(KEY, hosts=["orders", "stock"]), make_gate(KEY, audience=example["livecheck_audience"])
    with under_test(TEST):
        accepted = [receiver.accept(sender.headers_for(host).items()).test for host in ("orders", "stock")]
    assert accepted == [TEST, None]


def test_every_example_on_the_page_is_tested() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 9


def test_every_client_is_documented() -> None:
    [table] = re.findall(r"^\| name \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == METHODS.keys()
