"""What people see of a run: how far it is, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chaos.audit import none_double
from chaos.drama import Outcome, Script
from chaos.plan import Fault

_EVERY: Final = 10.0
_MOST: Final = 10


class Progress:
    """A line that moves, on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._console = Console(stderr=True)
        self._begun = time.monotonic()
        self._said_at = 0.0
        self._step = ""
        self._fault = ""
        self._live = Live(console=self._console, transient=True) if self._console.is_terminal else None
        if self._live:
            self._live.start()

    def step(self, what: str) -> None:
        """Tell that something else begins."""
        self._step = what
        self._said_at = 0.0
        self.at(*self._last)

    _last = (0, 0)

    def at(self, triggered: int, kills: int) -> None:
        """Tell how far it is."""
        self._last = triggered, kills
        line = (
            f"{time.monotonic() - self._begun:5.0f} s  {triggered} of {self._script.executions} executions, "
            f"{kills} of {self._script.kills} kills; {self._step}"
        )
        if self._live:
            self._live.update(Text(f"{line}; last {self._fault}" if self._fault else line))
        elif time.monotonic() >= self._said_at + _EVERY:
            self._said_at = time.monotonic()
            self._console.print(line, highlight=False, soft_wrap=True)

    def fault(self, fault: Fault) -> None:
        """Tell that something befalls someone."""
        self._fault = str(fault)
        line = f"{time.monotonic() - self._begun:5.0f} s  {fault.number}: {fault}, {fault.seconds:g} s"
        self._console.print(line, highlight=False, soft_wrap=True)

    def done(self) -> None:
        """Tell that it is over."""
        if self._live:
            self._live.stop()


def conclude(console: Console, outcome: Outcome) -> None:
    """Print the tables of a run."""
    console.print(_faults(outcome))
    console.print(_verdicts(outcome))
    console.print(_checks(outcome))
    kills = sum(times for (rule, _), times in outcome.befell.items() if rule in ("SIGKILL", "SIGTERM"))
    total = sum(outcome.verdicts.values())
    lost = sum(times for (_, verdict), times in outcome.verdicts.items() if verdict is None)
    if outcome.ended:
        console.print(f"Celery ended workers of its own accord, which were started again: {', '.join(outcome.ended)}")
    doubled = len(outcome.problems[str(none_double.__doc__)])
    console.print(
        f"{total} executions, {kills} kills, {outcome.befell.total() - kills} other faults, {outcome.seconds:.0f} s: "
        f"{lost} lost, {doubled} double. {outcome.unknown} triggers were not answered, {outcome.given_up} tests were "
        f"given up after three workers died, the slowest verdict, of {outcome.slowest[1]}, came "
        f"{outcome.slowest[0]:.0f} s after its last signal. "
        f"{'All is well.' if outcome.went_well else 'SOMETHING IS WRONG.'}"
    )


def _faults(outcome: Outcome) -> Table:
    table = Table("rule", "times", "whom", title="What befell whom")
    rules: dict[str, Counter[str]] = {}
    for (rule, target), times in outcome.befell.items():
        rules.setdefault(rule, Counter())[target] += times
    for rule, targets in sorted(rules.items()):
        whom = ", ".join(f"{name} {times}x" if times > 1 else name for name, times in sorted(targets.items()))
        table.add_row(rule, str(targets.total()), whom)
    return table


def _verdicts(outcome: Outcome) -> Table:
    table = Table("due", "verdict", "executions", title="Executions")
    for (due, verdict), times in sorted(outcome.verdicts.items(), key=str):
        table.add_row(due, verdict or "none", str(times), style=None if due == verdict else "red")
    return table


def _checks(outcome: Outcome) -> Table:
    table = Table("what must hold", "", title="Audit")
    for check, problems in outcome.problems.items():
        shown = "\n".join(problems[:_MOST])
        more = f"\n… and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
        table.add_row(check, Text(f"{shown}{more}" if problems else "ok", style="red" if problems else "green"))
    return table
