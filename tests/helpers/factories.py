"""Build models, settings and gates, with plausible defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from livecheck_celery.config import MAX_HOP_AGE, Settings
from livecheck_celery.delivery.items import SentSignal
from livecheck_celery.models import UNACKNOWLEDGED, JSONText, SignalEvent, State, TestExecution, TestReport
from livecheck_celery.propagation.gate import Gate, Policy
from livecheck_celery.propagation.signatures import Keyring
from livecheck_celery.utils.hosts import Hosts
from tests.helpers.marks import make_mark

CASE = "shop.test_order"


class BrokenStr(Exception):
    """An exception of an application whose ``__str__`` fails."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def make_settings(redis_url: str, **options: Any) -> Settings:
    """Build settings whose broker is the same Redis."""
    return Settings(redis_url=redis_url, broker_url=redis_url, **options)


def make_test(test_id: str = "id-1", case_name: str = CASE, *, synthetic: bool = False, **fields: Any) -> TestExecution:
    """Build an execution requested now, to expire in an hour; ``synthetic`` if a fake request of its case caused it."""
    now = datetime.now(UTC)
    if synthetic:
        fields["mark"] = make_mark(case_name)
    values = {"timestamp": now, "test_args": [], "test_kwargs": {}, "expires": now + timedelta(hours=1), **fields}
    return TestExecution(id=test_id, case_name=case_name, **values)


def make_signal(name: str = "order_sent", value: str = '"v"', key: str = "id-1", case_name: str = CASE) -> SignalEvent:
    """Build a signal whose value is the JSON text ``value``."""
    return SignalEvent(signal_name=name, case_name=case_name, key=key, value=value)


def make_sent(key: str = "id-1", value: str = '"v"') -> SentSignal:
    """Build an item of the outbox: a signal whose value is the JSON text ``value``."""
    return SentSignal("order_sent", CASE, key, JSONText(value), ttl=60.0)


def make_report(
    state: State = State.PASS, test: TestExecution | None = None, case_name: str = CASE, **fields: Any
) -> TestReport:
    """Build a report of ``test``, or of the suite."""
    return TestReport(case_name=case_name if test is None else test.case_name, state=state, test=test, **fields)


def make_gate(
    *keys: str,
    hosts: Iterable[str] = (),
    audience: Iterable[str] = (),
    ignored: list[str] | None = None,
    finished: list[dict[str, Any]] | None = None,
    unacknowledged: list[str] | None = None,
    max_age: float = MAX_HOP_AGE,
    hops: list[tuple[str, str]] | None = None,
) -> Gate:
    """Build a gate that records ignored headers, by reason, in ``ignored``, and finished operations in ``finished``.

    The hosts that did not accept a test are recorded in ``unacknowledged``; ``hops`` gets what is counted of each host.
    """

    def record(kind: str, name: str, tests: Sequence[TestExecution], **outcome: Any) -> None:
        if finished is not None:
            finished.append({"kind": kind, "name": name, "tests": list(tests), **outcome})

    def count_hop(what: str, host: str) -> None:
        if hops is not None:
            hops.append((what, host))
        if unacknowledged is not None and what == UNACKNOWLEDGED:
            unacknowledged.append(host)

    return Gate(
        Policy(Keyring(keys), Hosts(hosts), max_age, Hosts(audience)),
        count_ignored=(ignored if ignored is not None else []).append,
        operation_finished=record,
        on_request=lambda: None,
        count_hop=count_hop,
    )
