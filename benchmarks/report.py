"""The results of all benchmarks: ``results/latest.json``, and the table in ``docs/performance.md``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import COLUMNS, Row

ROOT: Final = Path(__file__).parents[1]
LATEST: Final = ROOT / "benchmarks" / "results" / "latest.json"
PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- generated: make bench -->"
END: Final = "<!-- end of make bench -->"

#: Results by the name of their benchmark.
Results = dict[str, Any]


def read(path: Path = LATEST) -> dict[str, Any]:
    """Return the stored results; empty ones if there are none."""
    if path.exists():
        stored: dict[str, Any] = json.loads(path.read_text())
        return stored
    return {"machine": machine(), "benchmarks": {}}


def write(results: Results, suite: Sequence[str], path: Path = LATEST, page: Path = PAGE) -> None:
    """Store the results of this machine, replacing those of the same benchmarks, and write the table."""
    stored = read(path)
    kept = stored["benchmarks"] if stored["machine"] == machine() else {}
    merged = {**kept, **results}
    stored = {"machine": machine(), "benchmarks": {name: merged[name] for name in suite if name in merged}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(stored, indent=2) + "\n")
    page.write_text(with_table(page.read_text(), markdown(stored)))


def machine() -> dict[str, Any]:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown(stored: Mapping[str, Any]) -> str:
    """Return the stored results as Markdown: the machine, the versions, and a table of all rows."""
    lines = [*_head(stored), "", *_line(("benchmark", *COLUMNS)), *_line(("---",) * (len(COLUMNS) + 1))]
    for name, result in stored["benchmarks"].items():
        for index, row in enumerate(result["rows"]):
            first = f"`{name}`" + (", quick" if result["quick"] else "") if index == 0 else ""
            lines += _line((first, *Row.from_json(row).cells()))
    return "\n".join(lines)


def _head(stored: Mapping[str, Any]) -> list[str]:
    results, about = stored["benchmarks"].values(), stored["machine"]
    versions = {name: value for result in results for name, value in result["versions"].items()}
    named = ", ".join(f"{name} {value}" for name, value in versions.items())
    times = sorted(result["at"] for result in results)
    seconds = sum(result["seconds"] for result in results)
    load = max((result["load"] for result in results), default=0.0)
    reached = [row["reached"] for result in results for row in result["rows"] if row["target"]]
    return [
        f"Measured {times[0]} to {times[-1]}, in {seconds / 60:.0f} minutes" if times else "Not measured",
        f"on {about['cores']} cores ({about['processor']}), {about['memory_gb']} GB, {about['system']};",
        f"{named}. The load of the machine before a benchmark was {load} at most.",
        f"Targets reached: {reached.count(True)} of {len(reached)}.",
    ]


def _line(cells: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"]


def with_table(text: str, table: str, begin_line: str = BEGIN, end_line: str = END) -> str:
    """Return the page with ``table`` between the two markers.

    Raises:
        ValueError: the page lacks the markers.
    """
    before, begin, rest = text.partition(begin_line)
    _, end, after = rest.partition(end_line)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {begin_line} and {end_line}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"
