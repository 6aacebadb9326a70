"""An order system that is tested while it runs, and killed while it is tested.

All programs of a run but the servers are made of this module: LiveCheck workers, beats, web services, and an ordinary
Celery worker. Each has its own way to each server, given in its environment.
"""

from __future__ import annotations

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
from chaos.plan import Order
from livecheck_celery import Case, LiveCheck, LiveCheckTestSkipped, Signal
from livecheck_celery.errors import BrokerUnavailable, DuplicateTest, RedisUnavailable
from livecheck_celery.store import executions as store_ledger
from livecheck_celery.store import signals as arrivals

logger = logging.getLogger("chaos")

#: Seconds a test waits for a signal that comes, however long that takes; and for one that never comes.
RETRY_FOR: Final = float(os.environ["CHAOS_PATIENCE"])
IMPATIENCE: Final = float(os.environ["CHAOS_IMPATIENCE"])
#: Seconds in which a test runs that is to expire.
LIFETIME: Final = 3.0
#: Seconds between two fake requests.
PULSE: Final = 1.0
ORDERS: Final = "orders"

_WEBS: Final = os.environ["CHAOS_WEBS"].split(",")
_FLUSH: Final = 3.0

# A short run cannot wait for as long as it takes as shipped.
if "CHAOS_RESEND_AFTER" in os.environ:
    vars(store_ledger)["RESEND_AFTER"] = float(os.environ["CHAOS_RESEND_AFTER"])
    for module in (store_ledger, arrivals):
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
    # What a killed worker had fetched comes again soon, beside what LiveCheck sends again by itself.
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ["CHAOS_VISIBILITY"]),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
    }

livecheck = LiveCheck(
    app,
    redis_url=os.environ["CHAOS_STATE_URL"],
    broker_url=os.environ["CHAOS_BROKER_URL"],
    secret_key="of a run",  # noqa: S106 - nothing to be kept
    max_reports=10_000_000,
)

_OPTIONS: Final[dict[str, Any]] = {
    "probability": 1.0,
    "test_expires": 3600.0,
    "max_history": 10_000_000,
    "max_consecutive_failures": 5,
    "state_transition_delay": 5.0,
}


@livecheck.case(name="plain", **_OPTIONS)
class Plain(Case):
    """An order is paid and shipped."""

    paid: Signal[str]
    shipped: Signal[str]

    def run(self, kind: str, value: str) -> None:
        """Wait for both, in turn."""
        _expect(self.paid.wait(timeout=RETRY_FOR), value)
        _interlude(kind)
        _expect(self.shipped.wait(timeout=IMPATIENCE if kind == "timeout" else RETRY_FOR), value)


@livecheck.case(name="async", **_OPTIONS)
class Async(Case):
    """The same, in a coroutine."""

    paid: Signal[str]
    shipped: Signal[str]

    async def run(self, kind: str, value: str) -> None:
        """Wait for both, in turn."""
        _expect(await self.paid.wait_async(timeout=RETRY_FOR), value)
        _interlude(kind)
        _expect(await self.shipped.wait_async(timeout=IMPATIENCE if kind == "timeout" else RETRY_FOR), value)


@livecheck.case(name="pulse", frequency=PULSE, **_OPTIONS)
class Pulse(Case):
    """A test that beat asks for, once in each period."""

    def make_fake_request(self) -> None:
        """Trigger a test."""
        if ledger.is_hushed:
            return
        test_id = uuid4().hex
        ledger.will_pulse(test_id)
        _trigger(self, test_id)

    def run(self) -> None:
        """Be content."""


CASES: Final[dict[str, Any]] = {"plain": Plain, "async": Async}


def _expect(got: str, value: str) -> None:
    assert got == value, f"{got}, not {value}"  # noqa: S101 - as in any test


def _interlude(kind: str) -> None:
    if kind == "raise":
        raise RuntimeError("as ordered")
    if kind == "skip":
        raise LiveCheckTestSkipped("as ordered")


# -- the shop


def _trigger(case: Case, test_id: str, *args: str, **options: Any) -> None:
    try:
        if options:
            case.trigger.apply_async((test_id, *args), **options)
        else:
            case.trigger(test_id, *args)
    except BrokerUnavailable:
        pass  # it is recorded, and recovery sends it
    except RedisUnavailable:
        return  # it may be recorded all the same
    except DuplicateTest:
        ledger.stray(test_id, "DuplicateTest, at its first trigger")
        return
    ledger.triggered(test_id)


@contextmanager
def _sending(test_id: str, **signals: str) -> Iterator[None]:
    """Note that signals are about to be sent, and then whether Redis took what left this process in between."""
    for name, value in signals.items():
        ledger.will_send(test_id, name, value)
    dropped = livecheck.runtime.outbox.dropped
    yield
    if livecheck.flush(_FLUSH) and livecheck.runtime.outbox.dropped == dropped:
        for name in signals:
            ledger.taken(test_id, name)


@app.task(name="chaos.ship")
def ship(order: dict[str, Any]) -> None:
    """Send the second signal of an order, on the ordinary worker."""
    one = Order(**order)
    current = livecheck.current_test
    carried = None if current is None else current.id
    if carried != (one.id if one.trigger == "chance" else None):
        ledger.stray(one.id, f"carried {carried} to the task")
    with _sending(one.id, shipped=one.signals["shipped"]):
        CASES[one.case].shipped.send(one.signals["shipped"], key=one.id, force=True)


web = Flask("chaos")
livecheck.init_flask(web)


@web.post("/order")
def place() -> dict[str, Any]:
    """Place an order, which triggers its test, has it paid, and perhaps shipped by a task."""
    order = Order(**request.get_json())
    case = CASES[order.case]
    if order.trigger != "chance":
        lifetime = {"expires": LIFETIME} if order.kind == "expire" else {"countdown": order.countdown}
        _trigger(case, order.id, order.kind, order.value, **(lifetime if order.trigger == "options" else {}))
        _handle(order)
        return {}
    dropped = livecheck.runtime.outbox.dropped
    with case.maybe_trigger(order.id, order.kind, order.value):
        if livecheck.flush(_FLUSH) and livecheck.runtime.outbox.dropped == dropped:
            ledger.triggered(order.id)
        _handle(order)
    return {}


def _handle(order: Order) -> None:
    if order.pay == "http" and order.trigger == "chance":
        with suppress(requests.RequestException), livecheck.session() as session:
            session.post(f"{choice(_WEBS)}/pay", json=vars(order), timeout=2.0)  # noqa: S311
    else:
        _pay(order)
    if order.ship == "task":
        try:
            ship.apply_async((vars(order),), retry=False)
        except Exception as exc:  # noqa: BLE001 - whatever the broker's driver raises
            logger.warning("%s: not shipped by a task: %s", order.id, exc)


def _pay(order: Order) -> None:
    with _sending(order.id, paid=order.value):
        CASES[order.case].paid.send(order.value, key=order.id, force=True)


@web.post("/pay")
def pay() -> dict[str, Any]:
    """Have an order paid; called within a request that is under test."""
    order = Order(**request.get_json())
    current = livecheck.current_test
    if current is None or current.id != order.id:
        ledger.stray(order.id, f"carried {current and current.id} over HTTP")
    with _sending(order.id, paid=order.value):
        CASES[order.case].paid.send(order.value)
    return {}


@web.post("/signal/<name>")
def signal(name: str) -> dict[str, Any]:
    """Send a signal of an order, again perhaps."""
    order = Order(**request.get_json())
    value = order.signals[name]
    with _sending(order.id, **{name: value}):
        CASES[order.case].signals[name].send(value, key=order.id, force=True)
    return {}
