"""The operands of a failed ``assert``, which are read from its frame without executing code again."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from livecheck_celery.execution.failures import describe

ValuesOf = Callable[[str], tuple[str, list[str]]]

MODULE = """
import errno

class Slotted:
    __slots__ = ("side", "unset")

    def __init__(self):
        self.side = "buy"

class Order:
    channel = "web"

    def __init__(self):
        self.side = "buy"

    @property
    def price(self):
        calls.append("price")

class Prices(dict):
    def __getitem__(self, key):
        calls.append("item")
        return super().__getitem__(key)

class Key(str):
    def __hash__(self):
        calls.append("hash")
        return 1

calls = []

def check():
    order, slotted, prices, amounts = Order(), Slotted(), Prices(a=1), {{"a": 1}}
    key, index, no, numbers = Key("a"), 9, False, [1, 2]
    assert {condition}
"""


@pytest.fixture
def values_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ValuesOf:
    """Return the values that a failure of the condition shows, and the code of values that this has executed."""

    def values_of(condition: str) -> tuple[str, list[str]]:
        name = f"operands_{uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(MODULE.format(condition=condition))
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module(name)
        with pytest.raises(AssertionError) as caught:
            module.check()
        module.calls.clear()
        return describe(caught.value).partition(", where ")[2], module.calls

    return values_of


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("slotted.side == 'sell'", "slotted.side = 'buy'"),
        ("order.channel == 'app'", "order.channel = 'web'"),
        ("errno.ENOENT == 3", "errno.ENOENT = 2"),
        ("amounts['a'] == 2", "amounts['a'] = 1"),
        ("numbers[0] == 2", "numbers[0] = 1"),
        ("numbers[0] == 2 and slotted.unset", "numbers[0] = 1"),
        ("numbers[0] == 2 and numbers[index]", "numbers[0] = 1, numbers = [1, 2], index = 9"),
        ("numbers[0] == 2 and numbers['x']", "numbers[0] = 1"),
        ("numbers[0] == 2 and errno.missing", "numbers[0] = 1"),
        ("no and missing", "no = False"),
    ],
)
def test_values_that_a_plain_lookup_finds_are_shown(values_of: ValuesOf, condition: str, shown: str) -> None:
    values, calls = values_of(condition)
    assert values.startswith(shown)
    assert calls == []


@pytest.mark.parametrize(
    ("condition", "operand"),
    [
        ("order.price", "order.price"),
        ("prices['a'] == 2", "prices['a']"),
        ("no and amounts[key]", "amounts[key]"),
        ("no and order.side[key]", "order.side[key]"),
    ],
    ids=["property", "item of a subclass", "key of a subclass", "key of a subclass in a text"],
)
def test_value_that_code_would_have_to_find_is_not_shown(values_of: ValuesOf, condition: str, operand: str) -> None:
    values, calls = values_of(condition)
    assert values
    assert f"{operand} = " not in values
    assert calls == []


def test_number_of_values_is_bounded(values_of: ValuesOf) -> None:
    names = ("numbers[0]", "numbers[1]", "amounts['a']", "index", "no", "order.side", "order.channel", "slotted.side")
    values, _ = values_of(f"None in ({', '.join(names)}, errno.ENOENT, key)")
    assert values == (
        "numbers[0] = 1, numbers[1] = 2, amounts['a'] = 1, index = 9, no = False, order.side = 'buy', "
        "order.channel = 'web', slotted.side = 'buy'"
    )


def test_source_that_is_not_python_costs_the_values_only(tmp_path: Path) -> None:
    """As of a template that is compiled under its own name."""
    template = tmp_path / "page.html"
    template.write_text("<p>{% if %}\n")
    scope: dict[str, Any] = {}
    exec(compile("def check():\n    assert 1 == 2\n", str(template), "exec"), scope)
    with pytest.raises(AssertionError) as caught:
        scope["check"]()
    assert describe(caught.value).endswith("(page.html:2)")
