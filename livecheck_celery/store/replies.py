"""Replies of the operations on executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from livecheck_celery.models import SignalEvent, State, TestExecution
from livecheck_celery.store.statistics import Recent


class Claim(NamedTuple):
    """Reply to a claim.

    Attributes:
        outcome: ``run``, ``expired`` or ``inactive``: claimed, and the claimer must write a verdict;
            ``done`` or ``busy``: not claimed, nothing to do.
        attempt: 1 for the first claim of the execution.
        recorded_at: Redis time of the trigger.
        expires_at: Redis time from which it is no longer run.
        signals: signals that have arrived so far, by name.
        now: Redis time of the claim.
        use: use of the id that the record is of; that of a message delivered again can differ.
    """

    outcome: str
    attempt: int
    recorded_at: float
    expires_at: float
    signals: dict[str, SignalEvent]
    now: float
    use: str


class Verdict(NamedTuple):
    """Reply to a verdict.

    Attributes:
        accepted: False if the execution has another verdict, or the token is not current.
        at: Redis time of the verdict.
        consecutive_failures: of the suite, after the verdict.
        status: of the suite, after the verdict.
        change: ``consecutive`` or ``rate`` if the suite began to fail with this verdict, for that reason; ``recovered``
            if it ceased to; else empty.
        recent: the failed and the executed tests of the failure rate.
    """

    accepted: bool
    at: float
    consecutive_failures: int
    status: State
    change: str = ""
    recent: Recent = Recent(0, 0)


def read_verdict(reply: Sequence[Any]) -> Verdict:
    """Parse the reply to a verdict.

    Raises:
        ValueError, TypeError: a part of it was not written by LiveCheck.
    """
    accepted, at, consecutive_failures, status, change, *recent = reply
    counts = Recent(*map(int, recent))
    return Verdict(bool(accepted), float(at), int(consecutive_failures), State(status), str(change), counts)


class Recovery(NamedTuple):
    """The action that the sweep must take on an execution.

    Attributes:
        action: ``none``; ``send`` its message again, or ``again`` if it was put off; ``resend`` it unless messages wait
            in its queue, since it can be one of them; or write its verdict with the token given: ``timeout`` (it ran
            past its expiry), ``lost`` (its worker died), ``expired`` (it was not claimed in time) or ``revoked``.
        test: the execution, unless the action is ``none``.
    """

    action: str
    test: TestExecution | None
