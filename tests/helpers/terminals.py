"""Commands that run one after the other in one environment, and a screen for what they print at a terminal."""

from __future__ import annotations

import io
import shlex

from rich.text import Text

from tests.helpers.programs import Program, Programs

#: Runs a command in a pseudo-terminal that is sys.argv[1] columns wide.
_PTY = """
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if not pid:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
    os.environ.pop("COLUMNS", None)  # would take precedence
    os.execvp(sys.argv[2], sys.argv[2:])
try:
    while output := os.read(terminal, 4096):
        os.write(1, output)
except OSError:
    pass  # the command has closed the terminal
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


class Terminal:
    """Runs commands, with ``env`` in their environment and their output in a pipe."""

    def __init__(self, programs: Programs, **env: str) -> None:
        self._programs = programs
        self._env = env

    def start(self, command: str, **env: str) -> Program:
        """Start a command and return at once."""
        return self._programs.start(command, **{**self._env, **env})

    def run(self, command: str, timeout: float = 30.0, **env: str) -> tuple[int, str]:
        """Run a command; returns its exit code and output."""
        program = self.start(command, **env)
        code = program.wait_exit(timeout)
        program.end()
        return code, program.output()

    def lines(self, command: str, **env: str) -> list[str]:
        """Run a command that must exit with 0; returns its lines of output."""
        code, output = self.run(command, **env)
        assert code == 0, output
        return output.splitlines()

    def screen(self, command: str, columns: int) -> list[str]:
        """Run a command in a pseudo-terminal of that width; returns its lines with colours."""
        return self.lines(f"python -c {shlex.quote(_PTY)} {columns} {command}", TERM="xterm-256color")


class Screen(io.StringIO):
    """Receives what is printed at a terminal."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Return the printed lines without colours and trailing spaces."""
        return [Text.from_ansi(line).plain.rstrip() for line in self.getvalue().splitlines()]
