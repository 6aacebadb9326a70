"""Events of the real sentry-sdk, stored by a transport: tags in tests, and verdicts grouped by case and cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.logging import EventHandler
from sentry_sdk.transport import Transport

from livecheck_celery import Case, LiveCheck, LiveCheckTestTimeout
from livecheck_celery.context import under_test
from tests.helpers.factories import make_test
from tests.helpers.order_case import declare, execute
from tests.helpers.plain_asserts import wrong_side
from tests.helpers.scripts import run_script


class Stored(Transport):
    """Keeps the events."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += [event for item in envelope.items if (event := item.get_event()) is not None]


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """The events that were sent."""
    with sentry_sdk.isolation_scope() as scope:
        transport = Stored()
        scope.set_client(sentry_sdk.Client("http://key@localhost:1/1", transport=transport, default_integrations=False))
        handler = EventHandler()
        logging.getLogger("livecheck_celery").addHandler(handler)
        with sentry_sdk.new_scope():
            yield transport.events
        logging.getLogger("livecheck_celery").removeHandler(handler)


def verdicts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event.get("logentry", {}).get("message", "").startswith("runner: ")]


def test_verdict_is_an_event_with_exception_tags_and_its_own_logger(
    livecheck: LiveCheck, events: list[dict[str, Any]]
) -> None:
    execute(declare(livecheck, wrong_side), id="o-1")
    [event] = verdicts(events)
    assert event["logger"] == "livecheck_celery.case.shop.test_order"
    assert event["tags"] == {"livecheck.case": "shop.test_order", "livecheck.test": "o-1"}
    [exception] = event["exception"]["values"]
    assert exception["type"] == "AssertionError"
    assert event["fingerprint"] == [
        "livecheck",
        "shop.test_order",
        "FAIL: AssertionError in wrong_side: assert side == wanted",
    ]


@pytest.mark.promise("Sentry groups failed tests by case and cause.", theme="verdicts")
def test_verdicts_are_grouped_by_case_and_cause(livecheck: LiveCheck, events: list[dict[str, Any]]) -> None:
    def run(self: Case, cause: str, seconds: int) -> None:
        if cause == "timeout":
            raise LiveCheckTestTimeout(f"signal sent (1 of 2) did not arrive within {seconds} s; no signal has arrived")
        if cause == "skip":
            raise KeyError(seconds)
        raise ValueError(f"no price for {seconds}")

    one = declare(livecheck, run)
    other = livecheck.add_case(type("other", (Case,), {"run": run}), name="shop.other")
    for case in (one, other):
        for cause in ("timeout", "error", "skip"):
            for seconds in (1, 2):
                execute(case, cause, seconds, id=f"{case.name}-{cause}-{seconds}")
    fingerprints = [tuple(event["fingerprint"]) for event in verdicts(events)]
    assert len(fingerprints) == 12
    assert len(set(fingerprints)) == 6
    assert fingerprints[0][2] == ("TIMEOUT: LiveCheckTestTimeout: signal sent (N of N) did not arrive within N s")


def test_event_of_a_service_has_the_test_it_is_part_of(livecheck: LiveCheck, events: list[dict[str, Any]]) -> None:
    with under_test(make_test("o-1\nFAKE", "shop.test_order")):
        sentry_sdk.capture_message("in a test")
    sentry_sdk.capture_message("outside")
    sentry_sdk.set_tag("livecheck.test", "by hand")
    with under_test(make_test("o" * 500, "c" * 500)):
        sentry_sdk.capture_message("long")
    first, second, third = events
    assert first["tags"] == {"livecheck.case": "shop.test_order", "livecheck.test": "o-1 FAKE"}
    assert "livecheck.test" not in second.get("tags", {})
    assert third["tags"] == {"livecheck.case": "c" * 200, "livecheck.test": "by hand"}


def test_passing_test_is_no_event(livecheck: LiveCheck, events: list[dict[str, Any]]) -> None:
    execute(declare(livecheck, lambda self: None))
    assert verdicts(events) == []


def test_process_without_sentry_does_not_import_it() -> None:
    code = (
        "import sys; from livecheck_celery import LiveCheck; LiveCheck().runtime; sys.exit('sentry_sdk' in sys.modules)"
    )
    run_script(code)


def test_event_of_a_middleware_outside_of_the_request_has_the_test(
    livecheck: LiveCheck, events: list[dict[str, Any]]
) -> None:
    """As in FastAPI, where Sentry captures what leaves the whole application."""
    case: Any = declare(livecheck, wrong_side, probability=1.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with case.maybe_trigger("o-1"):
            raise ValueError("no price")

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/orders", "headers": [], "query_string": b""}
    with pytest.raises(ValueError, match="no price"):
        asyncio.run(SentryAsgiMiddleware(livecheck.asgi(app))(scope, receive, send))
    [event] = events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert event["tags"] == {"livecheck.case": "shop.test_order", "livecheck.test": "o-1"}
