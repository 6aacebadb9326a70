"""All kinds of triggers, from a process of a host to its workers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, group

from livecheck_celery import State, current_test
from livecheck_celery.context import fake_request
from tests.helpers.livecheck_client import report_of
from tests.helpers.programs import APPS, Programs
from tests.helpers.waiting import at_once


@pytest.fixture(scope="module")
def workers(shared_programs: Programs) -> None:
    shared_programs.start_worker("celery -A shop worker -P threads -c 4")
    shared_programs.start_worker("celery -A shop worker -Q livecheck,livecheck.schedule,urgent -P threads -c 20")


@pytest.fixture(scope="module")
def shop(workers: None, shared_programs: Programs) -> Iterator[Any]:
    """The host's app, imported as in one of its web processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_URL", shared_programs.url)
        patch.syspath_prepend(APPS)
        import shop

        yield shop
        shop.livecheck.close()
        shop.app.close()
        del sys.modules["shop"]


@pytest.fixture
def name() -> str:
    return uuid4().hex


def test_trigger_returns_the_execution(shop: Any, name: str) -> None:
    test = shop.test_side.trigger(name, "sell")
    assert (test.id, test.case_name, test.test_args) == (name, "shop.test_side", ["sell"])
    assert report_of(shop.test_side, name).state is State.PASS


@pytest.mark.promise("`case.trigger.delay()` returns an `AsyncResult` with the verdict.", theme="cases")
def test_delay_returns_the_verdict(shop: Any, name: str) -> None:
    assert shop.test_side.trigger.delay(name, side="sell").get(timeout=20) == "PASS"
    assert shop.test_side.trigger.delay(None, "buy").get(timeout=20) == "FAIL"


@pytest.mark.promise("Triggers take the options of `apply_async()`.", theme="cases")
def test_countdown_delays_the_test(shop: Any, name: str) -> None:
    result = shop.test_side.trigger.apply_async((name, "sell"), countdown=1.0)
    assert result.get(timeout=20) == "PASS"
    report = report_of(shop.test_side, name)
    assert 0.9 < report.at - report.test.timestamp.timestamp() < 5.0


def test_eta_delays_the_test(shop: Any, name: str) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=1)
    assert shop.test_side.trigger.apply_async((name, "sell"), eta=eta).get(timeout=20) == "PASS"
    assert -0.1 < report_of(shop.test_side, name).at - eta.timestamp() < 4.0


def test_eta_without_a_time_zone_is_in_that_of_the_app(shop: Any, name: str) -> None:
    eta = datetime.now(UTC).replace(tzinfo=None)
    assert shop.test_side.trigger.apply_async((name, "sell"), eta=eta, expires=eta).get(timeout=20) == "SKIP"


@pytest.mark.parametrize("how", ["call", "delay", "apply_async", "signature", "immutable"])
def test_id_can_be_a_keyword(shop: Any, name: str, how: str) -> None:
    trigger, kwargs = shop.test_side.trigger, {"id": name, "side": "sell"}
    if how == "call":
        trigger(**kwargs)
    elif how == "delay":
        trigger.delay(**kwargs)
    elif how == "apply_async":
        trigger.apply_async(None, kwargs)
    else:
        (trigger.s if how == "signature" else trigger.si)(**kwargs).apply_async()
    assert report_of(shop.test_side, name).state is State.PASS


def test_queue_can_be_chosen(shop: Any, name: str) -> None:
    result = shop.test_side.trigger.apply_async((name, "sell"), {"queue": "urgent"}, queue="urgent")
    assert result.get(timeout=20) == "PASS"


def test_test_taken_after_its_expiry_is_skipped(shop: Any, name: str) -> None:
    result = shop.test_side.trigger.apply_async((name, "sell"), countdown=0.4, expires=0.2)
    assert result.get(timeout=20) == "SKIP"
    assert "before a worker took it" in report_of(shop.test_side, name).error


@pytest.mark.promise("Triggers are Celery signatures, for chains, groups and links.", theme="cases")
def test_id_can_come_from_a_chain(shop: Any, name: str) -> None:
    canvas = chain(shop.number.s(name), shop.test_side.trigger.s("sell"))
    assert canvas.apply_async().get(timeout=20) == "PASS"
    assert report_of(shop.test_side, name).test.test_args == ["sell"]


def test_immutable_signature_ignores_the_result_before(shop: Any, name: str) -> None:
    canvas = chain(shop.number.s("ignored"), shop.test_side.trigger.si(name, "sell"), shop.number.s())
    assert canvas.apply_async().get(timeout=20) == "PASS"
    assert report_of(shop.test_side, name).state is State.PASS


def test_triggers_can_be_grouped(shop: Any) -> None:
    trigger = shop.test_side.trigger
    canvas = group(trigger.s(None, "sell"), trigger.si(None, side="buy"), trigger.s(uuid4().hex, "sell"))
    assert canvas.apply_async().get(timeout=20) == ["PASS", "FAIL", "PASS"]


def test_chain_in_a_fake_request_is_synthetic_before_in_and_after_its_test(shop: Any, name: str) -> None:
    canvas = chain(shop.number.s(name), shop.test_side.trigger.s("sell"), shop.asks.si())
    with fake_request("shop.test_side"):
        result = canvas.apply_async()
    assert result.get(timeout=20) is True
    assert report_of(shop.test_side, name).test.synthetic
    assert shop.asks.delay().get(timeout=20) is False


def test_trigger_can_be_a_link(shop: Any, name: str) -> None:
    shop.number.apply_async((name,), link=shop.test_side.trigger.s("sell"))
    assert report_of(shop.test_side, name).state is State.PASS


def test_test_follows_a_request_through_tasks(shop: Any, name: str) -> None:
    with shop.test_order.maybe_trigger(name, "sell") as test:
        assert current_test() is test
        shop.test_order.placed.send("sell")
        shop.store.delay("sell")
    assert current_test() is None
    report = report_of(shop.test_order, name)
    assert (report.state, report.error) == (State.PASS, None)
    assert set(report.signal_latency) == {"placed", "stored", "shipped"}
    assert report.signal_since_trigger["shipped"] > report.signal_since_trigger["stored"] >= 0


async def send_request(shop: Any, name: str) -> None:
    async with shop.test_order.maybe_trigger(name, "buy"):
        shop.test_order.placed.send("buy")
        shop.store.delay("buy")


def test_request_can_be_a_coroutine(shop: Any, name: str) -> None:
    asyncio.run(send_request(shop, name))
    assert report_of(shop.test_order, name).state is State.PASS


def test_concurrent_requests_do_not_mix(shop: Any) -> None:
    names = [uuid4().hex for _ in range(15)]

    def request(number: int) -> None:
        side = f"side {number}"
        with shop.test_order.maybe_trigger(names[number], side):
            shop.test_order.placed.send(side)
            shop.store.delay(side)

    at_once(len(names), request)
    reports = [report_of(shop.test_order, name) for name in names]
    assert {(report.state, report.error) for report in reports} == {(State.PASS, None)}
