"""The supervisor: whatever it started is gone afterwards."""
# ruff: noqa: PT012 - how the block is left is what these tests are about

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from livecheck_celery.cli.processes import Process, ProcessDied, Processes, Stopped
from tests.helpers.commands import running
from tests.helpers.waiting import wait_until

READY = "print('ready', flush=True)"
WAIT = "import signal; signal.pause()"


def python(*statements: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(statements)]


def start_pausing(processes: Processes, name: str = "child") -> Process:
    process = processes.start(name, python(READY, WAIT), ready="ready")
    processes.wait_ready()
    return process


def test_children_are_gone_after_the_block() -> None:
    with Processes() as processes:
        pids = [start_pausing(processes, name).pid for name in ("one", "two")]
        assert all(running(pid) for pid in pids)
    assert not any(running(pid) for pid in pids)


def test_children_are_gone_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), Processes() as processes:
        pid = start_pausing(processes).pid
        raise ZeroDivisionError
    assert not running(pid)


def test_each_child_has_a_session_of_its_own() -> None:
    with Processes() as processes:
        pid = start_pausing(processes).pid
        assert os.getsid(pid) == os.getpgid(pid) == pid


def test_a_child_that_ignores_term_is_killed_after_the_grace() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with Processes(grace=0.2) as processes:
        process = processes.start("deaf", python(deaf, READY, WAIT), ready="ready")
        processes.wait_ready()
    assert process.returncode() == -signal.SIGKILL


def test_a_grandchild_goes_with_its_parent() -> None:
    family = python(
        "import subprocess, sys",
        f"child = subprocess.Popen({python(WAIT)!r})",
        "print('ready', child.pid, flush=True)",
        WAIT,
    )
    with Processes() as processes:
        process = processes.start("parent", family, ready="ready")
        processes.wait_ready()
        grandchild = int(process.tail[-1].split()[1])
        assert running(grandchild)
    wait_until(lambda: not running(grandchild), what="the grandchild is gone")


def test_foundations_end_last() -> None:
    told: list[str] = []
    say_goodbye = python(
        "import signal, sys",
        "def end(*_):",
        "    print('goodbye', flush=True)",
        "    sys.exit()",
        "signal.signal(signal.SIGTERM, end)",
        READY,
        "signal.pause()",
    )
    with Processes(lambda name, line: told.append(f"{name}: {line}")) as processes:
        processes.start("ground", say_goodbye, ready="ready", foundation=True)
        processes.start("house", say_goodbye, ready="ready")
        processes.wait_ready()
    assert told[-2:] == ["house: goodbye", "ground: goodbye"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_reported_and_the_children_are_gone(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stopped, Processes() as processes:
        pid = start_pausing(processes).pid
        os.kill(os.getpid(), signum)
        processes.pause(30)
    assert stopped.value.signum == signum
    assert not running(pid)
    assert signal.getsignal(signum) is before


def test_a_second_ctrl_c_does_not_interrupt_the_ending() -> None:
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('ending', flush=True))"

    def interrupt_again(_name: str, line: str) -> None:
        if line == "ending":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped), Processes(interrupt_again, grace=0.3) as processes:
        pid = processes.start("slow", python(slow, READY, "while True: signal.pause()"), ready="ready").pid
        processes.wait_ready()
        os.kill(os.getpid(), signal.SIGINT)
        processes.pause(30)
    assert not running(pid)


def test_a_child_that_dies_early_is_reported_with_its_last_lines() -> None:
    with pytest.raises(ProcessDied) as died, Processes() as processes:
        processes.start("web", python("print('port in use')", "raise SystemExit(3)"), ready="never")
        processes.wait_ready()
    assert "web ended with exit code 3" in str(died.value)
    assert "port in use" in str(died.value)


def test_a_child_that_dies_later_is_reported() -> None:
    with pytest.raises(ProcessDied, match="child was ended by SIGKILL"), Processes() as processes:
        os.kill(start_pausing(processes).pid, signal.SIGKILL)
        processes.pause(30)


def test_a_child_that_is_never_ready_is_reported_and_ended() -> None:
    with pytest.raises(ProcessDied, match=r"mute was not ready within 0\.2 s"), Processes() as processes:
        pid = processes.start("mute", python(WAIT), ready="ready").pid
        processes.wait_ready(timeout=0.2)
    assert not running(pid)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProcessDied, match=r"web cannot be started.*no-such-program"), Processes() as processes:
        processes.start("web", ["no-such-program"], ready="")


def test_children_are_gone_when_the_supervisor_itself_is_killed() -> None:
    script = textwrap.dedent(f"""
        from livecheck_celery.cli.processes import Processes
        with Processes() as processes:
            child = processes.start("child", {python(READY, WAIT)!r}, ready="ready")
            processes.wait_ready()
            print(child.pid, flush=True)
            processes.pause(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        assert running(child)
        supervisor.kill()
    wait_until(lambda: not running(child), what="the child is gone")
