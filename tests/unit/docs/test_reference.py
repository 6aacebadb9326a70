"""The table of docs/reference.md has every name of the reference, and each name exists where the table says so."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from celery import Celery

import livecheck_celery
from livecheck_celery import SignalEvent, TestReport, aio
from tests.helpers.factories import make_test

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference.md").read_text()
#: By name, whether it is a coroutine in the reference.
NAMES = {
    name: kind == "async"
    for line in (Path(__file__).parent / "reference_names.txt").read_text().splitlines()
    if not line.startswith("#")
    for name, _, kind in [line.partition(" ")]
}
NOWHERE = "—"


class Row(NamedTuple):
    """A row of the table; ``name`` has the module."""

    name: str
    here: str
    kind: str
    difference: str


def rows() -> Iterator[Row]:
    for section in re.split(r"^## faust\.livecheck", PAGE, flags=re.MULTILINE)[1:]:
        module, _, text = section.partition("\n")
        for name, here, kind, difference in re.findall(r"^\| `(.*?)` \| (.*?) \| (.*?) \|(.*)\|$", text, re.MULTILINE):
            yield Row(f"{module[1:]}.{name}".lstrip("."), here.strip("`"), kind, difference.strip())


ROWS = list(rows())
FOUND = [row for row in ROWS if row.here != NOWHERE]


@pytest.fixture(scope="module")
def objects(valkey_url: str) -> Iterator[dict[ModuleType, dict[str, Any]]]:
    """An object of each class, by face and name of the class."""
    made: dict[ModuleType, dict[str, Any]] = {}
    for face in (livecheck_celery, aio):
        livecheck = face.LiveCheck(Celery("shop", broker=valkey_url, set_as_current=False), enabled=False)

        @livecheck.case(name="shop.test_order")
        class test_order(face.Case):
            stored: face.Signal[str]

        made[face] = {
            "LiveCheck": livecheck,
            "Case": test_order,
            "Signal": test_order.stored,
            "BaseSignal": test_order.stored,
            "TestRunner": face.TestRunner(test_order, make_test(), started=0.0),
            "TestExecution": make_test(),
            "SignalEvent": SignalEvent("stored", "shop.test_order", "o-1"),
            "TestReport": TestReport("shop.test_order", livecheck_celery.State.PASS),
        }
    yield made
    for names in made.values():
        names["LiveCheck"].close()


def resolve(face: ModuleType, objects: dict[str, Any], here: str) -> Any:
    """Return what ``here`` names in a face; attributes that a class does not have are those of its object."""
    if here.startswith("livecheck_celery."):
        module, _, name = here.rpartition(".")
        return getattr(import_module(module), name)
    first, *rest = here.split(".")
    found = getattr(face, first)
    if rest and (len(rest) > 1 or not hasattr(found, rest[0])):
        found = objects[first]
    for name in rest:
        found = getattr(found, name)
    return found


def is_async(found: Any) -> bool:
    """Return whether a call of a function, or of an object such as a trigger, gives a coroutine."""
    if not inspect.isroutine(found) and not isinstance(found, type):
        found = getattr(found, "__call__", found)  # noqa: B004 - the method
    return inspect.iscoroutinefunction(inspect.unwrap(found))


def test_the_table_has_each_name_of_the_reference_once() -> None:
    assert sorted(row.name for row in ROWS) == sorted(NAMES)


@pytest.mark.promise("Every name of `faust.livecheck` exists where the table says so.", theme="docs")
@pytest.mark.parametrize("row", FOUND, ids=lambda row: row.name)
def test_each_name_exists_in_both_faces(row: Row, objects: dict[ModuleType, dict[str, Any]]) -> None:
    found = {face: resolve(face, objects[face], row.here) for face in objects}
    if row.kind == "awaitable":
        assert all(inspect.isawaitable(objects[face]["Signal"].send()) for face in objects)
    elif row.kind == "async with":
        blocks = [objects[face]["Case"].maybe_trigger() for face in objects]
        assert all(hasattr(block, "__aenter__") and hasattr(block, "__enter__") for block in blocks)
    elif row.kind == "coroutine":
        first, _, last = row.here.rpartition(".")
        bound = {face: getattr(objects[face][first], last) for face in objects}
        assert {face: is_async(each) for face, each in bound.items()} == {livecheck_celery: False, aio: True}
    else:
        assert row.kind in ("the same", "either")
        assert {is_async(each) for each in found.values()} == {False}


def test_what_is_awaited_in_the_reference_can_be_awaited_in_the_asyncio_face() -> None:
    wrong = [row.name for row in FOUND if NAMES[row.name] != (row.kind != "the same")]
    assert wrong == []


def test_a_name_without_counterpart_has_a_reason() -> None:
    nowhere = [row for row in ROWS if row.here == NOWHERE]
    assert nowhere
    assert [row.name for row in nowhere if len(row.difference) < 10 or row.kind != NOWHERE] == []


def test_a_name_that_is_elsewhere_or_otherwise_has_a_reason() -> None:
    moved = [row.name for row in FOUND if row.here.split(".")[-1] != row.name.split(".")[-1] and not row.difference]
    assert moved == []


def test_a_name_that_a_reason_refers_to_has_one() -> None:
    by_name = {(row.name.partition(".")[0], row.name.split(".")[-1]): row for row in ROWS}
    for row in ROWS:
        if named := re.match(r"as `(\w+)`", row.difference):
            assert by_name[row.name.partition(".")[0], named[1]].difference, row


CASES = {
    "examples/aio_orders/checks.py": r"(?s).*",
    "docs/from-faust.md": r"(?s)(?<=# parcels\.py\n)@livecheck.*?(?=```)",
}


@pytest.mark.parametrize("source", CASES)
def test_case_that_could_be_one_of_the_reference_uses_its_names_only(source: str) -> None:
    text = re.search(CASES[source], (ROOT / source).read_text())
    assert text
    classes = [node for node in ast.walk(ast.parse(text[0])) if isinstance(node, ast.ClassDef)]
    [case] = [node for node in classes if node.name.startswith("test_")]
    signals = {ast.unparse(node.target) for node in case.body if isinstance(node, ast.AnnAssign)}
    methods = {node.name for node in case.body if isinstance(node, ast.AsyncFunctionDef)}
    used = {
        node.attr
        for node in ast.walk(case)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    known = {name.removeprefix("case.Case."): is_async for name, is_async in NAMES.items() if "case.Case." in name}
    assert used - signals <= known.keys()
    assert signals <= used
    assert {known[method] for method in methods} == {True}
