"""Each line of the threat model names settings that exist, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livecheck_celery.config import CaseSettings, Settings

ROOT = Path(__file__).parents[3]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "security.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| can |", "| --- "))
]


@pytest.mark.promise("Each threat of the threat model has a test.", theme="docs")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:30] or row[1][:30])
def test_line_of_the_threat_model_names_a_setting_and_a_test(row: list[str]) -> None:
    _, _, setting, shown_by = row
    names = set(re.findall(r"`(\w+)`", setting.partition(", with the user")[0]))
    assert names <= Settings.model_fields.keys() | CaseSettings.model_fields.keys()
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
    assert tests
    assert [test for file, test in tests if f"def {test}(" not in (ROOT / file).read_text()] == []


def test_every_threat_has_lines() -> None:
    assert len(ROWS) > 20
