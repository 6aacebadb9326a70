"""The stored results, and the page of the documentation that has their table."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import SUITE
from benchmarks.measuring import Row, Target
from benchmarks.report import BEGIN, END, LATEST, PAGE, machine, markdown, read, with_table, write

FOLDER = PAGE.parents[1] / "benchmarks"
#: Modules that are programs, and have tables of their own in the docs.
OTHERS = {"outage", "outage_client", "scale", "worker_memory"}


def result(what: str, value: float) -> dict[str, object]:
    row = Row.alone(what, what, [value], unit="s", target=Target(2, of_value=True))
    fields = {"at": "2030-01-01 12:00 UTC", "quick": False, "seconds": 60.0, "load": 0.5, "versions": {"python": "3"}}
    return {**fields, "rows": [row.as_json()]}


def test_every_benchmark_is_part_of_the_suite() -> None:
    programs = {path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert programs - OTHERS - {"__main__"} == set(SUITE)


@pytest.mark.parametrize("name", SUITE)
def test_every_benchmark_has_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in said
    assert "--quick" in said
    assert "\nMeasure " in said or "\nCompare " in said


@pytest.mark.parametrize("name", SUITE)
def test_every_benchmark_is_in_the_tables_of_the_page(name: str) -> None:
    assert PAGE.read_text().count(f"\n| `{name}` |") == 2, f"run: make bench ARGS={name}"


def test_table_of_the_page_is_that_of_the_stored_results() -> None:
    page = PAGE.read_text()
    assert with_table(page, markdown(read(LATEST))) == page


def test_results_of_other_benchmarks_are_kept(tmp_path: Path) -> None:
    stored, page = tmp_path / "results" / "latest.json", tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write({"second": result("two", 2.5)}, ("first", "second"), stored, page)
    write({"first": result("one", 1.0)}, ("first", "second"), stored, page)
    assert list(json.loads(stored.read_text())["benchmarks"]) == ["first", "second"]
    text = page.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text
    assert "| `first` | one | 1 s |" in text
    assert "| `second` | two | 2.5 s |" in text
    assert "Targets reached: 1 of 2." in text


def test_results_of_another_machine_are_dropped(tmp_path: Path) -> None:
    stored, page = tmp_path / "latest.json", tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    stored.write_text(json.dumps({"machine": {**machine(), "cores": 999}, "benchmarks": {"first": result("one", 1.0)}}))
    write({"second": result("two", 2.5)}, ("first", "second"), stored, page)
    assert list(json.loads(stored.read_text())["benchmarks"]) == ["second"]


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        with_table("a page", "a table")
