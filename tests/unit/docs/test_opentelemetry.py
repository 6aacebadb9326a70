"""The example in docs/opentelemetry.md runs unchanged, in its own process."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.helpers.scripts import run_script

PAGE = Path(__file__).parents[3] / "docs" / "opentelemetry.md"

THEN = """
from livecheck_celery.models import EXECUTION

create_order("o-1", "sell")
assert livecheck.runtime.outbox.flush()
record = livecheck.runtime.store.client.hget(livecheck.runtime.store.keys.test("test_order", "o-1"), "payload")
test_order.execute(EXECUTION.validate_json(record))
livecheck.close()
"""


def test_example_prints_the_span_of_an_execution(redis_url: str, tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n# checks\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = run_script(example + THEN, cwd=tmp_path, env={"LIVECHECK_BROKER_URL": redis_url})
    request, execution = (json.loads(text) for text in re.split(r"(?<=^})\n", done.stdout.strip(), flags=re.MULTILINE))
    assert execution["name"] == "livecheck test_order"
    assert execution["attributes"]["test.case.result.status"] == "pass"
    assert [event["name"] for event in execution["events"]] == ["order_stored"]
    assert [link["context"]["span_id"] for link in execution["links"]] == [request["context"]["span_id"]]
