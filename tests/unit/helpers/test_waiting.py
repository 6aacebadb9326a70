"""Waiting for a condition is bounded."""

import pytest

from tests.helpers.waiting import wait_until


def test_wait_until_fails_at_its_timeout() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.05 s: the moon"):
        wait_until(lambda: False, timeout=0.05, what="the moon")
