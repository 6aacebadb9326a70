"""Two environments on one broker."""

from __future__ import annotations

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck, State
from tests.helpers.programs import Programs
from tests.helpers.waiting import wait_until

PREFIXES = ("prod", "staging")


@pytest.mark.promise("Environments with different prefixes can share a broker and a Redis.", theme="tools")
def test_environments_with_different_prefixes_keep_their_tests_apart(programs: Programs) -> None:
    for prefix in PREFIXES:
        command = f"celery -A environments worker -Q {prefix},{prefix}.schedule -P threads -c 4 -n {prefix}@%h -B"
        programs.start_worker(f"{command} -s {prefix}", LIVECHECK_PREFIX=prefix)
    cases = {}
    for prefix in PREFIXES:
        livecheck = LiveCheck(Celery(prefix, broker=programs.url, set_as_current=False), prefix=prefix)
        cases[prefix] = livecheck.add_case(type("test_order", (Case,), {}), name="environments.test_order")
    for number in range(10):
        for prefix, case in cases.items():
            case.trigger(f"{prefix}-{number}", prefix)
    for case in cases.values():
        wait_until(lambda case=case: case.total_by_state[State.PASS] >= 10 + 2, 20, "ten tests and two fake requests")
        assert set(case.total_by_state) == {State.PASS}
        case.app.close()
