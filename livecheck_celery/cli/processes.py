"""Real processes that end when the block that started them ends.

Each runs in a session of its own: Ctrl-C in a terminal reaches the whole foreground process group, and what is to be
ended in order must not hear it. How they are ended: TERM, a grace of some seconds, then KILL for whoever is left of the
group. Should the supervisor itself be killed, :mod:`livecheck_celery.cli.guard` does it.
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

from livecheck_celery.cli import guard
from livecheck_celery.errors import LiveCheckError

_TAIL: Final = 15
_POLL: Final = 0.05
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessDied(LiveCheckError):
    """A process ended, or was not ready in time; the message has its last lines."""


class Stopped(Exception):
    """Somebody asked for the end: Ctrl-C, SIGTERM, or the terminal went away."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Process:
    """One running child.

    Attributes:
        name: what people call it.
        pid: its process id, and that of its group and session.
        tail: its last lines of output.
        ready: set when a line had the word it was waited for.
    """

    def __init__(self, name: str, popen: subprocess.Popen[str], word: str, show: Callable[[str, str], None]) -> None:
        self.name = name
        self.pid = popen.pid
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.ready = threading.Event()
        self._popen = popen
        self._word = word
        self._show = show
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None  # noqa: S101 - for the type checker
        for line in self._popen.stdout:
            self.tail.append(line.rstrip())
            if self._word in line:
                self.ready.set()
            self._show(self.name, line.rstrip())

    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Ask it to end: its leader only, how its children end is its own business."""
        self._popen.terminate()

    def end(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic) for it to end by itself, then kill what is left of its group."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            guard.kill(self.pid, signal.SIGKILL)
            self._popen.wait()
        guard.kill(self.pid, signal.SIGKILL)  # children that outlived their parent
        self._reader.join(1.0)
        if self._popen.stdout is not None and not self._reader.is_alive():
            self._popen.stdout.close()

    def obituary(self) -> str:
        """How it ended and what it said last."""
        code = self.returncode()
        self._reader.join(1.0)
        how = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}. {self.last_words()}"

    def last_words(self) -> str:
        """Its last lines, indented."""
        return "\n    ".join(["It said last:", *self.tail]) if self.tail else "It said nothing."


class Processes:
    """Starts processes, and ends all of them with the block.

    While the block runs, Ctrl-C, SIGTERM and SIGHUP are held back and reported by :meth:`pause` and :meth:`wait_ready`,
    so that no process is lost between its start and its entry in the list.

    Args:
        show: called with the name and the line for each line of output, in a thread for each process.
        grace: seconds from TERM to KILL.
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
            [sys.executable, "-I", "-S", guard.__file__],
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

    def _tell_guard(self, number: int) -> None:
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
        foundation: bool = False,
    ) -> Process:
        """Start ``command`` and read its output.

        Args:
            name: what people call it.
            command: program and arguments.
            ready: text in the line by which it says that it is ready.
            env: its whole environment; ours if None.
            cwd: its directory; ours if None.
            foundation: whether the others need it to the last, so that it is ended after them.

        Raises:
            ProcessDied: the program cannot be started.
        """
        try:
            popen = subprocess.Popen(  # noqa: S603 - started on behalf of whoever typed the command
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
        self._started.append((process, foundation))
        self._tell_guard(process.pid)
        return process

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until every process said that it is ready.

        Raises:
            ProcessDied: one ended, or was not ready within ``timeout`` seconds.
            Stopped: somebody asked for the end.
        """
        deadline = time.monotonic() + timeout
        while late := [process for process, _ in self._started if not process.ready.is_set()]:
            if time.monotonic() > deadline:
                raise ProcessDied(f"{late[0].name} was not ready within {timeout:g} s. {late[0].last_words()}")
            self.pause(_POLL)

    def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass.

        Raises:
            ProcessDied: a process ended.
            Stopped: somebody asked for the end.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self._signum is not None:
                raise Stopped(self._signum)
            for process, _ in self._started:
                if process.returncode() is not None:
                    raise ProcessDied(process.obituary())
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_POLL, left))

    def end(self) -> None:
        """End them all, foundations last, and return when none is left."""
        for foundation in (False, True):
            ending = [process for process, is_foundation in self._started if is_foundation == foundation]
            for process in ending:
                process.terminate()
            deadline = time.monotonic() + self._grace
            for process in ending:
                process.end(deadline)
                self._tell_guard(-process.pid)
        self._started.clear()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
