"""The commands that read and change shared state: ``status``, ``cases``, ``reports`` and ``override``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

from livecheck_celery import LiveCheck, Signal, State
from livecheck_celery.cli.reports import Tail
from livecheck_celery.cli.status import COLUMNS
from livecheck_celery.models import REPORT
from livecheck_celery.store import Store
from tests.helpers.factories import make_report, make_test
from tests.helpers.reading import CASE, play, run
from tests.helpers.terminals import Screen

#: The attributes of the reference's ``Case`` that are data, not methods, logs or stacks.
CONTRACT = {
    "name", "status", "last_test_received", "last_fail", "runtime_avg", "latency_avg", "frequency_avg",
    "state_transition_delay", "consecutive_failures", "total_failures", "active", "probability", "warn_stalled_after",
    "signals", "test_expires", "frequency", "realtime_logs", "max_history", "max_consecutive_failures",
    "url_timeout_total", "url_timeout_connect", "url_error_retries", "url_error_delay_min", "url_error_delay_backoff",
    "url_error_delay_max", "frequency_history", "latency_history", "runtime_history", "total_by_state", "total_signals",
    "seconds_since_last_fail",
}  # fmt: skip


def test_status_as_json_has_every_attribute_of_the_reference(declared: Any, store: Store) -> None:
    play(store, State.PASS)
    [case] = json.loads(run("status", "--json").stdout)["cases"]
    assert case.keys() >= CONTRACT
    assert (case["name"], case["status"], case["test_expires"]) == (CASE, "PASS", 3600.0)
    assert (case["signals"], case["total_signals"]) == (["stored", "sent"], 2)
    assert case["total_by_state"] == {"PASS": 1}
    assert case["runtime_history"] == [0.25]
    assert case["runtime_avg"] == 0.25
    assert case["last_test_received"] > 1.5e9


def test_status_is_one_line_per_case(declared: Any, store: Store) -> None:
    play(store, State.PASS)
    play(store, State.FAIL, "id-2")
    play(store, State.FAIL, "id-3")
    header, line = run("status").stdout.splitlines()
    assert header.split("  ")[0] == "CASE"
    cells = [cell.strip() for cell in line.split("  ") if cell]
    assert cells[:7] == [CASE, "FAIL", "0.5%, every 90.0 s", "PASS 1, FAIL 2", "67% of 3", "2", "0.250 s"]
    assert cells[8].endswith(" s")
    assert cells[7:8] + cells[9:] == ["-", "0 s ago", "0 s ago"]


def test_stall_is_shown_without_a_running_check(declared: Any, store: Store) -> None:
    play(store, State.PASS)
    overdue = store.time() - 2000
    store.client.hset(store.keys.suite(CASE), mapping={"received_at": overdue, "last_test_received": store.time()})
    store.registry.register("shop.test_unknown", {"warn_stalled_after": 60.0, "active": True})
    store.registry.register("shop.test_off", {"warn_stalled_after": 60.0, "active": True})
    store.registry.override("shop.test_off", {"active": False})
    for name in ("shop.test_unknown", "shop.test_off"):
        store.client.hset(store.keys.suite(name), "expected_since", store.time() - 61)
    lines = [re.split(r"  +", line) for line in run("status").stdout.splitlines()[1:4]]
    assert [line[:2] for line in lines] == [["shop.test_off", "INIT"], [CASE, "STALL"], ["shop.test_unknown", "STALL"]]
    assert [line[9] for line in lines] == ["never", "33 min ago", "never"]
    shown = json.loads(run("status", "--json").stdout)
    assert [case["status"] for case in shown["cases"]] == ["INIT", "STALL", "STALL"]
    assert shown["cases"][1]["seconds_since_last_test"] == pytest.approx(2000, abs=2)
    assert declared.status is State.STALL


def test_status_warns_of_silent_beat_and_workers(declared: Any, store: Store) -> None:
    assert len(run("status").stdout.splitlines()) == 2
    assert json.loads(run("status", "--json").stdout)["signs_of_life"] == [
        {"beat": pytest.approx(0, abs=2), "schedules": pytest.approx(0, abs=2)}
    ]
    store.client.set(store.keys.schedules, store.time() - 61, ex=9)
    [line] = run("status").stdout.splitlines()[2:]
    assert line == "No worker executes the tasks that beat sends; see `livecheck doctor`."
    store.client.delete(store.keys.beat)
    [line] = run("status").stdout.splitlines()[2:]
    assert line.startswith("Beat is silent: no fake requests, stall checks or recovery until it runs")


def test_cases_that_only_workers_have_imported_are_shown(livecheck: LiveCheck, store: Store) -> None:
    other = LiveCheck(Celery("elsewhere", set_as_current=False), redis_url="redis://fake:6379/0")
    case = other.case(name=CASE, active=False, frequency=crontab(minute=0))(type("test_order", (), {}))
    store.registry.register(CASE, case.describe())
    assert "inactive" in run("status").stdout
    assert f"{CASE}\n" in run("cases").stdout
    assert json.loads(run("status", "--json").stdout)["cases"][0]["frequency"] == str(crontab(minute=0))


def test_status_shows_a_schedule_as_text(livecheck: LiveCheck) -> None:
    livecheck.case(name=CASE, frequency=crontab(minute=0))(type("test_order", (), {}))
    assert f"50%, {crontab(minute=0)}" in run("status").stdout


def test_case_registered_by_an_older_version_is_shown(livecheck: LiveCheck, store: Store) -> None:
    store.registry.register(CASE, {})
    assert run("status").exit_code == run("cases").exit_code == run("status", "--json").exit_code == 0


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
def test_status_fits_the_terminal(
    declared: Any, store: Store, screen: Screen, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    long = "company.services.orders.checks.test_order_is_stored"
    store.registry.register(long, {"frequency": 90.0})
    for number, state in enumerate([State.PASS, State.FAIL, State.TIMEOUT, State.SKIP]):
        play(store, state, f"id-{number}")
    assert run("status").exit_code == 0
    header, rule, *rows = screen.lines()
    assert len(rows) == 2
    assert all(len(line) <= columns for line in (header, rule, *rows))
    assert rows[0].startswith(long if columns == 200 else "…")
    assert rows[0].split()[0].endswith("orders.checks.test_order_is_stored"[-21:])
    assert rows[1].split()[:2] == [CASE, "TIMEOUT"]
    assert ("LATENCY" in header, "FREQUENCY" in header) == (columns == 200, columns == 200)
    assert ("LAST TEST" in header) == (columns >= 80)
    if columns >= 80:
        assert "PASS 1, FAIL 1, " in rows[1]


def test_status_is_complete_in_a_pipe(declared: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "company.services.orders.checks.test_order_is_stored"
    store.registry.register(long, {})
    header, first, second = run("status").stdout.splitlines()
    assert re.split("  +", header) == [column.header for column in COLUMNS]
    assert first.startswith(f"{long}  INIT ")
    assert second.startswith(f"{CASE} ")


def test_latency_close_to_zero_has_no_sign(declared: Any, store: Store) -> None:
    play(store, State.PASS)
    store.client.rpush(store.keys.latency(CASE), "-0.0004")
    assert "  0.000 s  " in run("status").stdout


@pytest.mark.parametrize("command", ["status", "cases"])
def test_missing_cases_are_reported(livecheck: LiveCheck, command: str) -> None:
    result = run(command)
    assert result.exit_code == 0
    assert result.stdout == "No cases: none is declared here, and no worker has registered one.\n"


def test_cases_lists_settings_and_signals_in_order(declared: Any) -> None:
    lines = [line.split(maxsplit=1) for line in run("cases").stdout.splitlines()]
    assert lines[0] == [CASE]
    settings = dict(lines[1:])
    assert settings["signals"] == "stored, sent"
    assert settings["probability"] == "0.005"
    assert settings["url_timeout_connect"] == "-"


def test_reports_are_lines_newest_last(declared: Any, store: Store) -> None:
    for number, state in enumerate([State.FAIL, State.PASS, State.TIMEOUT]):
        play(store, state, f"id-{number}")
    lines = [line.split("  ") for line in run("reports", "-n", "2").stdout.splitlines()]
    assert [[cell.strip() for cell in line[1:] if cell] for line in lines] == [
        ["PASS", f"{CASE}:id-1", "0.250 s"],
        ["TIMEOUT", f"{CASE}:id-2", "0.250 s", "it broke"],
    ]


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_reports_are_one_line_each_at_a_terminal(
    declared: Any, store: Store, screen: Screen, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ids = ["d0ea6a37-6e1b-4a5c-9e04-5c1a4c1f7d2e", "2582f279-7613-4f3e-8f6b-0b7b7f1f0a11"]
    play(store, State.FAIL, ids[0])
    play(store, State.PASS, ids[1])
    assert run("reports").exit_code == 0
    failed, passed = screen.lines()
    assert max(len(failed), len(passed)) <= columns
    assert f"{CASE}:d0e" in failed
    assert ("…" in failed) == (ids[0] not in failed) == (columns < 120)
    assert "it broke" in failed
    assert "PASS" in passed
    assert ("0.250 s" in passed) == (columns >= 80)


def test_reports_are_complete_in_a_pipe(declared: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    play(store, State.FAIL, "x" * 100)
    assert f"  {CASE}:{'x' * 100}  0.250 s  it broke\n" in run("reports").stdout


def test_no_reports_print_nothing_at_a_terminal(declared: Any, screen: Screen) -> None:
    assert run("reports").exit_code == 0
    assert screen.getvalue() == ""


def test_reports_include_suites_and_unknown_cases(declared: Any, store: Store) -> None:
    store.reports.post(make_report(State.STALL, case_name=CASE))
    store.reports.post(make_report(State.ERROR, case_name="shop.gone"), unknown_case=True)
    assert [line.split()[2:] for line in run("reports").stdout.splitlines()] == [
        ["STALL", CASE],
        ["ERROR", "shop.gone"],
    ]


def test_reports_as_json_have_nan_and_infinity_as_text(declared: Any, store: Store) -> None:
    store.reports.post(make_report(test=make_test(test_args=[math.nan, {"a": [math.inf]}, 1.5]), runtime=1.0))
    [printed] = [json.loads(line, parse_constant=pytest.fail) for line in run("reports", "--json").stdout.splitlines()]
    assert printed["test"]["test_args"] == ["nan", {"a": ["inf"]}, 1.5]
    assert printed["runtime"] == 1.0


def test_reports_as_json_are_one_object_per_line(declared: Any, store: Store) -> None:
    play(store, State.FAIL)
    play(store, State.PASS, "id-2")
    reports = [REPORT.validate_json(line) for line in run("reports", "--json").stdout.splitlines()]
    assert [(report.state, report.test.id if report.test else None) for report in reports] == [
        (State.FAIL, "id-1"),
        (State.PASS, "id-2"),
    ]


def test_reports_can_be_limited_to_one_case(declared: Any, store: Store) -> None:
    store.reports.post(make_report(State.STALL, case_name="shop.test_other"))
    store.registry.register("shop.test_other", {"signals": []})
    play(store, State.PASS)
    lines = run("reports", "--case", "test_order").stdout.splitlines()
    assert len(lines) == 1
    assert CASE in lines[0]


def test_unknown_case_is_an_error_with_a_suggestion(declared: Any) -> None:
    result = run("reports", "--case", "test_ordr")
    assert result.exit_code == 2
    assert result.stderr == f"Error: unknown case 'test_ordr'\nHint: did you mean {CASE}?\n"


def test_ambiguous_case_name_is_an_error(declared: Any, store: Store) -> None:
    store.registry.register("billing.test_order", {"signals": []})
    result = run("reports", "--case", "test_order")
    assert (
        result.stderr
        == f"Error: ambiguous case name 'test_order': billing.test_order or {CASE}\nHint: give the full name\n"
    )


def test_follow_shows_each_report_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.registry.register(CASE, {})
    store.reports.post(make_report(State.FAIL, case_name=CASE))
    read = store.reports.latest

    def post_and_read(*args: Any, **kwargs: Any) -> Any:
        store.reports.post(make_report(State.PASS, case_name=CASE))
        return read(*args, **kwargs)

    monkeypatch.setattr(store.reports, "latest", post_and_read)
    tail = Tail(store, None)
    assert [report.state for report in tail.last(10)] == [State.FAIL, State.PASS]
    assert tail.new(0) == []
    store.reports.post(make_report(State.SKIP, case_name=CASE))
    assert [report.state for report in tail.new(0)] == [State.SKIP]
    assert tail.new(0) == []


def test_follow_includes_a_case_registered_later(store: Store) -> None:
    tail = Tail(store, None)
    assert tail.last(10) == []
    store.registry.register(CASE, {})
    store.reports.post(make_report(State.PASS, case_name=CASE))
    assert [report.state for report in tail.new(0)] == [State.PASS]


def test_follow_exits_with_0_at_ctrl_c(declared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tail, "new", interrupted(after=2))
    result = run("reports", "--follow")
    assert (result.exit_code, result.output) == (0, "")


def interrupted(after: int) -> Callable[..., list[Any]]:
    calls = iter(range(after))

    def new(*_: Any) -> list[Any]:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return []

    return new


def test_source_of_an_automatic_signal_is_shown(livecheck: LiveCheck) -> None:
    @livecheck.case(name=CASE)
    class test_order:
        executed: Signal[str] = Signal.from_task("orders.execute")

    assert re.search(r"executed from +task orders\.execute", run("cases").stdout)
