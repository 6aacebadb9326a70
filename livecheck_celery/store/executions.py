"""Executions: requests, claims, recovery and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from livecheck_celery import models
from livecheck_celery.errors import DuplicateTest, TooManyTests, UnreadableData
from livecheck_celery.models import EXECUTION, TestExecution, TestReport
from livecheck_celery.store import execution_scripts as scripts
from livecheck_celery.store.database import FORGET_AFTER, KEEP, Database, as_dict, readable
from livecheck_celery.store.encoding import execution_json
from livecheck_celery.store.open_cases import OpenCases
from livecheck_celery.store.replies import Claim, Recovery, Verdict, read_verdict
from livecheck_celery.store.scripts import Call
from livecheck_celery.store.signals import SIGNAL_TTL, read_signals
from livecheck_celery.store.signed_options import SignedOptions
from livecheck_celery.store.statistics import DEFAULT_LIMITS, FailureLimits

#: Seconds after which the message of an unclaimed execution is re-sent; the delay doubles each time.
RESEND_AFTER: Final = 30.0
#: Maximum of that delay, in seconds.
MAX_RESEND: Final = 600.0
#: An execution whose worker died this many times is not retried.
MAX_ATTEMPTS: Final = 3
#: Seconds for which a record that a claim created is kept, in case the message is delivered twice.
REMEMBER: Final = 3600
#: Why an execution was not recorded.
DUPLICATE, BACKLOG, RATE = "duplicate", "backlog", "rate"
#: Seconds for which tests can come at once, at ``max_rate``.
BURST: Final = 10.0
#: Seconds a sweeper has to write the verdict of an execution it closes.
CLOSING_LEASE: Final = 30.0


class Executions:
    """Executions, from the request to the verdict."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._options = SignedOptions(database)
        self.open_cases = OpenCases(database)

    def record(
        self, test: TestExecution, *, expires_in: float, delay: float = 0.0, max_rate: float | None = None
    ) -> TestExecution:
        """Record that ``test`` is requested, to run after ``delay`` seconds and within ``expires_in`` more.

        Tests of fake requests have a ``max_rate`` of their own, so that others cannot use it up.

        Returns:
            The test, with ``recorded_at``.

        Raises:
            DuplicateTest: an execution with that id has no verdict yet.
            TooManyTests: ``max_open`` or ``max_open_bytes`` of the case is reached by executions without a verdict, or
                ``max_rate`` is.
            InvalidPayload: the arguments are not JSON.
            RedisUnavailable: Redis did not answer; the test may have been recorded.
        """
        call = self.record_call(test, expires_in=expires_in, delay=delay, max_rate=max_rate)
        outcome = self._database.repeat_if_cut(partial(self.open_cases.run, call, test.case_name))
        if outcome == DUPLICATE:
            raise DuplicateTest(f"{test.ident}: a test of that id has no verdict yet")
        if outcome == BACKLOG:
            raise TooManyTests(
                f"{test.ident}: too many tests of the case have no verdict yet (livecheck_max_open, "
                "livecheck_max_open_bytes)"
            )
        if outcome == RATE:
            raise TooManyTests(f"{test.ident}: more than {max_rate:g} tests of the case a second (max_rate)")
        return replace(test, recorded_at=float(outcome))

    def record_call(self, test: TestExecution, *, expires_in: float, delay: float, max_rate: float | None) -> Call:
        """Build the call of `record`; the reply is ``recorded_at``, or `DUPLICATE`, `BACKLOG` or `RATE`.

        Raises:
            InvalidPayload: the arguments are not JSON.
        """
        keys, case, test_id = self._database.keys, test.case_name, test.id
        return scripts.RECORD(
            test=keys.test(case, test_id),
            open=keys.open(case),
            signals=keys.signals(case, test_id),
            suite=keys.suite(case),
            unrecorded=keys.unrecorded(case),
            unrecorded_bytes=keys.unrecorded_bytes(case),
            id=test_id,
            payload=execution_json(self._options.signed(test)),
            expires_in=expires_in,
            delay=delay,
            resend_after=RESEND_AFTER,
            keep=KEEP,
            max_open=self._database.settings.max_open,
            layout=models.LAYOUT,
            use=test.use,
            max_open_bytes=self._database.settings.max_open_bytes,
            max_rate=max_rate,
            burst=BURST,
            synthetic=test.synthetic,
        )

    def claim(
        self,
        test: TestExecution,
        *,
        token: str,
        address: str,
        lease: float,
        active: bool,
        frequency: float | None,
        max_history: int,
        expires_in: float,
        limits: Mapping[str, int] | None = None,
    ) -> Claim:
        """Claim an execution for ``lease`` seconds; a repeated call with the same token gets the same reply.

        A test without a record is recorded now, to expire in ``expires_in`` seconds, if its message came without one
        or Redis lost it; but not if it has had its verdict. From now on signals of the test are published to the
        process at ``address``. A claim with the outcome ``run`` counts in the statistics of the suite.

        Args:
            test: the execution, as its message has it.
            token: fencing token, unique to this claim.
            address: address of the process.
            lease: duration of the lease, in seconds.
            active: whether the case runs tests.
            frequency: expected seconds between tests.
            max_history: maximum length of the histories.
            expires_in: seconds until a test that is recorded now expires.
            limits: number of times a signal can arrive, by name.

        Raises:
            InvalidPayload: the arguments are not JSON.
            UnreadableData: LiveCheck did not write the record.
            RedisUnavailable: Redis did not answer; the claim may have succeeded.
        """
        keys, case = self._database.keys, test.case_name
        signals_key = keys.signals(case, test.id)
        call = scripts.CLAIM(
            test=keys.test(case, test.id),
            open=keys.open(case),
            signals=signals_key,
            suite=keys.suite(case),
            frequency=keys.frequency(case),
            latency=keys.latency(case),
            id=test.id,
            payload=execution_json(self._options.signed(test)),
            token=token,
            address=address,
            lease=lease,
            active=active,
            period=frequency,
            max_history=max_history,
            expires_in=expires_in,
            keep=KEEP,
            signal_ttl=SIGNAL_TTL,
            recorded_at=test.recorded_at,
            forget_after=FORGET_AFTER,
            layout=models.LAYOUT,
            use=test.use,
            limits=json.dumps(dict(limits)) if limits else None,
        )
        outcome, attempt, recorded_at, expires_at, signals, now, use = self.open_cases.run(call, case)
        arrived = read_signals(signals_key, case, test.id, as_dict(signals))

        def parse() -> Claim:
            test.used_at(use)
            return Claim(outcome, attempt, float(recorded_at), float(expires_at), arrived, float(now), use)

        return readable(keys.test(case, test.id), parse)

    def renew(self, leases: Sequence[tuple[str, str, str]], lease: float) -> list[tuple[str, str, str]]:
        """Renew leases, each (case name, test id, token), to ``lease`` seconds from now, in one round trip.

        Returns:
            The leases whose token no longer holds the execution.

        Raises:
            RedisUnavailable: Redis did not answer; some may have been renewed.
        """
        calls = [
            scripts.RENEW(**self._named(case, test_id), token=token, lease=lease) for case, test_id, token in leases
        ]
        replies = self._run_for_each(calls)
        return [held for held, renewed in zip(leases, replies, strict=True) if renewed == 0]

    def release(self, case_name: str, test_id: str, token: str) -> bool:
        """Release an execution, for the sweep to re-send at once; this attempt does not count.

        Returns:
            False if the token does not hold the execution.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._database.run(scripts.RELEASE(**self._named(case_name, test_id), token=token)))

    def release_all(self, leases: Sequence[tuple[str, str, str]]) -> None:
        """Release executions, each (case name, test id, token), in one round trip; as `release` does.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run_for_each(
            [scripts.RELEASE(**self._named(case, test_id), token=token) for case, test_id, token in leases]
        )

    def _named(self, case_name: str, test_id: str) -> dict[str, str]:
        """Return the keys and the argument by which most scripts know an execution."""
        keys = self._database.keys
        return {"test": keys.test(case_name, test_id), "open": keys.open(case_name), "id": test_id}

    def _run_for_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts in one round trip; the reply is None for a record that LiveCheck did not write.

        Raises:
            RedisUnavailable: Redis did not answer, or refused a script, not because of what its keys hold.
        """
        replies = self._database.run_all(calls, raise_on_error=False)
        return self._database.without_unreadable([call.keys[0] for call in calls], replies)

    def verdict(
        self,
        report: TestReport,
        token: str,
        *,
        max_history: int,
        state_transition_delay: float,
        limits: FailureLimits = DEFAULT_LIMITS,
    ) -> Verdict:
        """Record the verdict in ``report``; the first verdict with the current token is accepted.

        A repeated call with the same token gets the same reply, and counts nothing twice. A pass does not change the
        status of a suite that failed less than ``state_transition_delay`` seconds ago. The suite begins to fail with
        the failed test that reaches one of the ``limits``, and each further one is a failure of the suite, until it
        recovers.

        Raises:
            ValueError: the report has no execution.
            RedisUnavailable: Redis did not answer; the verdict may have been recorded.
        """
        if report.test is None:
            raise ValueError("the report of a verdict must have an execution; this one has none")
        keys, case, test_id = self._database.keys, report.case_name, report.test.id
        call = scripts.VERDICT(
            test=keys.test(case, test_id),
            open=keys.open(case),
            signals=keys.signals(case, test_id),
            suite=keys.suite(case),
            runtime_history=keys.runtime(case),
            reports=keys.reports(case),
            id=test_id,
            token=token,
            verdict=report.state.value,
            runtime=report.runtime,
            max_history=max_history,
            delay=state_transition_delay,
            report=self._database.report_json(report),
            **self._database.report_limits,
            forget_after=FORGET_AFTER,
            remember=REMEMBER,
            **limits._asdict(),
            max_open_bytes=self._database.settings.max_open_bytes,
        )
        reply = self._database.run(call)
        return readable(keys.suite(case), lambda: read_verdict(reply))

    def due(self, case_name: str, limit: int) -> list[str]:
        """Return the ids of at most ``limit`` executions that the sweep should check now, longest overdue first.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return list(self._database.run(scripts.DUE(open=self._database.keys.open(case_name), limit=limit)))

    def open_count(self, case_name: str) -> int:
        """Count the executions of a case without a verdict; those of a key of another type are none.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.open(case_name)
        pipeline = self._database.pipeline()
        pipeline.zcard(key)
        [count] = self._database.execute_each(pipeline, [key])
        return count or 0

    def make_due(self, case_name: str, test_ids: Sequence[str]) -> None:
        """Make executions due for the next sweep, since this one could not act on them.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self._database.errors_translated():
            self._database.client.zadd(self._database.keys.open(case_name), dict.fromkeys(test_ids, 0.0), xx=True)

    def unsent(self, found: Sequence[Recovery]) -> None:
        """Note that the messages of executions, which the sweep was to send, were not sent, in one round trip.

        The next sweep takes the same actions; an attempt that failed does not defer later ones.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        taken = {"send": "1", "again": "put off"}
        self._run_for_each(
            [
                scripts.UNSENT(**self._named(one.test.case_name, one.test.id), taken=taken.get(one.action))
                for one in found
                if one.test is not None
            ]
        )

    def discard(self, case_name: str, test_id: str) -> None:
        """Delete an execution that cannot get a verdict.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        self._database.run(
            scripts.DISCARD(
                test=keys.test(case_name, test_id),
                open=keys.open(case_name),
                suite=keys.suite(case_name),
                id=test_id,
            )
        )

    def put_off(self, tests: Sequence[TestExecution], seconds: float, most: float) -> None:
        """Have recorded executions that no worker runs sent again later, in one round trip.

        Args:
            tests: the executions, as their messages have them.
            seconds: until the sweep sends the message; doubled with each message that it has sent.
            most: maximum of these seconds.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._database.run_all(
            [
                scripts.PUT_OFF(
                    **self._named(test.case_name, test.id),
                    recorded_at=test.recorded_at,
                    resend_after=seconds,
                    max_resend=most,
                )
                for test in tests
            ]
        )

    def revoke(self, test: TestExecution, token: str) -> bool:
        """Take over an execution whose task was revoked; return whether the caller must write its verdict.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        call = scripts.REVOKE(
            **self._named(test.case_name, test.id),
            token=token,
            recorded_at=test.recorded_at,
            closing_lease=CLOSING_LEASE,
            layout=models.LAYOUT,
        )
        return bool(self._database.run(call))

    def recover(self, case_name: str, test_id: str, token: str) -> Recovery:
        """Decide which action to take on an execution that is due; of several sweepers, one gets the action.

        Raises:
            UnreadableData: the record cannot be parsed.
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.test(case_name, test_id)
        call = scripts.RECOVER(
            **self._named(case_name, test_id),
            suite=self._database.keys.suite(case_name),
            token=token,
            max_attempts=MAX_ATTEMPTS,
            resend_after=RESEND_AFTER,
            max_resend=MAX_RESEND,
            closing_lease=CLOSING_LEASE,
            layout=models.LAYOUT,
        )
        action, payload, recorded_at = self._database.run(call)
        if action == "none":
            return Recovery(action, None)
        if action == "unreadable":
            raise UnreadableData(f"Redis key {key} holds something LiveCheck did not write")
        test = readable(key, lambda: replace(EXECUTION.validate_json(payload), recorded_at=float(recorded_at)))
        if (test.case_name, test.id) != (case_name, test_id):
            raise UnreadableData(f"Redis key {key} holds the record of another test: {test.ident:.200}")
        return Recovery(action, self._options.verified(test, is_sent=action in ("send", "resend")))
