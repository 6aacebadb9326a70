"""Commands as a user types them, run as real processes, and what they leave behind."""

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


def running(pid: int) -> bool:
    """Whether the process lives; a zombie that its parent has not reaped yet does not."""
    try:
        os.kill(pid, 0)
        return not Path("/proc/self").exists() or _state(pid) != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Typed:
    """One command while it runs, and all processes that come of it; they are known by their directory, ``cwd``.

    Attributes:
        process: the command itself.
        output: what it has said so far, errors included.
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

    def says(self, text: str, timeout: float = 40.0) -> None:
        """Wait until it has said ``text``."""
        wait_until(
            lambda: text in self.output or self.process.poll() is not None, timeout, f"{text!r} in:\n{self.output}"
        )
        assert text in self.output

    def ends(self, timeout: float = 60.0) -> int:
        """Wait until it ended; its exit code."""
        code = self.process.wait(timeout)
        self._reader.join(10)
        return code

    def press_ctrl_c(self) -> None:
        """As a terminal does: to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> dict[int, str]:
        """Every live process in the command's directory, by id, with its command line; itself included."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                inside = str((directory / "cwd").readlink()).startswith(self._directory)
                if inside and running(int(directory.name)):
                    found[int(directory.name)] = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def pid_of(self, words: str) -> int:
        """Id of the one process whose command line has ``words``."""
        (pid,) = [pid for pid, command in self.processes().items() if words in command]
        return pid


@contextmanager
def typed(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Typed]:
    """Run ``command``; whatever is left of it after the block is killed, after the test has had its say."""
    one = Typed(*command, cwd=cwd, env=env)
    try:
        yield one
    finally:
        for pid in one.processes():
            os.kill(pid, signal.SIGKILL)
        one.ends()
