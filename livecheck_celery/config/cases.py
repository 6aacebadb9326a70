"""Options of a case: names, defaults and ranges, which are the reference's."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field

from livecheck_celery.config.options import Resolved
from livecheck_celery.utils.durations import optional_duration
from livecheck_celery.utils.option_types import (
    LONGEST,
    MOST_ITEMS,
    Delay,
    Expiry,
    Frequency,
    Period,
    Timeout,
)

#: Limit of one history, which is read whole.
_MOST_HISTORY: Final = 100_000


class UrlOptions:
    """Options of the HTTP requests of a case, with their defaults."""

    url_timeout_total: Annotated[
        Timeout | None,
        BeforeValidator(optional_duration),
        Field(description="Limit for one attempt, from DNS lookup to last byte; None for no limit."),
    ] = 300.0
    url_timeout_connect: Annotated[
        Timeout | None, BeforeValidator(optional_duration), Field(description="Limit for connecting; None for none.")
    ] = None
    url_error_retries: Annotated[int, Field(ge=0, le=MOST_ITEMS, description="Retries after a failed attempt.")] = 10
    url_error_delay_min: Annotated[Delay, Field(description="Delay before the first retry.")] = 0.5
    url_error_delay_backoff: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="Factor from one delay to the next.")
    ] = 1.5
    url_error_delay_max: Annotated[Delay, Field(description="Longest delay.")] = 5.0


@dataclass(frozen=True, kw_only=True)
class UrlSettings:
    """The six ``url_*`` options of a case as one value: timeouts and retries of an HTTP request.

    Attributes:
        timeout_total: seconds for one attempt, from the DNS lookup to the last byte; None for no limit.
        timeout_connect: seconds for connecting; None for no limit but ``timeout_total``.
        error_retries: retries after a failed attempt.
        error_delay_min: seconds before the first retry.
        error_delay_backoff: factor from one delay to the next.
        error_delay_max: longest delay in seconds.
    """

    timeout_total: float | None
    timeout_connect: float | None
    error_retries: int
    error_delay_min: float
    error_delay_backoff: float
    error_delay_max: float

    @classmethod
    def of(cls, options: UrlOptions) -> Self:
        """Collect the ``url_*`` attributes of a case."""
        return cls(**{field.name: getattr(options, f"url_{field.name}") for field in fields(cls)})


class CaseOptions(UrlOptions):
    """Options of a case with their defaults, which are the reference's (``livecheck.Case``)."""

    active: Annotated[bool, Field(description="Whether tests of the case are triggered and run.")] = True
    probability: Annotated[
        float, Field(ge=0, le=1, allow_inf_nan=False, description="Share of requests that `maybe_trigger` tests.")
    ] = 0.5
    warn_stalled_after: Annotated[
        Period, Field(description="Time without any test after which the suite is STALL.")
    ] = 1800.0
    test_expires: Annotated[Expiry, Field(description="Time after the trigger from which a test is no longer run.")] = (
        timedelta(hours=3)
    )
    frequency: Annotated[
        Frequency,
        Field(description="Time between fake requests, or a Celery schedule; None or 0 for no fake requests."),
    ] = None
    realtime_logs: Annotated[
        bool, Field(description="Whether lines of a test are logged at once, not together after the verdict.")
    ] = False
    max_runtime: Annotated[
        Annotated[float, Field(gt=0, le=LONGEST)] | None,
        BeforeValidator(optional_duration),
        Field(description="Time after which a `run()` that has not returned is a TIMEOUT."),
    ] = None
    max_rate: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Field(
            description="Tests a second, over ten seconds, for those of fake requests and for all others each; further "
            "triggers are refused. None for no limit."
        ),
    ] = 100.0
    max_history: Annotated[int, Field(ge=1, le=_MOST_HISTORY, description="Items in each history.")] = 100
    max_consecutive_failures: Annotated[
        int, Field(ge=1, le=MOST_ITEMS, description="Failed tests in a row with which the suite fails.")
    ] = 30
    max_failure_rate: Annotated[
        float, Field(ge=0, le=1, description="Share of failed tests above which the suite fails; 1 disables it.")
    ] = 0.2
    failure_rate_window: Annotated[
        Period,
        Field(description="Time over which that share is measured; longer if there are few tests."),
    ] = 60.0
    failure_rate_tests: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_ITEMS,
            description="Tests without which that share is not judged. It is measured over five times as many, or all "
            "tests of `failure_rate_window` if those are more; and this many passes in a row end the failure.",
        ),
    ] = 20
    state_transition_delay: Annotated[
        Delay, Field(description="Time after a suite failure in which a pass does not restore the status.")
    ] = 60.0


#: Options that can be overridden at run time.
OVERRIDABLE: Final = ("active", "probability")


with warnings.catch_warnings():
    # Older versions of pydantic warn of every field that a base class declares which is not a model.
    warnings.filterwarnings("ignore", r"Field name .* shadows an attribute in parent")

    class CaseSettings(CaseOptions, Resolved):
        """Validated options of one case."""
