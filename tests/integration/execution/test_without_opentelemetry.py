"""Executions in a process where OpenTelemetry is not installed."""

from __future__ import annotations

import pytest

from tests.helpers.scripts import run_script

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

from celery import Celery
from livecheck_celery import Case, LiveCheck, State
from livecheck_celery.cases.arguments import build

livecheck = LiveCheck(Celery("shop", broker=sys.argv[1], set_as_current=False))

@livecheck.case(name="shop.test_order")
class test_order(Case):
    def run(self) -> None: ...

test = test_order.trigger("o-1")
assert test.traceparent is None
assert test_order.execute(test).state is State.PASS
livecheck.close()
assert "opentelemetry" not in sys.modules
try:
    import livecheck_celery.propagation.otel
except ModuleNotFoundError as exc:
    assert exc.name.startswith("opentelemetry"), exc
else:
    raise AssertionError("opentelemetry was imported")
"""


@pytest.mark.promise("Without OpenTelemetry everything else works.", theme="otel")
def test_execution_works_without_opentelemetry(redis_url: str) -> None:
    run_script(WITHOUT, redis_url)
