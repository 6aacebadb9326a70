"""Triggers in a request, without a server."""

from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck


@pytest.mark.promise("A request that is not tested creates no execution.", theme="requests")
@pytest.mark.parametrize("options", [{"probability": 0.0}, {"active": False}])
def test_request_that_is_not_tested_creates_no_execution(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[object] = []
    monkeypatch.setattr("livecheck_celery.cases.trigger.TestExecution", lambda **values: created.append(values))
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0")
    case = livecheck.add_case(Case, name="idle", **options)
    first, second = case.maybe_trigger("o-1", side="buy"), case.maybe_trigger("o-2")
    assert first is second, "one object for all requests that are not tested"
    with first as test:
        assert test is None
    assert created == []
    livecheck.close()
