"""The system under test: an order system with LiveCheck cases.

All processes of a run are started from this module: LiveCheck workers, beats, web services, and the shop's own Celery
worker. Each has proxies of its own to the servers, whose URLs are in its environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import choice
from typing import Any, Final
from uuid import uuid4

import requests
from celery import Celery
from flask import Flask, request

from chaos.ledger import Ledger
from chaos.plan import SCHEDULED, Order
from livecheck_celery import Case, LiveCheck, LiveCheckTestSkipped, Signal, aio
from livecheck_celery.delivery.outbox import UNCONFIRMED
from livecheck_celery.errors import BrokerUnavailable, DuplicateTest, RedisUnavailable
from livecheck_celery.store import executions, signals

logger = logging.getLogger("chaos")

#: Seconds a test waits for a signal that is sent, and for one that is never sent.
SIGNAL_TIMEOUT: Final = float(os.environ["CHAOS_SIGNAL_TIMEOUT"])
MISSING_SIGNAL_TIMEOUT: Final = float(os.environ["CHAOS_MISSING_SIGNAL_TIMEOUT"])
#: Seconds until a test of kind "expire" expires.
EXPIRES: Final = 3.0
#: Seconds between two fake requests.
PERIOD: Final = 1.0
ORDERS: Final = "orders"

_WEB_URLS: Final = os.environ["CHAOS_WEB_URLS"].split(",")
_FLUSH: Final = 3.0

# A short run has no time for the default timing.
if "CHAOS_RESEND_AFTER" in os.environ:
    vars(executions)["RESEND_AFTER"] = float(os.environ["CHAOS_RESEND_AFTER"])
    for module in (executions, signals):
        vars(module)["FORGET_AFTER"] = int(os.environ["CHAOS_FORGET_AFTER"])

ledger = Ledger(os.environ["CHAOS_LEDGER_URL"])
app = Celery("chaos", broker=os.environ["CHAOS_BROKER_URL"], set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_routes={"chaos.ship": {"queue": ORDERS}},
)
if app.conf.broker_url.startswith("redis:"):
    # Soon redeliver what a killed worker had fetched.
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ["CHAOS_VISIBILITY_TIMEOUT"]),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
    }

livecheck = LiveCheck(
    app,
    redis_url=os.environ["CHAOS_STATE_URL"],
    broker_url=os.environ["CHAOS_BROKER_URL"],
    secret_key="of a run that protects nothing at all",  # noqa: S106 - protects nothing
    max_reports=100_000,
    max_report_bytes=1024 * 1024 * 1024,
)

_OPTIONS: Final[dict[str, Any]] = {
    "probability": 1.0,
    "max_rate": None,
    "test_expires": 3600.0,
    "max_history": 100_000,
    "max_consecutive_failures": 5,
    "state_transition_delay": 5.0,
}


@livecheck.case(name="plain", **_OPTIONS)
class Plain(Case):
    """Tests that an order is paid and shipped."""

    paid: Signal[str]
    shipped: Signal[str]

    def run(self, kind: str, value: str) -> None:
        """Wait for both signals in turn."""
        _expect(self.paid.wait(timeout=SIGNAL_TIMEOUT), value)
        _raise_if_planned(kind)
        _expect(self.shipped.wait(timeout=_shipped_timeout(kind)), value)


@livecheck.case(name="async", **_OPTIONS)
class Async(aio.Case):
    """As `Plain`, in the asyncio face."""

    paid: aio.Signal[str]
    shipped: aio.Signal[str]

    async def run(self, kind: str, value: str) -> None:
        """Wait for both signals in turn."""
        _expect(await self.paid.wait(timeout=SIGNAL_TIMEOUT), value)
        _raise_if_planned(kind)
        _expect(await self.shipped.wait(timeout=_shipped_timeout(kind)), value)


@livecheck.case(name=SCHEDULED, frequency=PERIOD, **_OPTIONS)
class Scheduled(Case):
    """Tests that beat makes one fake request a period."""

    def make_fake_request(self) -> None:
        """Trigger a test."""
        if ledger.fake_requests_stopped:
            return
        test_id = uuid4().hex
        ledger.making_fake_request(test_id)
        _trigger(self, test_id)

    def run(self) -> None:
        """Pass."""


CASES: Final[dict[str, Any]] = {"plain": Plain, "async": Async}


def _expect(got: str, value: str) -> None:
    assert got == value, f"{got}, not {value}"  # noqa: S101 - as in any test


def _raise_if_planned(kind: str) -> None:
    if kind == "raise":
        raise RuntimeError("planned")
    if kind == "skip":
        raise LiveCheckTestSkipped("planned")


def _shipped_timeout(kind: str) -> float:
    return MISSING_SIGNAL_TIMEOUT if kind == "timeout" else SIGNAL_TIMEOUT


# -- the shop


def _trigger(case: Case | aio.Case, test_id: str, *args: str, **options: Any) -> None:
    try:
        if options:
            case.trigger.apply_async((test_id, *args), **options)
        elif isinstance(case, aio.Case):
            asyncio.run(case.trigger(test_id, *args))
        else:
            case.trigger(test_id, *args)
    except BrokerUnavailable:
        pass  # it is recorded; recovery sends the message
    except RedisUnavailable:
        return  # it may be recorded
    except DuplicateTest:
        ledger.anomaly(test_id, "DuplicateTest at its first trigger")
        return
    ledger.triggered(test_id)


def _not_stored() -> int:
    """Return the number of items that Redis has not stored, or has not confirmed."""
    outbox = livecheck.runtime.outbox
    return outbox.dropped + outbox.counts[UNCONFIRMED]


@contextmanager
def _sending(test_id: str, **signals: str) -> Iterator[None]:
    """Record that the block sends ``signals``, and then whether Redis stored them."""
    for name, value in signals.items():
        ledger.sending(test_id, name, value)
    failed = _not_stored()
    yield
    if livecheck.flush(_FLUSH) and _not_stored() == failed:
        for name in signals:
            ledger.stored(test_id, name)


@app.task(name="chaos.ship")
def ship(order: dict[str, Any]) -> None:
    """Send the second signal of an order, on the shop's own worker."""
    one = Order(**order)
    current = livecheck.current_test
    carried = None if current is None else current.id
    if carried != (one.id if one.trigger == "request" else None):
        ledger.anomaly(one.id, f"the task has the test {carried}")
    with _sending(one.id, shipped=one.signals["shipped"]):
        CASES[one.case].shipped.send(one.signals["shipped"], key=one.id, force=True)


web = Flask("chaos")
livecheck.init_flask(web)


@web.post("/order")
def place() -> dict[str, Any]:
    """Place an order: trigger its test, and send or request its signals."""
    order = Order(**request.get_json())
    case = CASES[order.case]
    if order.trigger != "request":
        options = {"expires": EXPIRES} if order.kind == "expire" else {"countdown": order.countdown}
        _trigger(case, order.id, order.kind, order.value, **(options if order.trigger == "options" else {}))
        _handle(order)
        return {}
    failed = _not_stored()
    with case.maybe_trigger(order.id, order.kind, order.value):
        if livecheck.flush(_FLUSH) and _not_stored() == failed:
            ledger.triggered(order.id)
        _handle(order)
    return {}


def _handle(order: Order) -> None:
    if order.pay == "http" and order.trigger == "request":
        url = choice(_WEB_URLS)  # noqa: S311 - not for secrets
        with suppress(requests.RequestException), livecheck.session() as session:
            session.post(f"{url}/pay", json=vars(order), timeout=2.0)
    else:
        _pay(order)
    if order.ship == "task":
        try:
            ship.apply_async((vars(order),), retry=False)
        except Exception as exc:  # noqa: BLE001 - the errors depend on the broker's driver
            logger.warning("chaos: order %s: task not sent: %s", order.id, exc)


def _pay(order: Order) -> None:
    with _sending(order.id, paid=order.value):
        CASES[order.case].paid.send(order.value, key=order.id, force=True)


@web.post("/pay")
def pay() -> dict[str, Any]:
    """Send the first signal of an order; called by another web service, in a request that is under test."""
    order = Order(**request.get_json())
    current = livecheck.current_test
    if current is None or current.id != order.id:
        ledger.anomaly(order.id, f"the HTTP request has the test {current and current.id}")
    with _sending(order.id, paid=order.value):
        CASES[order.case].paid.send(order.value)
    return {}


@web.post("/signal/<name>")
def signal(name: str) -> dict[str, Any]:
    """Send a signal of an order, which may have been sent before."""
    order = Order(**request.get_json())
    value = order.signals[name]
    with _sending(order.id, **{name: value}):
        CASES[order.case].signals[name].send(value, key=order.id, force=True)
    return {}
