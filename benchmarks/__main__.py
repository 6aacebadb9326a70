"""Run all benchmarks, one after the other, and write ``benchmarks/results/latest.json`` and ``docs/performance.md``.

Each benchmark is a program of its own: ``python -m benchmarks.throughput --help``. A target that is missed is in the
table, and is not an error. A benchmark that raises is left out of the results, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import report

#: The modules, in the order of the table.
SUITE: Final = (
    "unsampled",
    "sampled",
    "throughput",
    "waiting",
    "handover",
    "propagation",
    "idle",
    "scaling",
    "footprint",
    "commands",
    "starting",
)
#: The interpreter of an environment with Faust, and the module that needs it: faust-streaming needs an older click.
FAUST: Final = report.ROOT / ".venv-bench" / "bin" / "python"
WITH_FAUST: Final = "unsampled"

_console = Console(stderr=True)


def run_one(name: str, directory: Path, *, quick: bool) -> dict[str, Any] | None:
    """Return the results of one benchmark; None if it failed."""
    python = str(FAUST) if name == WITH_FAUST and FAUST.exists() else sys.executable
    output = directory / f"{name}.json"
    command = [python, "-m", f"benchmarks.{name}", "--json", str(output), *(["--quick"] if quick else [])]
    failed = subprocess.run(command, cwd=report.ROOT, check=False).returncode  # noqa: S603 - ourselves
    if failed or not output.exists():
        _console.print(f"[red]{name}: failed, exit code {failed}")
        return None
    result: dict[str, Any] = json.loads(output.read_text())
    targets = [row["reached"] for row in result["rows"] if row["target"]]
    _console.print(f"{name}: {result['seconds']:.0f} s, {targets.count(True)} of {len(targets)} targets reached")
    return result


def main() -> None:
    """Run the benchmarks, and write the results after each."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs; does not write the table")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these, of: {', '.join(SUITE)}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SUITE):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from: {', '.join(SUITE)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="livecheck-") as directory:
        for name in [one for one in SUITE if not options.names or one in options.names]:
            result = run_one(name, Path(directory), quick=options.quick)
            if result is None:
                failed += 1
            elif not options.quick:
                report.write({name: result}, SUITE)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
