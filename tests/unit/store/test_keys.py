"""Key names: one hash tag for each case, for every case name."""

import pytest
from redis.crc import key_slot

from livecheck_celery.store.keys import Keys, inbox


def all_of(case: str) -> list[str]:
    keys = Keys("p")
    return [
        keys.suite(case),
        keys.runtime(case),
        keys.latency(case),
        keys.frequency(case),
        keys.open(case),
        keys.test(case, "id"),
        keys.signals(case, "id"),
        keys.reports(case),
        keys.late(case),
    ]


@pytest.mark.parametrize("case", ["shop.test_order", "a b", "ünï", "odd}name", "odd{name", "a:b"])
def test_all_keys_of_a_case_are_in_one_cluster_slot(case: str) -> None:
    names = all_of(case)
    assert len(set(names)) == len(names)
    assert len({key_slot(name.encode()) for name in names}) == 1


def test_key_names_are_those_documented() -> None:
    assert all_of("c") == [
        "p:{c}:suite",
        "p:{c}:runtime",
        "p:{c}:latency",
        "p:{c}:frequency",
        "p:{c}:open",
        "p:{c}:test:id",
        "p:{c}:signals:id",
        "p:{c}:reports",
        "p:{c}:late",
    ]
    assert (Keys("p").cases, Keys("p").shared) == ("p:{cases}:settings", "p:{cases}:shared"), "one script writes both"
    assert (Keys("p").beat, Keys("p").schedules) == ("p:beat", "p:schedules")
    assert (Keys("p").heartbeat, Keys("p").counters) == ("p:heartbeat", "p:counters")


def test_inbox_channel_begins_with_the_prefix_of_all_inboxes() -> None:
    assert inbox("p", "address") == Keys("p").inboxes + "address" == "p:inbox:address"
