"""``doctor`` lists what was dropped, ignored and refused, with the fix."""

from __future__ import annotations

import inspect
import re

import pytest
import redis

from livecheck_celery import LiveCheck
from livecheck_celery.models import OLD_MARK, UNACKNOWLEDGED
from livecheck_celery.propagation import gate
from livecheck_celery.store import Store
from livecheck_celery.store.counters import FOREIGN, IGNORED, ServiceCount
from tests.helpers.doctor import lines, run
from tests.helpers.programs import REPOSITORY


def test_messages_of_another_environment_are_a_warning(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"foreign messages": 3})
    line = lines(run())["queue"][-1]
    assert line.startswith("warn: workers refused 3 messages of another environment on the broker in the last ")
    assert lines(run())["outbox"] == ["ok: nothing dropped in the last day"]


def test_messages_that_no_worker_had_are_a_warning(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"messages sent again": 3})
    line = lines(run())["queue"][-1]
    assert line.startswith("warn: 3 messages of tests were sent again in the last ")
    assert "another program consumes the queue" in line
    assert lines(run())["outbox"] == ["ok: nothing dropped in the last day"]


@pytest.mark.promise("`livecheck doctor` shows what was dropped or ignored in the last day.", theme="requests")
def test_dropped_and_ignored_items_are_listed_without_an_error(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"dropped: redis": 3, "headers ignored: forged": 1})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["outbox"]
    assert re.match(
        r"warn: in the last \d s: dropped: redis 3, headers ignored: forged 1; last \d s ago; the logs ", line
    )


@pytest.mark.promise(
    "`livecheck doctor` names the service with another secret key, and what fixes it.", theme="propagation"
)
def test_headers_with_another_key_are_a_warning_that_names_the_service_the_reason_and_the_fix(
    livecheck: LiveCheck, store: Store
) -> None:
    unknown = ServiceCount(IGNORED, "stock@web-2", "unknown key")
    store.counters.add({"headers ignored: unknown key": 41, unknown.field: 41})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["headers"]
    assert line.startswith("warn: stock@web-2 ignored the headers of 41 requests in the last ")
    assert re.search(
        r" \(unknown key\); last \d s ago; another service signs with a key that this one does not have: ", line
    )
    assert lines(result)["outbox"] == ["ok: nothing dropped in the last day"]


#: Every reason for which a gate ignores headers.
REASONS = sorted(set(re.findall(r'_Ignored\("(.+)"\)', inspect.getsource(gate))))


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_for_ignored_headers_is_explained_on_the_page_that_doctor_names(
    livecheck: LiveCheck, store: Store, reason: str
) -> None:
    assert len(REASONS) >= 10
    store.counters.add({ServiceCount(IGNORED, "stock", reason).field: 1})
    [line] = lines(run())["headers"]
    page = (REPOSITORY / "docs" / "following.md").read_text()
    assert f"| `{reason}` |" in page
    assert "docs/following.md#trust" in line or "livecheck_secret_key" in line or "NTP" in line or "proxy" in line


def test_hop_that_loses_the_headers_is_named(livecheck: LiveCheck, store: Store) -> None:
    store.counters.add({ServiceCount(UNACKNOWLEDGED, "shop@web-1", "stock.internal:8000").field: 7})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["hop"]
    assert line.startswith(
        "warn: stock.internal:8000 did not accept the tests in 7 requests of shop@web-1 in the last "
    )
    assert "install LiveCheck's middleware in it" in line


def test_service_that_takes_old_fake_requests_for_real_ones_is_named(livecheck: LiveCheck, store: Store) -> None:
    store.counters.add({ServiceCount(OLD_MARK, "shop@web-1", "stock.internal").field: 2})
    [line] = lines(run())["hop"]
    assert line.startswith("warn: stock.internal took 2 requests of shop@web-1 for real in the last ")
    assert "livecheck_max_hop_age" in line


def test_counts_of_which_the_last_is_old_are_shown_but_no_warning(
    livecheck: LiveCheck, store: Store, redis_client: redis.Redis
) -> None:
    hop, forged = (
        ServiceCount(UNACKNOWLEDGED, "shop", "stock:8000").field,
        ServiceCount(IGNORED, "stock", "forged").field,
    )
    counts = {hop: 7, forged: 2, FOREIGN: 3, "dropped: redis": 1}
    store.counters.add(counts)
    redis_client.hset(store.keys.counters, "since", store.time() - 5 * 3600)
    redis_client.hset(store.keys.counters, mapping={f"@{reason}": store.time() - 2 * 3600 for reason in counts})
    found = lines(run())
    assert found["hop"] == [
        "ok: stock:8000 did not accept the tests in 7 requests of shop in the last 5 h; last 2 h ago"
    ]
    assert found["headers"] == ["ok: stock ignored the headers of 2 requests in the last 5 h (forged); last 2 h ago"]
    assert found["queue"][-1].startswith("ok: workers refused 3 messages of another environment")
    assert found["outbox"] == ["ok: in the last 5 h: dropped: redis 1; last 2 h ago"]
    store.counters.add({hop: 1})
    assert lines(run())["hop"][0].startswith("warn: stock:8000 did not accept the tests in 8 requests of shop ")


def test_one_request_is_not_called_requests(livecheck: LiveCheck, store: Store) -> None:
    for what, detail in ((IGNORED, "forged"), (UNACKNOWLEDGED, "stock")):
        store.counters.add({ServiceCount(what, "shop", detail).field: 1})
    found = lines(run())
    assert "the headers of 1 request in the last " in found["headers"][0]
    assert "in 1 request of shop in the last " in found["hop"][0]
