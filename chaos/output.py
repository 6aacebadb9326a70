"""Print the progress and the result of a run."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chaos.audit import no_duplicate_verdicts
from chaos.plan import Fault
from chaos.run import Options, Result

#: Seconds between two lines of progress where the output is not a terminal.
_INTERVAL: Final = 10.0
_SHOWN_PROBLEMS: Final = 10


class ProgressLine:
    """One line that is updated on a terminal; elsewhere, a line every ten seconds."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._console = Console(stderr=True)
        self._begun = time.monotonic()
        self._printed_at = 0.0
        self._phase = ""
        self._fault = ""
        self._last = (0, 0)
        self._live = Live(console=self._console, transient=True) if self._console.is_terminal else None
        if self._live:
            self._live.start()

    def phase(self, name: str) -> None:
        """Show that a phase of the run begins."""
        self._phase = name
        self._printed_at = 0.0
        self.update(*self._last)

    def update(self, triggered: int, kills: int) -> None:
        """Show how many executions were triggered, and how many processes were ended."""
        self._last = triggered, kills
        line = (
            f"{time.monotonic() - self._begun:5.0f} s  {triggered} of {self._options.executions} executions, "
            f"{kills} of {self._options.kills} kills; {self._phase}"
        )
        if self._live:
            self._live.update(Text(f"{line}; last {self._fault}" if self._fault else line))
        elif time.monotonic() >= self._printed_at + _INTERVAL:
            self._printed_at = time.monotonic()
            self._console.print(line, highlight=False, soft_wrap=True)

    def fault(self, fault: Fault) -> None:
        """Show that a fault is injected."""
        self._fault = str(fault)
        line = f"{time.monotonic() - self._begun:5.0f} s  {fault.number}: {fault}, {fault.seconds:g} s"
        self._console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the line from the terminal."""
        if self._live:
            self._live.stop()


def print_result(console: Console, result: Result) -> None:
    """Print the tables and the summary of a run."""
    console.print(_faults(result))
    console.print(_verdicts(result))
    console.print(_checks(result))
    total = sum(result.verdicts.values())
    missing = sum(times for (_, verdict), times in result.verdicts.items() if verdict is None)
    duplicate = len(result.problems[str(no_duplicate_verdicts.__doc__)])
    if result.ended_by_celery:
        logs = ", ".join(result.ended_by_celery)
        console.print(f"Workers that Celery ended, which were restarted: {logs}", highlight=False, soft_wrap=True)
    console.print(
        f"{total} executions, {result.kills} kills, {result.injected.total() - result.kills} other faults, "
        f"{result.seconds:.0f} s: {missing} missing verdicts, {duplicate} duplicate verdicts. "
        f"Triggers without an answer: {result.unanswered}. Tests given up after three workers died: {result.given_up}. "
        f"Slowest verdict: {result.slowest[0]:.0f} s after the last signal, of {result.slowest[1]}. "
        f"{'Audit passed.' if result.passed else 'AUDIT FAILED.'}",
        highlight=False,
        soft_wrap=True,
    )


def _faults(result: Result) -> Table:
    table = Table("fault", "times", "targets", title="Injected faults")
    actions: dict[str, Counter[str]] = {}
    for (action, target), times in result.injected.items():
        actions.setdefault(action, Counter())[target] += times
    for action, targets in sorted(actions.items()):
        names = ", ".join(f"{name} {times}x" if times > 1 else name for name, times in sorted(targets.items()))
        table.add_row(action, str(targets.total()), names)
    return table


def _verdicts(result: Result) -> Table:
    table = Table("expected", "verdict", "executions", title="Executions")
    for (expected, verdict), times in sorted(result.verdicts.items(), key=str):
        table.add_row(expected, verdict or "none", str(times), style=None if expected == verdict else "red")
    return table


def _checks(result: Result) -> Table:
    table = Table("check", "", title="Audit")
    for check, problems in result.problems.items():
        shown = "\n".join(problems[:_SHOWN_PROBLEMS])
        more = f"\n… and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        table.add_row(check, Text(f"{shown}{more}" if problems else "ok", style="red" if problems else "green"))
    return table
