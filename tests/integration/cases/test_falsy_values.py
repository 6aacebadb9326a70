"""An empty id is a new one, and a frequency of zero is off, as in the reference; in both faces."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import redis

from tests.helpers.faces import Face

NAME = "shop.test_order"


def by_trigger(face: Face, case: Any, test_id: Any) -> None:
    test = face.call(case.app, case.trigger, test_id, "buy")
    assert test.test_args == ["buy"]


def by_keyword(face: Face, case: Any, test_id: Any) -> None:
    face.call(case.app, case.trigger, id=test_id)


def by_delay(face: Face, case: Any, test_id: Any) -> None:
    case.trigger.delay(test_id, "buy")


def by_apply_async(face: Face, case: Any, test_id: Any) -> None:
    case.trigger.apply_async((test_id,))


def by_maybe_trigger(face: Face, case: Any, test_id: Any) -> None:
    with case.maybe_trigger(test_id, "buy") as test:
        assert test.test_args == ["buy"]
    assert case.app.runtime.outbox.flush()


@pytest.mark.parametrize("empty", ["", None])
@pytest.mark.parametrize("how", [by_trigger, by_keyword, by_delay, by_apply_async, by_maybe_trigger])
def test_test_without_an_id_has_a_new_one(
    face: Face, faced: Any, how: Any, empty: Any, redis_client: redis.Redis
) -> None:
    case = faced.add_case(face.Case, name=NAME, probability=1.0)
    for _ in range(2):
        how(face, case, empty)
    ids: Any = redis_client.zrange(faced.runtime.store.keys.open(NAME), 0, -1)
    assert len({uuid.UUID(each) for each in ids}) == 2


@pytest.mark.parametrize("zero", [0, 0.0, "0s"])
def test_frequency_of_zero_schedules_no_fake_requests(face: Face, faced: Any, zero: Any) -> None:
    def fake_requests() -> list[str]:
        return [name for name, entry in faced.app.conf.beat_schedule.items() if NAME in str(entry)]

    assert faced.add_case(face.Case, name=NAME, frequency=zero).frequency is None
    assert fake_requests() == []
    faced.add_case(face.Case, name=f"{NAME}.often", frequency=30)
    assert len(fake_requests()) == 1
