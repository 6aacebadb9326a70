"""Each command with a worker and beat running."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from rich.text import Text

from tests.helpers.programs import Programs
from tests.helpers.terminals import Terminal
from tests.helpers.waiting import wait_until

WORKER = "worker -Q livecheck,livecheck.schedule -P threads -c 10 -l info"
COMMANDS = ["livecheck -A desk", "celery -A desk livecheck"]

both = pytest.mark.parametrize("livecheck", COMMANDS, ids=["livecheck", "celery"])


@pytest.fixture(scope="module")
def desk(shared_programs: Programs) -> Terminal:
    """A terminal; a worker and beat are running."""
    desk = Terminal(shared_programs)
    desk.start("celery -A desk beat")
    desk.start(f"celery -A desk {WORKER} -n tests@%h").wait_for(" ready.")
    wait_until(lambda: desk.run("livecheck -A desk doctor")[0] == 0, 30, "beat and the worker to be alive")
    return desk


@both
def test_trigger_waits_for_the_verdict_and_sets_the_exit_code(desk: Terminal, livecheck: str) -> None:
    code, output = desk.run(f"{livecheck} trigger test_order 42 -k side=sell --wait")
    assert code == 0, output
    ident, verdict = output.splitlines()
    assert ident.startswith("desk.test_order:")
    assert re.fullmatch(r"PASS in 0\.\d+ s", verdict)
    code, output = desk.run(f"{livecheck} trigger test_order 42 buy --wait")
    assert code == 1
    assert re.search(
        r"^FAIL in 0\.\d+ s: the side is buy \(desk.py:\d+\)(, where side = 'buy')?$", output, re.MULTILINE
    )
    code, output = desk.run(f"{livecheck} trigger desk.test_payment --wait --timeout 20s")
    assert code == 1
    assert re.search(
        r"^TIMEOUT in \d\.\d+ s: signal paid \(1 of 1\) did not arrive within 0\.1 s", output, re.MULTILINE
    )
    assert "  paid: did not arrive\n" in output


def test_status_counts_verdicts(desk: Terminal) -> None:
    desk.lines("livecheck -A desk trigger test_order 1 --wait")
    header, order, payment = desk.lines("livecheck -A desk status")
    assert header.startswith("CASE ")
    assert re.match(r"desk\.test_order +PASS +25% +PASS \d+", order)
    assert payment.startswith("desk.test_payment ")
    assert "\x1b" not in order
    assert not re.search("[│─┃━]", header + order)
    cases = json.loads("\n".join(desk.lines("livecheck -A desk status --json")))["cases"]
    assert [case["name"] for case in cases] == ["desk.test_order", "desk.test_payment"]
    assert cases[0]["total_by_state"]["PASS"] >= 1
    assert cases[0]["runtime_avg"] < 1


def test_cases_lists_signals_and_settings(desk: Terminal) -> None:
    lines = [line.split() for line in desk.lines("livecheck -A desk cases")]
    assert lines[0] == ["desk.test_order"]
    assert ["probability", "0.25"] in lines
    assert ["signals", "paid"] in lines


def test_reports_as_json_are_one_object_per_line(desk: Terminal) -> None:
    _, output = desk.run("livecheck -A desk trigger test_order 1 buy --wait")
    ident = output.splitlines()[0]
    [line] = desk.lines("livecheck -A desk reports -n 1 --case test_order --json")
    report = json.loads(line)
    assert report["state"] == "FAIL"
    assert f"{report['case_name']}:{report['test']['id']}" == ident
    [line] = desk.lines("livecheck -A desk reports -n 1 --case test_order")
    assert line.endswith(f"  {report['error']}")


@both
def test_follow_prints_new_reports_and_exits_with_0_at_ctrl_c(desk: Terminal, livecheck: str) -> None:
    follower = desk.start(f"{livecheck} reports -n 5 --follow --json")
    ident = f"followed-{livecheck.split(maxsplit=1)[0]}"
    desk.lines(f"livecheck -A desk trigger test_order 1 --id {ident}-1 --wait")
    follower.wait_for(f'"{ident}-1"')
    desk.lines(f"livecheck -A desk trigger test_order 1 --id {ident}-2 --wait")
    follower.wait_for(f'"{ident}-2"')
    os.kill(follower.pid, signal.SIGINT)
    assert follower.wait_exit() == 0
    assert all(json.loads(line) for line in follower.output().splitlines())
    follower.end()


def test_doctor_finds_no_errors(desk: Terminal) -> None:
    # The oldest versions of requests and idna that are accepted have known vulnerabilities.
    lines = [line for line in desk.lines("livecheck -A desk doctor") if not line.startswith("warn   packages ")]
    levels = {line.split()[1]: line.split()[0] for line in lines}
    assert {subject for subject, level in levels.items() if level != "ok"} == {"storage", "http"}
    assert levels["storage"] == levels["http"] == "warn", "the server keeps nothing, and there is no secret_key"
    assert len(lines) == 12
    assert sum("consumed by tests@" in line for line in lines) == 2
    assert any("Valkey 9" in line for line in lines)
    assert lines[-3].startswith("warn   http        secret_key is not set: no test is sent or accepted over HTTP; ")
    assert lines[-2] == "ok     outbox      nothing dropped or ignored in the last day"
    assert lines[-1] == "ok     data        every value in Redis can be read"


def test_doctor_finds_an_unsuitable_worker(desk: Terminal) -> None:
    host = desk.start("celery -A desk worker -Q celery,livecheck -P prefork -c 1 -l info -n host@%h")
    try:
        host.wait_for(" ready.")
        code, output = desk.run("livecheck -A desk doctor")
    finally:
        host.end()
    assert code == 0, "it runs tests"
    assert re.search(
        r"^warn +worker +host@\S+ also consumes celery,.*; start .*: celery -A desk worker", output, re.MULTILINE
    )
    assert re.search(r"^warn +worker +host@\S+ runs tests in a prefork pool,.*-P threads", output, re.MULTILINE)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_tables_at_a_terminal_are_coloured_and_as_wide_as_the_terminal(desk: Terminal, columns: int) -> None:
    desk.lines("livecheck -A desk trigger test_order 1 --wait")
    desk.run("livecheck -A desk trigger test_order 1 buy --wait")
    header, rule, order, payment = desk.screen("livecheck -A desk status", columns)
    assert "───" in rule
    assert "\x1b[32mPASS" in order + desk.screen("livecheck -A desk reports", columns)[-2]
    if columns != 120:  # there it depends on the length of the ages
        assert ("LATENCY" in header) == (columns == 200)
    assert "desk.test_payment" in payment
    failed = desk.screen("livecheck -A desk reports -n 1", columns)
    assert len(failed) == 1
    assert "the side is buy" in failed[0]
    assert ("…" in failed[0]) == (columns < 200)
    for line in (header, rule, order, payment, *failed):
        assert Text.from_ansi(line).cell_len <= columns


@pytest.mark.parametrize("prefix", ["livecheck", "celery livecheck"])
def test_commands_without_an_app_read_the_cases_of_the_workers_from_redis(desk: Terminal, prefix: str) -> None:
    desk.lines("livecheck -A desk trigger test_order 1 --wait")
    assert any(line.startswith("desk.test_order ") for line in desk.lines(f"{prefix} status"))
    assert "desk.test_payment" in desk.lines(f"{prefix} cases")
    assert desk.lines(f"{prefix} reports -n 1")
    code, output = desk.run(f"{prefix} trigger test_order 1")
    assert code == 2
    assert output.startswith("Error: no case is declared in this process\nHint: ")


@pytest.mark.promise("The examples in the help of every command run.", theme="tools")
@pytest.mark.parametrize("command", ["", "status", "reports", "cases", "trigger", "doctor", "override"])
def test_examples_in_the_help_run(desk: Terminal, command: str) -> None:
    text = "\n".join(desk.lines(f"livecheck {command} --help"))
    examples = re.findall(r"^    (.*-A shop.*)$", text.partition("Examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        if "--follow" not in example:
            desk.lines(f"env LIVECHECK_SECRET_KEY={'k' * 32} {example.replace('shop', 'desk')}")
