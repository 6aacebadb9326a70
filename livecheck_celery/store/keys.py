"""Names of the keys and channels in Redis.

All keys of one case share the hash tag ``{case}``, so that one script can use them together on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: In place of the case name in the key of reports about unregistered cases; the report has the real name.
UNKNOWN_CASE: Final = "?"


def inbox(prefix: str, address: str) -> str:
    """Return the name of the pub/sub channel of the process at ``address``."""
    return f"{prefix}:inbox:{address}"


@dataclass(frozen=True)
class Keys:
    """Names of keys under one prefix. Each docstring gives the type and the content of the key.

    Attributes:
        prefix: prefix of every key.
    """

    prefix: str

    @property
    def cases(self) -> str:
        """Hash: case name to its settings as JSON."""
        return f"{self.prefix}:{{cases}}:settings"

    @property
    def shared(self) -> str:
        """Hash: shared configuration; ``override:<case>``, ``sources:<case>``, ``revision``, ``since`` and so on."""
        return f"{self.prefix}:{{cases}}:shared"

    @property
    def open_cases(self) -> str:
        """Sorted set: cases with executions without a verdict or a run of a schedule, by when they last got one."""
        return f"{self.prefix}:{{cases}}:with-open"

    @property
    def checks(self) -> str:
        """Hash: case name to times of its stalled check; the empty name to the number of passes of the sweep."""
        return f"{self.prefix}:{{cases}}:checks"

    @property
    def counters(self) -> str:
        """Hash: counts of all processes in the last day, by reason; their last times, by ``@<reason>``; ``since``."""
        return f"{self.prefix}:counters"

    @property
    def beat(self) -> str:
        """String: time at which beat last sent a message."""
        return f"{self.prefix}:beat"

    @property
    def schedules(self) -> str:
        """String: time at which a worker last executed a message that beat sent."""
        return f"{self.prefix}:schedules"

    @property
    def heartbeat(self) -> str:
        """String: exists while the ping of ``heartbeat_url`` is claimed for this period."""
        return f"{self.prefix}:heartbeat"

    @property
    def seen(self) -> str:
        """Sorted set: ids of the running workers and beats, by the time of their last sign of life."""
        return f"{self.prefix}:{{processes}}:seen"

    @property
    def processes(self) -> str:
        """Hash: id of a running worker or beat to its record as JSON."""
        return f"{self.prefix}:{{processes}}:records"

    def declared(self, digest: str) -> str:
        """String: names of the cases that some running workers declare, as JSON."""
        return f"{self.prefix}:{{processes}}:declared:{digest}"

    @property
    def inboxes(self) -> str:
        """Prefix of the pub/sub channels of all processes."""
        return inbox(self.prefix, "")

    def suite(self, case_name: str) -> str:
        """Hash: the suite's status, counters and times."""
        return self._of(case_name, "suite")

    def runtime(self, case_name: str) -> str:
        """List: seconds that passing tests took, newest last."""
        return self._of(case_name, "runtime")

    def latency(self, case_name: str) -> str:
        """List: seconds by which tests came later than the period, newest last."""
        return self._of(case_name, "latency")

    def frequency(self, case_name: str) -> str:
        """List: seconds between tests, newest last."""
        return self._of(case_name, "frequency")

    def open(self, case_name: str) -> str:
        """Sorted set: ids of executions without a verdict, by the time at which the sweep should check them."""
        return self._of(case_name, "open")

    def test(self, case_name: str, test_id: str) -> str:
        """Hash: one execution."""
        return self._of(case_name, f"test:{test_id}")

    def signals(self, case_name: str, test_id: str) -> str:
        """Hash: signals of one test, and ``>address`` for each process that listens for them."""
        return self._of(case_name, f"signals:{test_id}")

    def unrecorded(self, case_name: str) -> str:
        """Sorted set: ids that have signals but no record, by the time at which the signals expire."""
        return self._of(case_name, "unrecorded")

    def unrecorded_bytes(self, case_name: str) -> str:
        """Hash: each of these ids to the bytes of its signals; the empty id to their sum."""
        return self._of(case_name, "unrecorded-bytes")

    def reports(self, case_name: str) -> str:
        """Stream: reports."""
        return self._of(case_name, "reports")

    def late(self, case_name: str) -> str:
        """Stream: reports of signals that arrived again after the verdict, to which services add."""
        return self._of(case_name, "late")

    def of_case(self, case_name: str) -> list[str]:
        """Return the keys of a case, without those of each test; the indexes of tests are last."""
        named = self.suite, self.runtime, self.latency, self.frequency, self.reports, self.late
        indexes = self.open, self.unrecorded, self.unrecorded_bytes
        return [key(case_name) for key in (*named, *indexes)]

    def _of(self, case_name: str, what: str) -> str:
        return f"{self.prefix}:{{{case_name}}}:{what}"
