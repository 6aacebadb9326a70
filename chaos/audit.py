"""The verdict of a run: whether what Redis holds agrees with what the independent ledger knows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaos.evidence import Evidence, Suite
from chaos.ledger import Entry
from chaos.plan import DUE

#: Seconds a signal may take from Redis to the test that waits for it.
ARRIVAL: Final = 5.0
#: Claims after which a test whose workers died is given up.
ATTEMPTS: Final = 3
#: Seconds for which a record outlives its verdict, and for which what is sent may be kept for its test.
FORGET_AFTER: Final = 120
LIFETIME: Final = 3600
_FAILURES: Final = ("FAIL", "ERROR", "TIMEOUT")
#: Keys that stay, each bounded in what it holds, and keys that must have a TTL.
_STAYING: Final = re.compile(r"({cases}:(settings|wiring)|{[^{}]+}:(state|runtime|latency|frequency|reports))")
_PASSING: Final = re.compile(r"(counters|beat|schedules|heartbeat|{[^{}]+}:(open|test:.+|signals:.+))", re.DOTALL)

Problems = Iterator[str]


@dataclass(frozen=True)
class Run:
    """What the audit looks at.

    Attributes:
        evidence: what the state's Redis holds.
        entries: what the ledger knows, by id of the test.
        pulses: when fake requests were made, in seconds since the epoch.
        attempts: claims of each test, as far as somebody saw them.
        period: seconds there should be between two of them.
        died: programs that ended by themselves.
        stuck: programs that did not end within half a minute after they were told to.
        alone: whether nothing but LiveCheck uses the state's Redis.
    """

    evidence: Evidence
    entries: Mapping[str, Entry]
    pulses: list[float]
    attempts: Mapping[str, int]
    period: float
    died: list[str]
    stuck: list[str]
    alone: bool = True

    def is_given_up(self, report: Mapping[str, Any]) -> bool:
        """Whether a test is an ERROR because its workers died, as often as one may."""
        lost = report["state"] == "ERROR" and str(report["error"]).startswith("worker lost")
        return lost and self.attempts.get(report["test"]["id"], 0) >= ATTEMPTS

    def suite_of(self, entry: Entry) -> Suite:
        """The suite of the case that tests it."""
        return self.evidence.suites["pulse" if entry.order is None else entry.order.case]

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """The reports of each execution, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for suite in self.evidence.suites.values():
            for report in suite.verdicts:
                found.setdefault(report["test"]["id"], []).append(report)
        return found


def none_lost(run: Run) -> Problems:
    """Every execution that was triggered has a verdict."""
    reports = run.reports()
    for entry in run.entries.values():
        record = run.suite_of(entry).tests.get(entry.id)
        if record is not None and "verdict" not in record:
            yield f"{entry.id}: has no verdict; its record is {_brief(record)}"
        elif entry.id not in reports and (entry.known or record is not None):
            yield f"{entry.id}: was triggered, and there is no report; its record is {_brief(record)}"


def _brief(record: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if record is None else {name: value for name, value in record.items() if name != "payload"}


def none_double(run: Run) -> Problems:
    """No execution has two."""
    for test_id, reports in run.reports().items():
        if len(reports) > 1:
            yield f"{test_id}: was reported as {', '.join(report['state'] for report in reports)}"


def none_invented(run: Run) -> Problems:
    """Nothing is there of executions that nobody triggered."""
    for case, suite in run.evidence.suites.items():
        seen = {*suite.tests, *suite.signals, *(report["test"]["id"] for report in suite.verdicts)}
        for test_id in sorted(seen - run.entries.keys()):
            yield f"{test_id}: of case {case}, nobody knows it"


def counters_agree(run: Run) -> Problems:
    """Counters and reports say the same, and so do the records that are not forgotten yet."""
    for case, suite in run.evidence.suites.items():
        counted = {
            name.removeprefix("total:"): int(count) for name, count in suite.state.items() if name.startswith("total:")
        }
        reported = Counter(report["state"] for report in suite.verdicts)
        if counted != dict(reported):
            yield f"{case}: counters {counted}, reports {dict(reported)}"
        for report in suite.verdicts:
            record = suite.tests.get(report["test"]["id"])
            if record is not None and record.get("verdict") != report["state"]:
                yield f"{report['test']['id']}: reported as {report['state']}, recorded as {record.get('verdict')}"


def histories_agree(run: Run) -> Problems:
    """Histories are what the reports, in their order, make of them."""
    for case, suite in run.evidence.suites.items():
        runtime = [report["runtime"] for report in suite.verdicts if report["state"] == "PASS"]
        if [round(one, 6) for one in suite.runtime] != [round(one, 6) for one in runtime]:
            yield f"{case}: {len(suite.runtime)} in the runtime history, {len(runtime)} passes, or others"
        # One that was handed back and then expired was received; one that nobody took was not.
        most = len(suite.verdicts)
        least = most - sum(_was_skipped(report) for report in suite.verdicts)
        if not max(0, least - 1) <= len(suite.frequency) <= max(0, most - 1):
            yield f"{case}: {least} to {most} tests were received, {len(suite.frequency)} are in the frequency history"
        expected = len(suite.frequency) if case == "pulse" else 0
        if len(suite.latency) != expected:
            yield f"{case}: {len(suite.latency)} in the latency history, not {expected}"
        in_a_row = 0
        for report in suite.verdicts:
            in_a_row = in_a_row + 1 if report["state"] in _FAILURES else 0 if report["state"] == "PASS" else in_a_row
        if in_a_row != int(suite.state.get("consecutive_failures", 0)):
            yield f"{case}: consecutive_failures {suite.state.get('consecutive_failures')}, by reports {in_a_row}"
        failures = sum(report["state"] in _FAILURES for report in suite.verdicts)
        if failures != int(suite.state.get("total_failures", 0)):
            yield f"{case}: total_failures {suite.state.get('total_failures')}, by reports {failures}"


def verdicts_are_right(run: Run) -> Problems:
    """Each verdict is the one that is due, save where workers died too often, or for too long."""
    for test_id, reports in run.reports().items():
        entry = run.entries.get(test_id)
        if entry is None:
            continue
        due = "PASS" if entry.order is None else DUE[entry.order.kind]
        for report in reports:
            if report["state"] != due and not (run.is_given_up(report) or _has_expired(entry, report)):
                yield f"{test_id}: {report['state']} ({report['error']}), not {due}; {_timing(run, entry, report)}"


def _has_expired(entry: Entry, report: Mapping[str, Any]) -> bool:
    """Whether a test that was to expire did so before a worker took it, or after its worker had died."""
    lost = report["state"] == "ERROR" and str(report["error"]).startswith("worker lost")
    return entry.order is not None and entry.order.kind == "expire" and (lost or _was_skipped(report))


def _was_skipped(report: Mapping[str, Any]) -> bool:
    """Whether no worker took it in time."""
    return report["state"] == "SKIP" and str(report["error"]).startswith("expired")


def _timing(run: Run, entry: Entry, report: Mapping[str, Any]) -> str:
    taken = {name: f"{report['at'] - at:.1f} s before" for name, at in entry.taken.items()}
    return f"signals were taken {taken or 'never'}, attempts seen {run.attempts.get(entry.id, 0)}"


def passes_are_earned(run: Run) -> Problems:
    """A test passed only where its signals were sent, with the values it was to see."""
    for test_id, reports in run.reports().items():
        entry = run.entries.get(test_id)
        if entry is None or entry.order is None or all(report["state"] != "PASS" for report in reports):
            continue
        wanted = dict.fromkeys(("paid", "shipped"), entry.order.value)
        if entry.sent != wanted:
            yield f"{test_id}: passed, though what was sent is {entry.sent}"


def timeouts_are_real(run: Run) -> Problems:
    """No test timed out whose signals had arrived."""
    for test_id, reports in run.reports().items():
        entry = run.entries.get(test_id)
        if entry is None or (entry.order is not None and entry.order.kind in ("timeout", "expire")):
            continue
        for report in reports:
            if report["state"] != "TIMEOUT":
                continue
            wanted = {} if entry.order is None else entry.order.signals
            if all(entry.taken.get(name, report["at"]) < report["at"] - ARRIVAL for name in wanted):
                yield f"{test_id}: {report['error']}; {_timing(run, entry, report)}"


def signals_are_kept(run: Run) -> Problems:
    """Every signal that is not forgotten yet carries what it was sent with."""
    for entry in run.entries.values():
        for name, event in run.suite_of(entry).signals.get(entry.id, {}).items():
            if not name.startswith(">") and _value(event) != entry.sent.get(name):
                yield f"{entry.id}: signal {name} was sent with {entry.sent.get(name)}, and is {event}"


def _value(event: str) -> Any:
    # The value is JSON in JSON.
    return json.loads(json.loads(event)["value"])


def carried_along(run: Run) -> Problems:
    """Each test followed its own order, over HTTP and Celery, and no other."""
    for entry in run.entries.values():
        for stray in entry.strays:
            yield f"{entry.id}: {stray}"


def nothing_open(run: Run) -> Problems:
    """The ledger of LiveCheck has nothing left to do."""
    for case, suite in run.evidence.suites.items():
        for test_id in suite.open:
            yield f"{test_id}: of case {case}, still open; {_brief(suite.tests.get(test_id))}"


def queues_empty(run: Run) -> Problems:
    """No message waits, or waits to be acknowledged."""
    for queue, count in run.evidence.waiting.items():
        if count:
            yield f"{queue}: {count} messages"


def keys_bounded(run: Run) -> Problems:
    """Every key is one of those the architecture lists, and is bounded or has a TTL."""
    for key, life in run.evidence.keys.items():
        if not key.startswith("livecheck:"):
            if run.alone:
                yield f"{key}: not a key of LiveCheck's"
            continue
        name = key.removeprefix("livecheck:")
        if _PASSING.fullmatch(name):
            if life is None:
                yield f"{key}: has no TTL"
        elif not _STAYING.fullmatch(name):
            yield f"{key}: no such key is listed"


def no_orphans(run: Run) -> Problems:
    """What is over is forgotten: records two minutes after the verdict, and what was sent when its test expires."""
    for key, life in run.evidence.keys.items():
        limit = FORGET_AFTER if ":test:" in key else LIFETIME if ":signals:" in key else None
        if limit is not None and life is not None and life > limit:
            yield f"{key}: is kept for another {life} s"


def one_pulse_a_period(run: Run) -> Problems:
    """Two beats make one fake request a period."""
    # Half a period early is allowed, once.
    for first, second in zip(run.pulses, run.pulses[2:], strict=False):
        if second - first < run.period * 0.9:
            yield f"three fake requests within {second - first:.2f} s, at {first:.2f}"


def none_died(run: Run) -> Problems:
    """No program ended without having been told to."""
    yield from run.died


def none_stuck(run: Run) -> Problems:
    """Every program that was told to end did so within half a minute."""
    yield from run.stuck


CHECKS: Final[tuple[Callable[[Run], Problems], ...]] = (
    none_lost,
    none_double,
    none_invented,
    verdicts_are_right,
    passes_are_earned,
    timeouts_are_real,
    signals_are_kept,
    carried_along,
    counters_agree,
    histories_agree,
    nothing_open,
    queues_empty,
    keys_bounded,
    no_orphans,
    one_pulse_a_period,
    none_died,
    none_stuck,
)


def audit(run: Run) -> dict[str, list[str]]:
    """What is wrong, by what should hold; nothing, where it does."""
    return {str(check.__doc__): list(check(run)) for check in CHECKS}
