"""Synchronous triggers of many threads while Redis is frozen: the wait for a connection is part of the second."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck, RedisUnavailable
from tests.helpers.outages import frozen_server
from tests.helpers.valkey import embedded
from tests.helpers.waiting import at_once

THREADS = 300


@pytest.mark.promise(
    "A synchronous trigger raises within about a second, also if hundreds of threads trigger at a time.",
    theme="requests",
)
def test_triggers_of_many_threads_raise_within_a_second() -> None:
    with embedded() as server, frozen_server(server) as (freeze, _):
        livecheck = LiveCheck(Celery("shop", broker=f"{server.connection_url}/0", set_as_current=False))
        case = livecheck.add_case(Case, name="c")
        case.trigger("first")
        freeze()

        def trigger(number: int) -> float:
            began = time.monotonic()
            with pytest.raises(RedisUnavailable):
                case.trigger(f"o-{number}")
            return time.monotonic() - began

        took = at_once(THREADS, trigger)
        assert sorted(took)[THREADS // 2] < 1.0
        assert max(took) < 1.8  # of 300 threads that share two cores with other tests
        livecheck.runtime.store.client.close()
    livecheck.close()
