"""The mark of a fake request fails safe, and is worth little to whoever captures it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck, TestExecution, blocks, current_test, is_synthetic
from livecheck_celery.blocks import Work
from livecheck_celery.config import MAX_HOP_AGE
from livecheck_celery.context import fake_request, under_test
from livecheck_celery.models import HEADER_AUDIENCE, HEADER_SIGNATURE, HEADER_SYNTHETIC, OLD_MARK
from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation import replays
from livecheck_celery.propagation.gate import Gate, Policy
from livecheck_celery.propagation.headers import NOTHING, mark_for_earlier_versions, outgoing, parse
from livecheck_celery.propagation.messages import extract
from livecheck_celery.propagation.replays import MAX_REQUESTS
from tests.helpers.factories import make_gate, make_settings, make_test
from tests.helpers.http_server import KEY
from tests.helpers.marks import make_mark
from tests.helpers.signing import headers_of, sign
from tests.helpers.web import environ_of


def charge() -> str:
    """Charge an order, as docs/following.md does."""
    return "not charged" if is_synthetic() else "charged"


def ago(**age: float) -> datetime:
    return datetime.now(UTC) - timedelta(**age)


def make_shop(**options: Any) -> Any:
    """Make a case whose servers do not answer."""
    options = {"redis_url": "redis://127.0.0.1:1/0", "secret_key": KEY, **options}
    livecheck = LiveCheck(Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False), **options)
    return livecheck.add_case(type("test_order", (Case,), {}), name="shop.test_order", probability=1.0)


def serve(case: Any, headers: dict[str, str]) -> list[str]:
    """Return what the view of a service of ``case`` charges for a request."""
    charged = []

    def view(environ: Any, start_response: Any) -> list[bytes]:
        with case.maybe_trigger("o-1"):
            charged.append(charge())
        start_response("200 OK", [])
        return []

    list(case.app.wsgi(view)(environ_of(headers), lambda *_: lambda _: None))
    return charged


def marked_headers() -> dict[str, str]:
    with fake_request("shop.test_order"):
        return sign(outgoing(), (KEY,))


# -- the mark does not depend on LiveCheck's own state


FAILURES: dict[str, Callable[[Any, pytest.MonkeyPatch], object]] = {
    "disabled": lambda case, _: None,
    "outbox is full": lambda case, patch: patch.setattr(case.app.runtime.outbox, "put", lambda _: False),
    "trigger raises": lambda case, patch: patch.setattr(case.app.runtime.outbox, "put", lambda _: 1 / 0),
    "case is inactive": lambda case, patch: setattr(case, "active", False),
    "nothing is sampled": lambda case, patch: setattr(case, "probability", 0.0),
}


@pytest.mark.promise("`is_synthetic()` does not depend on LiveCheck's own state.", theme="requests")
@pytest.mark.parametrize("failure", FAILURES)
def test_fake_order_is_not_charged_whatever_state_livecheck_is_in(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_shop(enabled=failure != "disabled")
    FAILURES[failure](case, monkeypatch)
    with fake_request("shop.test_order"), case.maybe_trigger("o-1"):
        assert charge() == "not charged"
        assert HEADER_SYNTHETIC in case.app.gate.headers_for("localhost")
    assert serve(case, marked_headers()) == ["not charged"]
    assert serve(case, {}) == ["charged"]


@pytest.mark.parametrize("test_id", ["x" * 10_000, "\ud800", "", None])
def test_fake_order_with_an_id_that_is_refused_is_not_charged(test_id: Any) -> None:
    case = make_shop()
    with fake_request("shop.test_order"), case.maybe_trigger(test_id):
        assert charge() == "not charged"
        assert parse(outgoing()).mark is not None


def test_service_that_gets_the_mark_without_a_test_charges_nothing() -> None:
    headers = marked_headers()
    carried = make_gate(KEY).accept(headers.items())
    assert (carried.tests, carried.mark is not None) == ((), True)
    with extract(make_gate(KEY), headers) as test:
        assert (test, charge()) == (None, "not charged")
    assert charge() == "charged"


@pytest.mark.parametrize("test", [make_test(expires=ago(seconds=1)), make_test(timestamp=ago(hours=4))])
def test_mark_crosses_with_a_test_that_does_not(test: TestExecution) -> None:
    with fake_request("shop.test_order"):
        headers = sign({**outgoing(), **test.as_headers()}, (KEY,))
    assert serve(make_shop(enabled=False), headers) == ["not charged"]


def test_web_process_without_redis_or_settings_knows_the_mark() -> None:
    with fake_request("shop.test_order"):
        message = outgoing()
    with Work(*parse(message)):
        assert charge() == "not charged"


# -- over Celery


def task_of(name: str) -> Any:
    @Celery("shop", set_as_current=False).task(name=name, shared=False)
    def task() -> None: ...

    return task


@pytest.fixture
def enter() -> Iterator[Callable[..., None]]:
    """Begin a task with these headers of its message, as a worker does; it ends with the test."""
    entered: list[Any] = []

    def enter(headers: dict[str, Any], name: str = "shop.pay", **options: Any) -> None:
        task = task_of(name)
        task.push_request(id="1", headers=headers, **{"is_eager": False, **options})
        celery_propagation._before_task(task=task)
        entered.append(task)

    yield enter
    while entered:
        celery_propagation._leave_task(task=entered.pop())


@pytest.mark.promise("A message that waits in a queue stays synthetic, however long.", theme="propagation")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        make_test(expires=ago(days=1)).as_headers(),
        {"LiveCheck-Test-Id": "a"},
        {**make_test().as_headers(), "LiveCheck-Test-Layout": "99"},
    ],
    ids=["no test", "expired test", "malformed test", "test of a newer version"],
)
@pytest.mark.parametrize("is_traced", [False, True])
def test_task_of_a_message_that_waited_for_a_year_charges_nothing(
    enter: Callable[..., None], headers: dict[str, Any], is_traced: bool
) -> None:
    mark = make_mark(since=ago(days=365))
    with Work((), mark):
        headers = {**headers, **outgoing()}
    # Beside the headers of a tracing tool, Celery has those of LiveCheck only as attributes of the request.
    if is_traced:
        enter({"sentry-trace": "1"}, **headers)
    else:
        enter(headers)
    assert (charge(), current_test()) == ("not charged", None)
    sent: dict[str, Any] = {}
    celery_propagation._add_headers("shop.ship", sent)
    of_mark = {**mark_for_earlier_versions(mark), HEADER_SYNTHETIC: headers[HEADER_SYNTHETIC]}
    assert sent == of_mark, "and its children"


@pytest.mark.parametrize("is_eager", [False, True])
def test_mark_crosses_the_tasks_of_livecheck_without_the_test(enter: Callable[..., None], is_eager: bool) -> None:
    """As of a chain in a fake request that triggers a test between two tasks of the host."""
    sent: dict[str, Any] = {}
    with fake_request("shop.test_order") as block, under_test(make_test()):
        celery_propagation._add_headers("livecheck.execute", sent)
        assert sent.keys() == {HEADER_SYNTHETIC}
        enter({} if is_eager else sent, "livecheck.execute", is_eager=is_eager)
        assert (current_test(), is_synthetic()) == (None, True)
        assert blocks.mark_in_force() == block.mark


def test_task_of_livecheck_outside_a_fake_request_has_no_mark(enter: Callable[..., None]) -> None:
    sent: dict[str, Any] = {}
    with under_test(make_test()):
        celery_propagation._add_headers("livecheck.execute", sent)
    enter(sent, "livecheck.execute")
    assert not is_synthetic()


# -- over HTTP: never renewed, never older than max_hop_age


@pytest.mark.promise("No hop renews the mark of a fake request, or the expiry of a test.", theme="propagation")
def test_mark_expires_at_the_same_time_after_each_hop_and_each_test() -> None:
    headers = marked_headers()
    marks = []
    for number in range(4):
        gate = make_gate(KEY, hosts=["shop"])
        carried = gate.accept(headers.items())
        marks.append(carried.mark)
        with Work(*carried), under_test(make_test(str(number))):
            headers = dict(gate.headers_for("shop"))
    assert len(set(marks)) == 1


def test_test_triggered_shortly_before_the_mark_expires_does_not_lengthen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_shop()
    mark = make_mark(since=ago(seconds=3599))
    accepted: list[TestExecution] = []
    monkeypatch.setattr(case.app.runtime.outbox, "put", lambda item: accepted.append(item.test) or True)
    with Work((), mark), case.maybe_trigger("o-1"):
        headers = case.app.gate.headers_for("localhost")
    [test] = accepted
    assert test.mark == mark
    assert test.expires > mark.expires
    carried = make_gate(KEY, max_age=3600 + 1).accept(headers.items())
    assert carried.mark == mark
    monkeypatch.setattr(blocks.clock, "now", lambda: mark.expires)
    assert make_gate(KEY).accept(headers.items()).mark is None


def test_hop_with_a_mark_over_max_hop_age_is_ignored_and_the_sender_counts_it() -> None:
    hops: list[tuple[str, str]] = []
    ignored: list[str] = []
    sender = make_gate(KEY, hosts=["shop"], hops=hops)
    with Work((), make_mark(since=ago(hours=4))):
        assert sender.headers_for("evil.example") == {}
        assert hops == []
        headers = sender.headers_for("shop")
    assert hops == [(OLD_MARK, "shop")]
    assert make_gate(KEY, ignored=ignored).accept(headers.items()) == NOTHING
    assert ignored == ["expired"]


def test_receiver_does_not_believe_an_expiry_of_the_sender() -> None:
    forever = datetime.max.replace(tzinfo=UTC)
    test, mark = make_test(timestamp=ago(seconds=61), expires=forever), replace(make_mark(), expires=forever)
    ignored: list[str] = []
    assert make_gate(KEY, max_age=60, ignored=ignored).accept(sign(headers_of(test), (KEY,)).items()) == NOTHING
    assert ignored == ["expired"]
    with Work((), mark):
        headers = sign(outgoing(), (KEY,))
    assert make_gate(KEY, max_age=60).accept(headers.items()).mark == replace(
        mark, expires=mark.since + timedelta(seconds=60)
    )


def test_test_that_a_service_received_ends_at_max_hop_age(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = sign(headers_of(make_test(expires=datetime.max.replace(tzinfo=UTC))), (KEY,))
    with extract(make_gate(KEY, max_age=60), headers) as test:
        assert current_test() == test is not None
        monkeypatch.setattr(blocks.clock, "now", lambda: datetime.now(UTC) + timedelta(seconds=61))
        assert current_test() is None
        assert outgoing() == {}


@pytest.mark.parametrize("with_mark", [False, True])
def test_test_or_mark_of_the_future_is_ignored(with_mark: bool) -> None:
    later = ago(hours=-1)
    test = make_test(mark=make_mark(since=later)) if with_mark else make_test(timestamp=later)
    ignored: list[str] = []
    assert make_gate(KEY, ignored=ignored).accept(sign(headers_of(test), (KEY,)).items()) == NOTHING
    assert ignored == ["future"]


# -- replays


@pytest.mark.promise("Captured headers are accepted 100 times by a process, no more.", theme="propagation")
@pytest.mark.parametrize("headers", [marked_headers(), sign(make_test("replayed").as_headers(), (KEY,))])
def test_captured_header_is_accepted_a_hundred_times(headers: dict[str, str]) -> None:
    ignored: list[str] = []
    gate = make_gate(KEY, ignored=ignored)
    accepted = [gate.accept(headers.items()) is not NOTHING for _ in range(MAX_REQUESTS + 2)]
    assert accepted == [True] * MAX_REQUESTS + [False] * 2
    assert ignored == ["replayed"] * 2
    other = sign(make_test("other").as_headers(), (KEY,))
    assert gate.accept(other.items()) is not NOTHING


@pytest.mark.promise("Every request of a fake request is recognized, however many it makes.", theme="propagation")
@pytest.mark.parametrize("test", [None, make_test("many", synthetic=True)])
def test_fake_request_can_make_any_number_of_requests(test: TestExecution | None) -> None:
    gate = make_gate(KEY, hosts=["orders"])
    with Work((), make_mark()) if test is None else under_test(test):
        sent = [dict(gate.headers_for("orders")) for _ in range(5 * MAX_REQUESTS)]
    assert all(gate.accept(headers.items()).mark for headers in sent)


def test_other_spellings_of_a_captured_signature_are_counted_together() -> None:
    gate = make_gate(KEY)
    headers = marked_headers()
    key_id, signature, nonce = headers[HEADER_SIGNATURE].split(".")
    spellings = [
        *(f"{key_id}.{signature}{junk}.{nonce}" for junk in ("=", "==", "!", ".")),
        *(
            f"{key_id}.{signature[:-1]}{last}.{nonce}"
            for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        ),
    ]
    accepted = [gate.accept((headers | {HEADER_SIGNATURE: each}).items()) for each in spellings * 50]
    assert sum(each is not NOTHING for each in accepted) == MAX_REQUESTS


def test_memory_for_replays_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "_MAX_SIGNATURES", 10)
    gate = make_gate(KEY)
    for number in range(30):
        gate.accept(sign(make_test(str(number)).as_headers(), (KEY,)).items())
    assert len(gate._replays._counts) == 10


# -- audience


def headers_to(host: str) -> dict[str, str]:
    with under_test(make_test()):
        gate = make_gate(KEY, hosts=["orders", "stock", "*.shop.example", "10.0.0.0/8", "127.0.0.1"])
        return dict(gate.headers_for(host))


@pytest.mark.promise("Headers signed for one service are refused by another.", theme="propagation")
def test_header_for_one_service_is_refused_by_another() -> None:
    ignored: list[str] = []
    for_orders = headers_to("ORDERS")
    assert make_gate(KEY, audience=["stock"], ignored=ignored).accept(for_orders.items()) == NOTHING
    assert ignored == ["audience"]
    for names in (["orders"], ["Orders", "orders.internal"], []):
        assert make_gate(KEY, audience=names).accept(for_orders.items()) != NOTHING


def test_audience_is_signed() -> None:
    ignored: list[str] = []
    gate = make_gate(KEY, audience=["stock"], ignored=ignored)
    for_orders = headers_to("orders")
    assert gate.accept((for_orders | {HEADER_AUDIENCE: "stock"}).items()) == NOTHING
    assert gate.accept([pair for pair in for_orders.items() if pair[0] != HEADER_AUDIENCE]) == NOTHING
    assert ignored == ["forged", "forged"]


@pytest.mark.parametrize("host", ["a.shop.example", "10.0.0.1", "127.0.0.1"])
def test_headers_for_a_wildcard_a_network_or_an_address_are_bound_to_none(host: str) -> None:
    headers = headers_to(host)
    assert headers
    assert HEADER_AUDIENCE not in headers
    ignored: list[str] = []
    assert make_gate(KEY, audience=["orders"], ignored=ignored).accept(headers.items()) == NOTHING
    assert ignored == ["audience"]


@pytest.mark.parametrize(
    ("options", "audience"),
    [
        ({"service": "orders", "http_hosts": ["orders", "stock"]}, "orders"),
        ({"service": "orders", "http_hosts": ["orders", "stock"], "audience": "orders.internal"}, "orders.internal"),
        ({"service": "orders", "http_hosts": ["*.example.com", "stock"]}, None),
        ({"service": "localhost"}, None),
        ({"service": "shop worker", "http_hosts": ["orders"]}, None),
        ({"http_hosts": ["orders"]}, None),
    ],
)
def test_default_of_the_audience_is_the_service_if_it_is_a_listed_name(
    options: dict[str, Any], audience: str | None
) -> None:
    policy = Policy.of(make_settings("redis://nowhere", **options))
    assert bool(policy.audience) is (audience is not None)
    assert audience is None or audience in policy.audience


def test_messages_of_other_transports_have_no_audience() -> None:
    headers = sign(make_test().as_headers(), (KEY,))
    with extract(make_gate(KEY, audience=["orders"]), headers) as test:
        assert test is not None


# -- keys


def test_signature_of_an_unknown_key_is_counted_as_such() -> None:
    ignored: list[str] = []
    gate = make_gate(KEY, "old" * 20, ignored=ignored)
    for signature in ("new" * 20, "old" * 20):
        gate.accept(sign(make_test().as_headers(), (signature,)).items())
    assert ignored == ["unknown key"]


def test_signature_of_an_earlier_version_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    ignored: list[str] = []
    gate = make_gate(KEY, ignored=ignored)
    headers = {**make_test().as_headers(), "LiveCheck-Test-Signature": "6PbVpuHuJXvD3SByArxz98qs3YKaJ8UAnG1XNzkixwc"}
    for _ in range(2):
        assert gate.accept(headers.items()) == NOTHING
    assert ignored == ["earlier version"] * 2
    [line] = caplog.messages
    assert line.startswith("http: ignored the headers of a request: their signature is that of an earlier version")


@pytest.mark.promise("A secret key that can be guessed carries nothing.", theme="propagation")
def test_web_process_with_a_short_key_carries_nothing_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    case = make_shop(secret_key="7,a")
    gate: Gate = case.app.gate
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert gate.accept(sign(make_test().as_headers(), ("7",)).items()) == NOTHING
            with under_test(make_test()):
                assert gate.headers_for("localhost") == {}
    problem = "LiveCheck: secret_key: each key must have at least 32 bytes; to make one, run: livecheck secret"
    assert [problem in line for line in caplog.messages] == [True]


def test_default_age_is_that_of_a_test() -> None:
    assert timedelta(seconds=MAX_HOP_AGE) == Case.test_expires
