"""The examples of docs/from-faust.md for Celery run, and differ from those for Faust where the page says so."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import _state

from livecheck_celery import State
from livecheck_celery.aio import Case, Signal
from livecheck_celery.cases.arguments import build

PAGE = (Path(__file__).parents[3] / "docs" / "from-faust.md").read_text()
#: By heading, the examples of a section.
EXAMPLES = {
    section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
MODULE = "\n\n".join(example for examples in EXAMPLES.values() for example in examples if "# parcels.py" in example)


@pytest.fixture
def parcels(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[dict[str, Any]]:
    """The module that the page builds, on a server of the tests."""
    module = ModuleType("parcels")
    # Celery adds each task to all later apps of the process.
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    monkeypatch.setitem(sys.modules, "parcels", module)
    exec(compile(MODULE.replace("redis://localhost:6379/0", redis_url), "parcels.py", "exec"), vars(module))
    yield vars(module)
    vars(module)["livecheck"].close()


def run(case: Any, test_id: str, signals: dict[str, Any], **arguments: Any) -> Any:
    """Execute a test of ``case`` with the signals that its services send; return the runner."""
    for name, value in signals.items():
        getattr(case, name).send(value, key=test_id, force=True)
    case.app.flush()
    return case.execute_here(build(case, test_id, (), arguments))


def test_case_of_the_page_passes_and_fails(parcels: dict[str, Any]) -> None:
    case = parcels["test_parcel"]
    signals = {"parcel_weighed": parcels["Parcel"](id="p-1", weight=2.5), "label_printed": "label of p-1"}
    assert run(case, "p-1", signals, weight=2.5).state is State.PASS
    failed = run(case, "p-2", signals, weight=3.5)
    assert (failed.state, str(failed.error)) == (State.FAIL, "accepted with 3.5, weighed as 2.5")


def test_classes_of_livecheck_declare_a_case(parcels: dict[str, Any]) -> None:
    exec(EXAMPLES["Keep the case"][1], parcels)
    case = parcels["test_return"]
    assert isinstance(case, Case)
    assert isinstance(case.parcel_returned, Signal)
    parcel = parcels["Parcel"](id="p-1", weight=2.5)
    assert run(case, "p-1", {"parcel_returned": parcel}).state is State.PASS


def test_hooks_of_the_base_class_are_called(
    parcels: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    example = (
        f"{EXAMPLES['Keep the hooks'][0]}\n\n@livecheck.case(max_consecutive_failures=1)\nclass test_lost(Notifying):\n"
    )
    example += "    async def run(self) -> None:\n        raise AssertionError('lost')\n"
    exec(example, parcels)
    posted: list[Any] = []

    async def post_url(self: Case, url: str, **kwargs: Any) -> None:
        posted.append((url, kwargs["json"]["test"]))

    monkeypatch.setattr(Case, "post_url", post_url)
    with caplog.at_level("INFO"):
        assert run(parcels["test_lost"], "p-1", {}).state is State.FAIL
    assert posted == [("http://localhost:8000/failed/", "parcels.test_lost:p-1")]
    assert "the suite has failed: " in caplog.text
    assert "parcels.test_lost: FAIL" in caplog.text


def test_hooks_of_a_runner_are_called(parcels: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    exec(
        EXAMPLES["Keep the hooks"][1] + EXAMPLES["Keep the case"][1].replace(":\n", ":\n    Runner = TimedRunner\n", 1),
        parcels,
    )
    parcel = parcels["Parcel"](id="p-1", weight=2.5)
    with caplog.at_level("INFO"):
        assert run(parcels["test_return"], "p-1", {"parcel_returned": parcel}).state is State.PASS
    assert re.search(r"parcel_returned took \d+\.\d ms", caplog.text)


def test_reports_of_all_cases_are_posted(parcels: dict[str, Any]) -> None:
    saved: list[Any] = []

    async def save_report(*report: Any) -> None:
        saved.append(report)

    names = parcels | {"save_report": save_report}
    exec(EXAMPLES["Keep the reports"][0] + EXAMPLES["Keep the case"][1], names)
    run(names["test_return"], "p-1", {"parcel_returned": parcels["Parcel"](id="p-1", weight=2.5)})
    names["livecheck"].close()
    assert saved == [("parcels.test_return", State.PASS, None)]


def test_signals_of_a_callback_can_be_awaited(parcels: dict[str, Any]) -> None:
    [line] = re.findall(r"`(asyncio\.ensure_future\(.*\))`", PAGE)
    [awaited] = re.findall(r"`await (test_parcel\.parcel_weighed\.send\(parcel\))`", PAGE)
    names = parcels | {"asyncio": asyncio, "parcel": parcels["Parcel"](id="p-1", weight=2.5)}

    async def send() -> None:
        await eval(line, names)
        await eval(awaited, names)

    asyncio.run(send())


def imports(cell: str) -> tuple[str, list[str]]:
    """Return the module and the names of an import statement."""
    [statement] = ast.parse(cell).body
    assert isinstance(statement, ast.ImportFrom)
    return str(statement.module), [alias.name for alias in statement.names]


def test_each_import_of_the_table_has_the_same_names_here() -> None:
    rows = re.findall(r"^\| `(from faust\.livecheck[^`]*)` \| `(from [^`]*)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for before, after in rows:
        exec(after, {})
        assert imports(before)[1] == imports(after)[1]


def test_what_a_service_does_with_a_parcel_is_the_same_but_for_the_message() -> None:
    before, after = EXAMPLES["Turn agents into tasks"]
    before, after = (text[text.index("async def accept") :].splitlines() for text in (before, after))
    assert before[:3] == after[:3]
    assert (before[3].strip(), len(before), len(after)) == ("await weighing.send(value=parcel)", 4, 4)


def test_every_example_on_the_page_is_tested() -> None:
    assert {title: len(examples) for title, examples in EXAMPLES.items() if examples} == {
        "Change the imports": 2,
        "Keep the case": 2,
        "Turn agents into tasks": 2,
        "Keep the hooks": 2,
        "Keep the reports": 1,
    }
