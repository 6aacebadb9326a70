"""Registration of cases in Redis, also after a data loss."""

from __future__ import annotations

import pytest

from livecheck_celery import Case, LiveCheck, RedisUnavailable, State
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.store import Store
from livecheck_celery.tasks.registration import register_cases, restore_after_data_loss


@pytest.fixture
def case(livecheck: LiveCheck) -> Case:
    return livecheck.add_case(type("test_order", (Case,), {}), name="shop.test_order", probability=0.25)


@pytest.fixture
def shared_config(store: Store) -> SharedConfig:
    return SharedConfig(store, print)


def test_settings_of_all_cases_are_stored_and_their_tests_expected(livecheck: LiveCheck, case: Case) -> None:
    case.warn_stalled_after = 0.0
    assert case.status is State.INIT
    register_cases(livecheck)
    assert livecheck.registers
    registered = livecheck.runtime.store.registry.cases()
    assert registered.keys() == {"shop.test_order"}
    assert registered["shop.test_order"]["probability"] == 0.25
    assert case.status is State.STALL, "no test received since the registration"


def test_registration_waits_while_redis_is_unavailable(
    livecheck: LiveCheck, case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delays: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", delays.append)
    check, failures = livecheck.runtime.store.check, [RedisUnavailable("refused")] * 2

    def fail_twice() -> None:
        if failures:
            raise failures.pop()
        check()

    monkeypatch.setattr(livecheck.runtime.store, "check", fail_twice)
    register_cases(livecheck)
    assert livecheck.registers
    assert delays == [1.0, 2.0]
    assert caplog.messages == ["store: refused; retrying in 1.0 s", "store: refused; retrying in 2.0 s"]


def test_cases_are_registered_again_after_a_data_loss(
    livecheck: LiveCheck, case: Case, shared_config: SharedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    livecheck.registers = True
    case.warn_stalled_after = 0.0
    restore_after_data_loss(livecheck, shared_config)
    assert livecheck.runtime.store.registry.cases().keys() == {"shop.test_order"}
    assert case.status is State.STALL
    [line] = caplog.messages
    assert line.startswith("registration: Redis at redis://127.0.0.1:1/0 has lost its data: ")
    assert line.endswith("; cases registered again: 1")


def test_process_that_registered_nothing_only_logs_a_data_loss(
    livecheck: LiveCheck, case: Case, shared_config: SharedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    shared_config.overrides = {"shop.b": {"active": False}, "shop.a": {"probability": 1.0}}
    restore_after_data_loss(livecheck, shared_config)
    assert livecheck.runtime.store.registry.cases() == {}
    [line] = caplog.messages
    assert line.endswith("open tests, overrides of shop.a, shop.b")


def test_data_loss_during_an_outage_is_not_logged_as_restored(
    livecheck: LiveCheck,
    case: Case,
    shared_config: SharedConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RedisUnavailable("refused")

    livecheck.registers = True
    monkeypatch.setattr(livecheck.runtime.store.registry, "register", fail)
    with pytest.raises(RedisUnavailable):
        restore_after_data_loss(livecheck, shared_config)
    assert caplog.messages == []
