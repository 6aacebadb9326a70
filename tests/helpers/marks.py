"""Read and make marks of fake requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from livecheck_celery.blocks import Mark
from livecheck_celery.context import mark_in_force


def synthetic_case() -> str | None:
    """Return the name of the case whose fake request the running code is part of, if any."""
    mark = mark_in_force()
    return None if mark is None else mark.case_name


def make_mark(case_name: str = "shop.test_order", since: datetime | None = None) -> Mark:
    """Make the mark of a fake request that began now, or at ``since``, for an hour."""
    since = since or datetime.now(UTC)
    return Mark(case_name, since, since + timedelta(hours=1))
