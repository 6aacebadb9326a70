"""Statistics of one case over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any, Final, NamedTuple

from livecheck_celery.config import CaseOptions
from livecheck_celery.models import State

_TOTAL = "total:"
#: Fields of the suite that `read_status` uses.
STATUS_FIELDS: Final = ("status", "received_at", "expected_since", "failing_since")
#: Latest time that is read, in the year 5138.
_LATEST: Final = 1e11


class FailureLimits(NamedTuple):
    """When the failed tests of a case are a failure of the suite; options of the case."""

    max_consecutive_failures: int
    max_failure_rate: float
    failure_rate_window: float
    failure_rate_tests: int

    @classmethod
    def of(cls, options: Any) -> FailureLimits:
        """Collect the attributes of a case."""
        return cls(*(getattr(options, name) for name in cls._fields))


DEFAULT_LIMITS: Final = FailureLimits.of(CaseOptions)


class Recent(NamedTuple):
    """The tests of the failure rate: those of the last ``failure_rate_window`` seconds, or more.

    Attributes:
        failures: failed tests.
        tests: failed and passed tests.
    """

    failures: int
    tests: int

    @property
    def rate(self) -> float | None:
        """Share of failed tests; None without a test."""
        return self.failures / self.tests if self.tests else None


NONE: Final = Recent(0, 0)


@dataclass(frozen=True)
class Statistics:
    """The suite of one case at one moment (reference: attributes of ``livecheck.Case``).

    All times are seconds since the epoch by Redis' clock, all histories are in seconds with the newest last.

    Attributes:
        status: state of the suite; STALL as soon as tests are overdue, even if no stall was reported yet.
        last_test_received: time of the last test, or of the last report of a stall.
        seconds_since_last_test: seconds between the last test and the reading.
        last_fail: time of the last failure of the suite.
        seconds_since_last_fail: seconds between the last failure of the suite and the reading.
        consecutive_failures: failed tests since the last pass.
        total_failures: failed tests in total.
        total_by_state: executions in total, by verdict.
        frequency_history: time between tests.
        latency_history: delay of tests, compared with ``frequency``.
        runtime_history: runtime of passing tests.
        last_failed_test: time of the last failed test.
        seconds_since_last_failed_test: seconds between the last failed test and the reading.
        failing_since: time at which failed tests made the suite fail; None while it does not.
        seconds_failing: seconds between that time and the reading.
        recent: the tests of the failure rate.
    """

    status: State
    last_test_received: float | None
    seconds_since_last_test: float | None
    last_fail: float | None
    seconds_since_last_fail: float | None
    consecutive_failures: int
    total_failures: int
    total_by_state: Counter[State]
    frequency_history: list[float]
    latency_history: list[float]
    runtime_history: list[float]
    last_failed_test: float | None = None
    seconds_since_last_failed_test: float | None = None
    failing_since: float | None = None
    seconds_failing: float | None = None
    recent: Recent = NONE

    @property
    def frequency_avg(self) -> float | None:
        """Median of ``frequency_history``; None when that is empty."""
        return _median(self.frequency_history)

    @property
    def latency_avg(self) -> float | None:
        """Median of ``latency_history``; None when that is empty."""
        return _median(self.latency_history)

    @property
    def runtime_avg(self) -> float | None:
        """Median of ``runtime_history``; None when that is empty."""
        return _median(self.runtime_history)


def readable_fields(state: Mapping[str, str], skip: Callable[[str, ValueError], object]) -> dict[str, str]:
    """Return the fields of a suite that can be parsed; call ``skip`` for the others. An unreadable status is ERROR."""
    found = {}
    for field, value in state.items():
        parse = _total if field.startswith(_TOTAL) else _PARSERS.get(field)
        try:
            if parse is not None:
                parse(field.removeprefix(_TOTAL) + ":" + value if parse is _total else value)
            found[field] = value
        except ValueError as exc:
            skip(field, exc)
    if "status" in state:
        found.setdefault("status", State.ERROR)
    return found


def readable_numbers(items: Sequence[str], skip: Callable[[ValueError], object]) -> list[str]:
    """Return the ``items`` of a history that are finite numbers; call ``skip`` for the others."""
    found = []
    for item in items:
        try:
            _number(item)
            found.append(item)
        except ValueError as exc:
            skip(exc)
    return found


def read_statistics(
    now: float,
    state: Mapping[str, str],
    frequency: Sequence[str],
    latency: Sequence[str],
    runtime: Sequence[str],
    *,
    stalled_after: float | None = None,
) -> Statistics:
    """Parse stored statistics for the Redis time ``now``; arguments as for `read_status`.

    Raises:
        ValueError: a stored value was not written by LiveCheck.
    """
    received, last_fail = _time(state, "received_at"), _time(state, "last_fail")
    last_failed, failing_since = _time(state, "last_failed_test"), _time(state, "failing_since")
    totals = {
        State(field.removeprefix(_TOTAL)): int(count) for field, count in state.items() if field.startswith(_TOTAL)
    }
    return Statistics(
        status=read_status(now, state, stalled_after),
        last_test_received=_time(state, "last_test_received"),
        seconds_since_last_test=None if received is None else max(0.0, now - received),
        last_fail=last_fail,
        seconds_since_last_fail=None if last_fail is None else max(0.0, now - last_fail),
        consecutive_failures=int(state.get("consecutive_failures", 0)),
        total_failures=int(state.get("total_failures", 0)),
        total_by_state=Counter(totals),
        frequency_history=[float(item) for item in frequency],
        latency_history=[float(item) for item in latency],
        runtime_history=[float(item) for item in runtime],
        last_failed_test=last_failed,
        seconds_since_last_failed_test=None if last_failed is None else max(0.0, now - last_failed),
        failing_since=failing_since,
        seconds_failing=None if failing_since is None else max(0.0, now - failing_since),
        recent=_recent(state.get("recent", "")),
    )


def read_status(now: float, state: Mapping[str, str], stalled_after: float | None) -> State:
    """Return the status at the time ``now``: the stored one, or STALL after ``stalled_after`` seconds without a test.

    The stalled check, which beat schedules, stores STALL later, or never. A case that never received a test is measured
    from the time when tests were first expected.

    Raises:
        ValueError: a stored value was not written by LiveCheck.
    """
    stored = State(state.get("status", State.INIT))
    since = max(_time(state, "received_at") or 0.0, _time(state, "expected_since") or 0.0)
    stalled = stalled_after is not None and since > 0 and now - since > stalled_after
    return State.STALL if stalled else stored


def stalled_after(settings: Mapping[str, Any]) -> float | None:
    """Return the argument ``stalled_after`` of `read_status` for a case with these registered settings."""
    after = settings.get("warn_stalled_after")
    return float(after) if settings.get("active", True) and isinstance(after, int | float) else None


def _recent(text: str) -> Recent:
    buckets = [bucket.split(":") for bucket in text.split()]
    return Recent(sum(int(failures) for _, _, failures in buckets), sum(int(tests) for _, tests, _ in buckets))


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number) or abs(number) > _LATEST:
        raise ValueError(f"{text:.20} is out of range")
    return number


def _total(text: str) -> None:
    state, _, count = text.partition(":")
    State(state)
    int(count)


_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "status": State,
    "recent": _recent,
    **dict.fromkeys(("consecutive_failures", "total_failures"), int),
    **dict.fromkeys(
        ("received_at", "expected_since", "last_fail", "last_failed_test", "last_test_received", "failing_since"),
        _number,
    ),
}


def _time(state: Mapping[str, str], field: str) -> float | None:
    return float(state[field]) if field in state else None


def _median(history: list[float]) -> float | None:
    return median(history) if history else None
