"""Run programs for acceptance tests, with the command lines that users type."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
APPS = REPOSITORY / "tests" / "acceptance" / "apps"

_GRACE = 10.0
_TAIL = 3_000
#: Variables of the tests' own environment that programs must not inherit.
_OURS = re.compile(r"(LIVECHECK|CELERY|PYTHON)")

#: Running programs, whose output is shown when a test fails.
running: list[Program] = []


class Program:
    """One program, in its own session; its output goes to a file."""

    def __init__(self, command: str, *, cwd: Path, env: dict[str, str], log: Path) -> None:
        self.command = command
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                shlex.split(command),
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        running.append(self)

    def output(self) -> str:
        """Return its output so far."""
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        """Return its command and the end of its output."""
        return f"$ {self.command}\n{self.output()[-_TAIL:]}"

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, text: str, timeout: float = 30.0, count: int = 1) -> None:
        """Wait until its output has ``text`` ``count`` times; fail at once if the program exits before."""

        def found() -> bool:
            exited = not self.is_running()
            if self.output().count(text) >= count:
                return True
            assert not exited, f"exited before it printed {text!r}:\n{self.tail()}"
            return False

        try:
            wait_until(found, timeout, text)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.tail()}") from None

    def wait_exit(self, timeout: float = 30.0) -> int:
        """Wait until the program exits; return its exit code."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.tail()}") from None

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def freeze(self) -> None:
        """Send SIGSTOP to the program and its children."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT to the program and its children."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to the program and its children, and wait until they are gone."""
        if _members(self.pid):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_GRACE)
        wait_until(lambda: not _members(self.pid), _GRACE, f"the exit of {self.command}")

    def end(self) -> None:
        """Send SIGTERM; after ten seconds, kill what still runs."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self.kill()
        running.remove(self)


class Programs:
    """Starts programs in one directory, which has the shipped ``celeryconfig.py``, and ends them all."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        (directory / "celeryconfig.py").symlink_to(REPOSITORY / "celeryconfig.py")
        # Otherwise gunicorn creates a socket in the user's home.
        (directory / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
        self._env = {
            "PYTHONPATH": os.pathsep.join([str(APPS), str(REPOSITORY)]),
            "LIVECHECK_BROKER_URL": url,
            "SHOP_URL": url,
            "LIVECHECK_SHUTDOWN_TIMEOUT": "0.2",  # otherwise each test would wait for the grace period of its workers
        }
        self._started: list[Program] = []

    def start(self, command: str, *, cwd: Path | None = None, **env: str) -> Program:
        """Start ``command`` in the directory, or in ``cwd``, with ``env`` added to its environment."""
        inherited = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
        inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]])
        program = Program(
            command,
            cwd=cwd or self.directory,
            env={**inherited, **self._env, **env},
            log=self.directory / f"{len(self._started)}.log",
        )
        self._started.append(program)
        return program

    def start_worker(self, command: str, *, cwd: Path | None = None, **env: str) -> Program:
        """Start a worker and wait until it is ready."""
        program = self.start(f"{command} -l INFO --without-mingle", cwd=cwd, **env)
        program.wait_for(" ready.")
        return program

    def end(self) -> None:
        """End all programs."""
        for program in self._started:
            if program in running:
                program.terminate()
        for program in self._started:
            if program in running:
                program.end()


def require_program(program: str | None, package: str) -> str:
    """Return ``program``; if it is None, skip the test, or fail it in CI, and name the Debian ``package``."""
    if program is None:
        message = f"{package} is not installed; on Debian: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def copy_config(directory: Path, **changed: object) -> Path:
    """Create ``directory`` with a copy of ``celeryconfig.py`` in which some settings are changed."""
    text = (REPOSITORY / "celeryconfig.py").read_text()
    for name, value in changed.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert count == 1, f"celeryconfig.py sets {name} {count} times"
    directory.mkdir()
    (directory / "celeryconfig.py").write_text(text)
    return directory


def _members(group: int) -> list[int]:
    """Return the ids of the processes in a process group, without zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found
