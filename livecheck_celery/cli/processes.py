"""Child processes that end with the block that started them.

Each child runs in a session of its own, because a terminal sends Ctrl-C to the whole foreground process group, and the
children must be ended in order. A child gets SIGTERM, and after a grace period its process group gets SIGKILL. If the
supervisor itself is killed, :mod:`livecheck_celery.cli.process_guard` ends the children.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from livecheck_celery.cli import process_guard
from livecheck_celery.errors import LiveCheckError

_TAIL: Final = 15  # lines
_POLL: Final = 0.05  # seconds
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessDied(LiveCheckError):
    """A process exited, or was not ready in time; the message contains its last lines of output."""


class Stopped(Exception):
    """A signal requested the end: SIGINT (Ctrl-C), SIGTERM, or SIGHUP.

    Attributes:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Process:
    """One running child.

    Attributes:
        name: name in messages.
        pid: id of the process, its group and its session.
        tail: last lines of its output.
        ready: set when the output has contained the text that marks the process as ready.
    """

    def __init__(self, name: str, popen: subprocess.Popen[str], ready: str, show: Callable[[str, str], None]) -> None:
        self.name = name
        self.pid = popen.pid
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.ready = threading.Event()
        self._popen = popen
        self._ready_text = ready
        self._show = show
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None  # noqa: S101 - for the type checker
        for line in self._popen.stdout:
            self.tail.append(line.rstrip())
            if self._ready_text in line:
                self.ready.set()
            self._show(self.name, line.rstrip())

    def returncode(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Send SIGTERM to the process; it ends its own children."""
        self._popen.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the process to exit until ``deadline`` (monotonic), then kill what is left of its group."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process_guard.kill(self.pid, signal.SIGKILL)
            self._popen.wait()
        process_guard.kill(self.pid, signal.SIGKILL)  # children that outlived their parent
        self._reader.join(1.0)
        if self._popen.stdout is not None and not self._reader.is_alive():
            self._popen.stdout.close()

    def exit_message(self) -> str:
        """Format how the process exited, with its last lines of output."""
        code = self.returncode()
        self._reader.join(1.0)
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"exited with code {code}"
        return f"{self.name} {how}. {self.last_output()}"

    def last_output(self) -> str:
        """Return the last lines of output, indented."""
        return "\n    ".join(["Last output:", *self.tail]) if self.tail else "It printed no output."


class Processes:
    """Start processes, and end all of them at the end of the block.

    Inside the block, SIGINT, SIGTERM and SIGHUP are deferred: :meth:`pause` and :meth:`wait_ready` raise `Stopped`.
    So no signal arrives between the start of a process and its registration.

    Args:
        show: called with the name of the process and the line, for each line of output; each process has a thread.
        grace: seconds from SIGTERM to SIGKILL.
    """

    def __init__(self, show: Callable[[str, str], None] = lambda _name, _line: None, *, grace: float = 5.0) -> None:
        self._show = show
        self._grace = grace
        self._started: list[tuple[Process, bool]] = []
        self._signum: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {signum: signal.signal(signum, self._stop) for signum in _SIGNALS}
        self._guard = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", process_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.end()
        finally:
            assert self._guard.stdin is not None  # noqa: S101 - for the type checker
            self._guard.stdin.close()
            self._guard.wait()
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        self._signum = signum

    def _send_to_guard(self, number: int) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - for the type checker
        self._guard.stdin.write(f"{number}\n")
        self._guard.stdin.flush()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_last: bool = False,
    ) -> Process:
        """Start ``command`` and read its output.

        Args:
            name: name in messages.
            command: program and arguments.
            ready: text in the line of output that marks the process as ready.
            env: the complete environment; inherited if None.
            cwd: the working directory; inherited if None.
            stop_last: end this process after all others, which depend on it.

        Raises:
            ProcessDied: the program cannot be started.
        """
        try:
            popen = subprocess.Popen(  # noqa: S603 - a command of this package
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        except OSError as exc:
            raise ProcessDied(f"{name} cannot be started: {exc}") from exc
        process = Process(name, popen, ready, self._show)
        self._started.append((process, stop_last))
        self._send_to_guard(process.pid)
        return process

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until every process is ready.

        Raises:
            ProcessDied: a process exited, or was not ready within ``timeout`` seconds.
            Stopped: a signal requested the end.
        """
        deadline = time.monotonic() + timeout
        while late := [process for process, _ in self._started if not process.ready.is_set()]:
            if time.monotonic() > deadline:
                raise ProcessDied(f"{late[0].name} was not ready within {timeout:g} s. {late[0].last_output()}")
            self.pause(_POLL)

    def pause(self, seconds: float) -> None:
        """Sleep for ``seconds`` while all processes run.

        Raises:
            ProcessDied: a process exited.
            Stopped: a signal requested the end.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self._signum is not None:
                raise Stopped(self._signum)
            for process, _ in self._started:
                if process.returncode() is not None:
                    raise ProcessDied(process.exit_message())
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_POLL, left))

    def end(self) -> None:
        """End all processes, those with ``stop_last`` last; return when all have exited."""
        for last in (False, True):
            ending = [process for process, stop_last in self._started if stop_last == last]
            for process in ending:
                process.terminate()
            deadline = time.monotonic() + self._grace
            for process in ending:
                process.end(deadline)
                self._send_to_guard(-process.pid)
        self._started.clear()


def free_port() -> int:
    """Return a TCP port of this machine that is not in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
