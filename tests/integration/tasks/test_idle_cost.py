"""What ten thousand cases without any test cost: numbers of Redis commands."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck
from livecheck_celery.store.open_cases import LOOK_AT
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.registration import register_cases


class Idle(Case):
    def run(self) -> None:
        raise NotImplementedError


def calls(client: redis.Redis) -> int:
    """Return the number of commands so far, with those of scripts."""
    stats: dict[str, Any] = client.info("commandstats")
    return sum(one["calls"] for name, one in stats.items() if name != "cmdstat_info")


@pytest.mark.promise("The schedules of 10,000 idle cases send 25 Redis commands a second.", theme="schedules")
def test_schedules_of_ten_thousand_idle_cases_send_few_commands(livecheck: LiveCheck, redis_client: Any) -> None:
    for number in range(10_000):
        livecheck.add_case(Idle, name=f"shop.test_{number:05}")
    register_cases(livecheck)
    tasks = Tasks([livecheck])
    tasks.recover()
    tasks.check_stalled()
    sign_of_life, processes = 3, 3
    before = calls(redis_client)
    tasks.check_stalled()  # every 30 s
    assert calls(redis_client) - before == 10 * 4 + processes + sign_of_life
    before = calls(redis_client)
    tasks.recover()  # every 3 s
    assert calls(redis_client) - before == 4 + LOOK_AT + sign_of_life
