"""A LiveCheck that is closed gives its connections back."""

from __future__ import annotations

import redis

from livecheck_celery import LiveCheck, State
from tests.helpers.order_case import declare, execute
from tests.helpers.waiting import wait_until


def test_closed_livecheck_has_no_connections(livecheck: LiveCheck, redis_client: redis.Redis) -> None:
    def clients() -> set[str]:
        return {client["id"] for client in redis_client.client_list()}

    before = clients()
    case = declare(livecheck, lambda self: self.sent.wait(timeout=5))
    case.trigger("o-2")
    case.sent.send(1, key="o-1", force=True)
    assert execute(case).state is State.PASS
    assert len(clients() - before) >= 3
    livecheck.close()
    wait_until(lambda: clients() <= before, what="the end of its connections")
