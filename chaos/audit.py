"""Compare the state that a run left in Redis with the independent ledger.

Each check is a function; the first line of its docstring is its name in the output.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaos.ledger import Entry
from chaos.plan import SCHEDULED
from chaos.snapshot import Snapshot, SuiteSnapshot

#: Maximum seconds from a signal in Redis to the test that waits for it.
ARRIVAL: Final = 5.0
#: Claims after which a test whose workers died is given up.
ATTEMPTS: Final = 3
#: Maximum TTL, in seconds, of a record that has its verdict, and of signals.
RECORD_TTL: Final = 120
SIGNALS_TTL: Final = 3600
_FAILURES: Final = ("FAIL", "ERROR", "TIMEOUT")
#: Keys that are bounded and stay, and keys that must have a TTL.
_LASTING: Final = re.compile(r"({cases}:(settings|shared|with-open|checks)|{[^{}]+}:(suite|runtime|latency|frequency))")
_EXPIRING: Final = re.compile(
    r"(counters|beat|schedules|heartbeat|{processes}:(seen|records|declared:\w+)"
    r"|{[^{}]+}:(open|test:.+|signals:.+|unrecorded|unrecorded-bytes|reports|late))",
    re.DOTALL,
)

Problems = Iterator[str]


@dataclass(frozen=True)
class AuditInput:
    """The state and the observations of a run.

    Attributes:
        snapshot: of the state's Redis.
        entries: of the ledger, by id of the test.
        fake_requests: when fake requests were made, in seconds since the epoch.
        attempts: claims of each test, as far as they were seen.
        period: seconds between two fake requests.
        crashed: logs of processes that exited unexpectedly.
        stuck: logs of processes that did not exit within `shutdown_timeout` + 5 s of SIGTERM.
        only_livecheck: whether only LiveCheck uses the state's Redis.
    """

    snapshot: Snapshot
    entries: Mapping[str, Entry]
    fake_requests: list[float]
    attempts: Mapping[str, int]
    period: float
    crashed: list[str]
    stuck: list[str]
    only_livecheck: bool = True

    def is_given_up(self, report: Mapping[str, Any]) -> bool:
        """Return whether a test is an ERROR because the maximum number of workers died while they ran it."""
        return _is_worker_lost(report) and self.attempts.get(report["test"]["id"], 0) >= ATTEMPTS

    def suite_of(self, entry: Entry) -> SuiteSnapshot:
        """Return the suite of the case that tests ``entry``."""
        return self.snapshot.suites[entry.case]

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """Return the reports of each execution, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for suite in self.snapshot.suites.values():
            for report in suite.verdicts:
                found.setdefault(report["test"]["id"], []).append(report)
        return found

    def reports_by_entry(self) -> Iterator[tuple[Entry, dict[str, Any]]]:
        """Yield each report of a test that the ledger knows, with its entry."""
        for test_id, reports in self.reports().items():
            if entry := self.entries.get(test_id):
                for report in reports:
                    yield entry, report


def no_missing_verdicts(found: AuditInput) -> Problems:
    """Every triggered execution has a verdict."""
    reports = found.reports()
    for entry in found.entries.values():
        record = found.suite_of(entry).tests.get(entry.id)
        if record is not None and "verdict" not in record:
            yield f"{entry.id}: no verdict; record {_without_payload(record)}"
        elif entry.id not in reports and (entry.triggered or record is not None):
            yield f"{entry.id}: triggered, but no report; record {_without_payload(record)}"


def _without_payload(record: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if record is None else {name: value for name, value in record.items() if name != "payload"}


def no_duplicate_verdicts(found: AuditInput) -> Problems:
    """No execution has two verdicts."""
    for test_id, reports in found.reports().items():
        if len(reports) > 1:
            yield f"{test_id}: reported as {', '.join(report['state'] for report in reports)}"


def no_unknown_executions(found: AuditInput) -> Problems:
    """Every execution in Redis was triggered."""
    for case, suite in found.snapshot.suites.items():
        seen = {*suite.tests, *suite.signals, *(report["test"]["id"] for report in suite.verdicts)}
        for test_id in sorted(seen - found.entries.keys()):
            yield f"{test_id}: of case {case}, not in the ledger"


def counters_match_reports(found: AuditInput) -> Problems:
    """Counters and remaining records match the reports."""
    for case, suite in found.snapshot.suites.items():
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


def histories_match_reports(found: AuditInput) -> Problems:
    """Histories and failure counts match the reports."""
    for case, suite in found.snapshot.suites.items():
        runtime = [report["runtime"] for report in suite.verdicts if report["state"] == "PASS"]
        if [round(one, 6) for one in suite.runtime] != [round(one, 6) for one in runtime]:
            yield f"{case}: runtime history of {len(suite.runtime)} differs from the {len(runtime)} passes"
        # A test that expired was received if a worker had handed it back, and was not if no worker claimed it.
        most = len(suite.verdicts)
        least = most - sum(_is_skipped(report) for report in suite.verdicts)
        if not max(0, least - 1) <= len(suite.frequency) <= max(0, most - 1):
            yield f"{case}: {least} to {most} tests were received, {len(suite.frequency)} are in the frequency history"
        expected = len(suite.frequency) if case == SCHEDULED else 0
        if len(suite.latency) != expected:
            yield f"{case}: {len(suite.latency)} in the latency history, not {expected}"
        consecutive = 0
        for report in suite.verdicts:
            consecutive = (
                consecutive + 1 if report["state"] in _FAILURES else 0 if report["state"] == "PASS" else consecutive
            )
        failures = sum(report["state"] in _FAILURES for report in suite.verdicts)
        for name, reported in (("consecutive_failures", consecutive), ("total_failures", failures)):
            if reported != int(suite.state.get(name, 0)):
                yield f"{case}: {name} {suite.state.get(name)}, by reports {reported}"


def verdicts_are_expected(found: AuditInput) -> Problems:
    """Each verdict is the expected one, unless three workers died or the test expired before."""
    for entry, report in found.reports_by_entry():
        if report["state"] != entry.expected and not (found.is_given_up(report) or _has_expired(entry, report)):
            timing = _timing(found, entry, report)
            yield f"{entry.id}: {report['state']} ({report['error']}), not {entry.expected}; {timing}"


def _has_expired(entry: Entry, report: Mapping[str, Any]) -> bool:
    """Return whether a test of kind ``expire`` expired before a worker claimed it, or after its worker died."""
    expires = entry.order is not None and entry.order.kind == "expire"
    return expires and (_is_worker_lost(report) or _is_skipped(report))


def _is_worker_lost(report: Mapping[str, Any]) -> bool:
    return report["state"] == "ERROR" and str(report["error"]).startswith("worker lost")


def _is_skipped(report: Mapping[str, Any]) -> bool:
    """Return whether no worker claimed the test before it expired."""
    return report["state"] == "SKIP" and str(report["error"]).startswith("expired")


def _timing(found: AuditInput, entry: Entry, report: Mapping[str, Any]) -> str:
    stored = {name: f"{report['at'] - at:.1f} s before" for name, at in entry.stored.items()}
    return f"signals stored: {stored or 'none'}; attempts seen: {found.attempts.get(entry.id, 0)}"


def passes_have_their_signals(found: AuditInput) -> Problems:
    """A test passed only if its signals were sent with the expected values."""
    for entry, report in found.reports_by_entry():
        if entry.order is None or report["state"] != "PASS":
            continue
        if entry.sent != dict.fromkeys(("paid", "shipped"), entry.order.value):
            yield f"{entry.id}: passed, but the signals sent are {entry.sent}"


def no_timeouts_after_signals(found: AuditInput) -> Problems:
    """No test timed out whose signals had arrived."""
    for entry, report in found.reports_by_entry():
        if report["state"] != "TIMEOUT" or (entry.order is not None and entry.order.kind in ("timeout", "expire")):
            continue
        awaited = {} if entry.order is None else entry.order.signals
        if all(entry.stored.get(name, report["at"]) < report["at"] - ARRIVAL for name in awaited):
            yield f"{entry.id}: {report['error']}; {_timing(found, entry, report)}"


def signal_values_match(found: AuditInput) -> Problems:
    """Every signal in Redis has the value it was sent with."""
    for entry in found.entries.values():
        for name, event in found.suite_of(entry).signals.get(entry.id, {}).items():
            # Others are processes that listen, and numbers of arrivals.
            if not name.startswith((">", "+")) and _value(event) != entry.sent.get(name.rpartition(" ")[2]):
                yield f"{entry.id}: signal {name} was sent with {entry.sent.get(name)}, but is {event}"


def _value(event: str) -> Any:
    # The value is JSON inside JSON.
    return json.loads(json.loads(event)["value"])


def context_is_propagated(found: AuditInput) -> Problems:
    """Each test followed its own order, and no other, over HTTP and Celery."""
    for entry in found.entries.values():
        for anomaly in entry.anomalies:
            yield f"{entry.id}: {anomaly}"


def no_open_executions(found: AuditInput) -> Problems:
    """No execution is open."""
    for case, suite in found.snapshot.suites.items():
        for test_id in suite.open:
            yield f"{test_id}: of case {case}, still open; record {_without_payload(suite.tests.get(test_id))}"


def queues_are_empty(found: AuditInput) -> Problems:
    """No message is queued or unacknowledged."""
    for queue, count in found.snapshot.pending_messages.items():
        if count:
            yield f"{queue}: {count} messages"


def keys_are_bounded(found: AuditInput) -> Problems:
    """Every key is documented, and is bounded or has a TTL."""
    for key, ttl in found.snapshot.keys.items():
        if not key.startswith("livecheck:"):
            if found.only_livecheck:
                yield f"{key}: not a key of LiveCheck"
            continue
        name = key.removeprefix("livecheck:")
        if _EXPIRING.fullmatch(name):
            if ttl is None:
                yield f"{key}: has no TTL"
        elif not _LASTING.fullmatch(name):
            yield f"{key}: not documented"


def records_are_forgotten(found: AuditInput) -> Problems:
    """Records are forgotten two minutes after the verdict, and signals when the test expires."""
    for key, ttl in found.snapshot.keys.items():
        limit = RECORD_TTL if ":test:" in key else SIGNALS_TTL if ":signals:" in key else None
        if limit is not None and ttl is not None and ttl > limit:
            yield f"{key}: TTL {ttl} s, more than {limit} s"


def one_fake_request_per_period(found: AuditInput) -> Problems:
    """Two beats make one fake request a period."""
    # One may be early by half a period.
    for first, third in zip(found.fake_requests, found.fake_requests[2:], strict=False):
        if third - first < found.period * 0.9:
            yield f"three fake requests within {third - first:.2f} s, at {first:.2f}"


def no_process_crashed(found: AuditInput) -> Problems:
    """No process exited unexpectedly."""
    yield from found.crashed


def no_process_is_stuck(found: AuditInput) -> Problems:
    """Every process exited within `shutdown_timeout` + 5 s of SIGTERM."""
    yield from found.stuck


CHECKS: Final[tuple[Callable[[AuditInput], Problems], ...]] = (
    no_missing_verdicts,
    no_duplicate_verdicts,
    no_unknown_executions,
    verdicts_are_expected,
    passes_have_their_signals,
    no_timeouts_after_signals,
    signal_values_match,
    context_is_propagated,
    counters_match_reports,
    histories_match_reports,
    no_open_executions,
    queues_are_empty,
    keys_are_bounded,
    records_are_forgotten,
    one_fake_request_per_period,
    no_process_crashed,
    no_process_is_stuck,
)


def audit(found: AuditInput) -> dict[str, list[str]]:
    """Return the problems that each check found, by the check's docstring."""
    return {str(check.__doc__): list(check(found)) for check in CHECKS}
