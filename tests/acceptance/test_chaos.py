"""A short chaos run: every test has exactly one verdict although processes and servers are killed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.programs import REPOSITORY, Programs

COMMAND = "python -m chaos --seed 2441 --executions 300 --kills 5 --rate 25 --limit 90"


@pytest.mark.promise(
    "Every execution that was triggered ends in exactly one verdict, whichever processes are killed, while Redis keeps "
    "what it acknowledged.",
    theme="verdicts",
)
def test_each_execution_has_one_verdict_when_processes_are_killed(programs: Programs, tmp_path: Path) -> None:
    chaos = programs.start(COMMAND, cwd=REPOSITORY, TMPDIR=str(tmp_path), COLUMNS="200")
    code = chaos.wait_exit(110.0)
    assert code == 0, chaos.output()
    found = re.search(r"(\d+) executions, (\d+) kills", chaos.output())
    assert found, chaos.output()
    assert int(found[1]) >= 300
    assert int(found[2]) == 5
    assert "0 missing verdicts, 0 duplicate verdicts." in chaos.output()
    assert not list(tmp_path.glob("livecheck-chaos-*"))  # only a failed run keeps its logs
