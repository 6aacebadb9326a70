"""The supervisor: no process outlives the supervisor that started it."""
# ruff: noqa: PT012 - these tests are about how the block is left

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from livecheck_celery.cli.processes import Process, ProcessDied, Processes, Stopped
from tests.helpers.commands import is_running
from tests.helpers.waiting import wait_until

READY = "print('ready', flush=True)"
WAIT = "import signal; signal.pause()"


def python(*statements: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(statements)]


def start_pausing(processes: Processes, name: str = "child") -> Process:
    process = processes.start(name, python(READY, WAIT), ready="ready")
    processes.wait_ready()
    return process


def test_children_exit_with_the_block() -> None:
    with Processes() as processes:
        pids = [start_pausing(processes, name).pid for name in ("one", "two")]
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)


def test_children_exit_after_an_error_in_the_block() -> None:
    with pytest.raises(ZeroDivisionError), Processes() as processes:
        pid = start_pausing(processes).pid
        raise ZeroDivisionError
    assert not is_running(pid)


def test_each_child_has_its_own_session() -> None:
    with Processes() as processes:
        pid = start_pausing(processes).pid
        assert os.getsid(pid) == os.getpgid(pid) == pid


def test_child_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with Processes(grace=0.2) as processes:
        process = processes.start("child", python(ignore, READY, WAIT), ready="ready")
        processes.wait_ready()
    assert process.returncode() == -signal.SIGKILL


def test_grandchild_is_killed_with_its_parent() -> None:
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
        assert is_running(grandchild)
    wait_until(lambda: not is_running(grandchild), what="the grandchild to exit")


def test_process_with_stop_last_is_ended_after_the_others() -> None:
    output: list[str] = []
    say_goodbye = python(
        "import os, signal, sys",
        "def end(*_):",
        "    os.write(1, b'goodbye\\n')  # print() is not for signal handlers",
        "    sys.exit()",
        "signal.signal(signal.SIGTERM, end)",
        READY,
        "signal.pause()",
    )
    with Processes(lambda name, line: output.append(f"{name}: {line}")) as processes:
        processes.start("server", say_goodbye, ready="ready", stop_last=True)
        processes.start("client", say_goodbye, ready="ready")
        processes.wait_ready()
    assert output[-2:] == ["client: goodbye", "server: goodbye"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_raises_stopped_and_the_children_exit(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stopped, Processes() as processes:
        pid = start_pausing(processes).pid
        os.kill(os.getpid(), signum)
        processes.pause(30)
    assert stopped.value.signum == signum
    assert not is_running(pid)
    assert signal.getsignal(signum) is before


def test_second_ctrl_c_does_not_interrupt_the_shutdown() -> None:
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('ending', flush=True))"

    def interrupt_again(_name: str, line: str) -> None:
        if line == "ending":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped), Processes(interrupt_again, grace=0.3) as processes:
        pid = processes.start("slow", python(slow, READY, "while True: signal.pause()"), ready="ready").pid
        processes.wait_ready()
        os.kill(os.getpid(), signal.SIGINT)
        processes.pause(30)
    assert not is_running(pid)


def test_child_that_exits_before_it_is_ready_is_reported_with_its_output() -> None:
    with pytest.raises(ProcessDied) as died, Processes() as processes:
        processes.start("web", python("print('port in use')", "raise SystemExit(3)"), ready="never")
        processes.wait_ready()
    assert "web exited with code 3" in str(died.value)
    assert "port in use" in str(died.value)


def test_child_that_exits_later_is_reported() -> None:
    with pytest.raises(ProcessDied, match="child was killed by SIGKILL"), Processes() as processes:
        os.kill(start_pausing(processes).pid, signal.SIGKILL)
        processes.pause(30)


def test_child_that_is_never_ready_is_reported_and_ended() -> None:
    with pytest.raises(ProcessDied, match=r"mute was not ready within 0\.2 s"), Processes() as processes:
        pid = processes.start("mute", python(WAIT), ready="ready").pid
        processes.wait_ready(timeout=0.2)
    assert not is_running(pid)


def test_missing_program_is_named() -> None:
    with pytest.raises(ProcessDied, match=r"web cannot be started.*no-such-program"), Processes() as processes:
        processes.start("web", ["no-such-program"], ready="")


def test_children_exit_if_the_supervisor_is_killed() -> None:
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
        assert is_running(child)
        supervisor.kill()
    wait_until(lambda: not is_running(child), what="the child to exit")
