"""What ``status`` says of suites that fail, of cases that are gone, and of numbers that are easily misread."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from livecheck_celery import State
from livecheck_celery.store import Store
from tests.helpers.reading import CASE, play, run, run_a_worker


def cells(line: str) -> list[str]:
    return re.split("  +", line)


def test_last_failed_test_is_one_test_not_the_suite(declared: Any, store: Store) -> None:
    play(store, State.TIMEOUT)
    play(store, State.PASS, "id-2")
    assert cells(run("status").stdout.splitlines()[1])[-1] != "never", "the suite has not failed, but a test"
    store.client.hdel(store.keys.suite(CASE), "last_failed_test")
    assert cells(run("status").stdout.splitlines()[1])[-1] == "unknown", "recorded by an earlier version"


@pytest.mark.promise("`livecheck status` shows a suite of which too many tests fail as DEGRADED.", theme="verdicts")
def test_suite_with_too_many_failed_tests_is_not_shown_as_passing(declared: Any, store: Store) -> None:
    for number in range(31):
        play(store, State.TIMEOUT if number % 3 == 1 else State.PASS, f"id-{number}")
    assert cells(run("status").stdout.splitlines()[1])[1] == "TIMEOUT", "a suite failure within the last minute"
    store.client.hset(store.keys.suite(CASE), "last_fail", store.time() - 61)
    play(store, State.PASS)
    header, line, remark = run("status").stdout.splitlines()
    assert cells(line)[1] == "DEGRADED"
    assert cells(line)[cells(header).index("FAILED")] == "31% of 32"
    assert re.fullmatch(rf"{CASE}: the suite began to fail \d s ago: 10 of the last 32 tests failed", remark)
    [case] = json.loads(run("status", "--json").stdout)["cases"]
    assert (case["status"], case["failure_rate"], case["recent_tests"]) == ("PASS", 10 / 32, 32)
    assert case["failing_since"] > 1.5e9
    assert run("status").exit_code == 0
    assert run("status", "--check").exit_code == 1


@pytest.mark.parametrize(("state", "code"), [(State.PASS, 0), (State.SKIP, 0), (State.FAIL, 1), (State.TIMEOUT, 1)])
def test_check_exits_with_1_if_a_suite_fails(declared: Any, store: Store, state: State, code: int) -> None:
    play(store, state)
    assert run("status", "--check").exit_code == run("status", "--check", "--json").exit_code == code
    assert run("status").exit_code == 0
    store.registry.override(CASE, {"active": False})
    assert run("status", "--check").exit_code == 0, "an inactive case needs no attention"


def test_case_that_no_running_worker_declares_is_shown_and_does_not_alarm(declared: Any, store: Store) -> None:
    store.registry.register("shop.test_gone", {"warn_stalled_after": 60.0, "active": True})
    store.client.hset(store.keys.suite("shop.test_gone"), mapping={"expected_since": 1, "status": "FAIL"})
    play(store, State.PASS)
    assert run("status", "--check").exit_code == 1, "without any worker, silence is a failure"
    run_a_worker(store, CASE)
    _, gone, kept, remark = run("status").stdout.splitlines()
    assert cells(gone)[:2] == ["shop.test_gone", "UNDECLARED"]
    assert cells(kept)[:2] == [CASE, "PASS"]
    assert remark == (
        "shop.test_gone: no running worker declares it; start one that does, or remove it with "
        "`livecheck forget shop.test_gone`"
    )
    assert run("status", "--check").exit_code == 0
    shown = json.loads(run("status", "--json").stdout)["cases"]
    assert [(case["declared"], case["status"]) for case in shown] == [(False, "FAIL"), (True, "PASS")]
    assert "no running worker declares it" in run("cases").stdout


def test_runtime_below_a_millisecond_is_not_shown_as_zero(declared: Any, store: Store) -> None:
    play(store, State.PASS, runtime=0.0002)
    assert "  0.000200 s  " in run("status").stdout
    assert run("reports").stdout.endswith("  0.000200 s\n")


def test_delay_is_never_negative(declared: Any, store: Store) -> None:
    store.client.rpush(store.keys.latency(CASE), "-40.0")
    assert "-40" not in run("status").stdout
