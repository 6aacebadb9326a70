"""The commands and the module of docs/from-faust.md, as typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import REPOSITORY, Programs
from tests.helpers.waiting import wait_until

PAGE = (REPOSITORY / "docs" / "from-faust.md").read_text()
COMMANDS = [command for command in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE) if not command.startswith("pip ")]
#: Output of programs that have started.
STARTED = {"worker": " ready.", "beat": "beat: Starting"}
#: Text in the output of the other commands, in their order.
EXPECTED = {"reports": "PASS", "status": "every 5.000 s", "doctor": "livecheck"}


@pytest.mark.promise("A case for `faust.livecheck` runs with other imports, by the commands of its page.", theme="aio")
def test_commands_run_the_case_that_was_moved(programs: Programs, client: Client, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    module = "\n\n".join(re.findall(r"```python\n# parcels\.py\n(.*?)```", PAGE, re.DOTALL))
    (place / "parcels.py").write_text(module.replace("redis://localhost:6379/0", programs.url))
    started = [command for command in COMMANDS if command.startswith("celery ")]
    for command in started:
        [said] = [said for name, said in STARTED.items() if f" {name}" in command]
        programs.start(command, cwd=place).wait_for(said)
    case = client.case("parcels.test_parcel", "parcel_weighed", "label_printed")
    reports = wait_until(lambda: reports_of(case), 30, "a report on a fake request")
    assert {(report.state, report.error) for report in reports} == {(State.PASS, None)}
    typed = [command for command in COMMANDS if command.startswith("livecheck ")]
    assert [command.rpartition(" ")[2] for command in typed] == list(EXPECTED)
    for command, text in zip(typed, EXPECTED.values(), strict=True):
        program = programs.start(command, cwd=place)
        assert program.wait_exit(60) == 0, program.tail()
        assert text in program.output(), program.tail()
    assert len(started) + len(typed) == len(COMMANDS)
