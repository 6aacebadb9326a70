"""Random periods."""

from __future__ import annotations

from statistics import fmean

from livecheck_celery.utils.jitter import SHARE, around


def test_periods_differ_and_keep_their_mean() -> None:
    periods = [around(10.0) for _ in range(1_000)]
    assert len(set(periods)) > 900
    assert min(periods) >= 10 * (1 - SHARE)
    assert max(periods) <= 10 * (1 + SHARE)
    assert abs(fmean(periods) - 10) < 0.5
