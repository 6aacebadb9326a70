"""Commands as a user types them, one after the other."""

from __future__ import annotations

from tests.helpers.programs import Program, Programs


class Terminal:
    """Where commands are typed, with ``env`` in their environment; what they say is piped."""

    def __init__(self, programs: Programs, **env: str) -> None:
        self._programs = programs
        self._env = env

    def start(self, command: str, **env: str) -> Program:
        return self._programs.start(command, **{**self._env, **env})

    def run(self, command: str, timeout: float = 30.0, **env: str) -> tuple[int, str]:
        """The exit code of a command, and all it said."""
        program = self.start(command, **env)
        code = program.wait_exit(timeout)
        program.end()
        return code, program.output()

    def lines(self, command: str, **env: str) -> list[str]:
        """What a command that succeeds said."""
        code, output = self.run(command, **env)
        assert code == 0, output
        return output.splitlines()
