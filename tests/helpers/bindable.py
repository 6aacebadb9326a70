"""Functions that a process pool can call by their import path."""

from __future__ import annotations

import os
from typing import Any

from livecheck_celery.context import current_tests
from tests.helpers.marks import synthetic_case
from tests.helpers.order_case import make_order_case


def seen_in_process(*_: Any) -> tuple[int, list[str], str | None]:
    return os.getpid(), [test.id for test in current_tests()], synthetic_case()


def send_and_exit(url: str, value: str) -> None:
    """Send a signal to the current test as the last thing that the process does."""
    make_order_case(url).sent.send(value)
