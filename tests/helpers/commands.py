"""A command run as a real process, and the processes it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.waiting import wait_until

BIN = Path(sys.executable).parent


def is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
        return not Path("/proc/self").exists() or _state(pid) != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Command:
    """A running command, whose child processes are recognised by their working directory ``cwd``.

    Attributes:
        process: the command itself.
        output: its output so far, standard error included.
    """

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._directory = str(cwd)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVECHECK_", "CELERY_"))}
        self.process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=cwd,
            env={**kept, **(env or {}), "TMPDIR": str(cwd), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.output += line

    def wait_for(self, text: str, timeout: float = 40.0) -> None:
        """Wait until the output contains ``text``."""
        wait_until(
            lambda: text in self.output or self.process.poll() is not None, timeout, f"{text!r} in:\n{self.output}"
        )
        assert text in self.output

    def wait_exit(self, timeout: float = 60.0) -> int:
        """Wait for the command to exit; returns its exit code."""
        code = self.process.wait(timeout)
        self._reader.join(10)
        return code

    def press_ctrl_c(self) -> None:
        """Send SIGINT to the foreground process group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> dict[int, str]:
        """Return the command lines, by id, of all running processes in ``cwd``, the command itself included."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                inside = str((directory / "cwd").readlink()).startswith(self._directory)
                if inside and is_running(int(directory.name)):
                    found[int(directory.name)] = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def pid_of(self, words: str) -> int:
        """Return the id of the only process whose command line contains ``words``."""
        (pid,) = [pid for pid, command in self.processes().items() if words in command]
        return pid


@contextmanager
def run_command(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Command]:
    """Run ``command`` while the block runs, then kill all processes that are left."""
    running = Command(*command, cwd=cwd, env=env)
    try:
        yield running
    finally:
        for pid in running.processes():
            os.kill(pid, signal.SIGKILL)
        running.wait_exit()
