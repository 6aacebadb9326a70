"""Methods of a case that LiveCheck calls are not generators."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from livecheck_celery import Case, ConfigurationError, LiveCheck


def generator(self: Any, *args: Any) -> Iterator[int]:
    yield 1


async def async_generator(self: Any, *args: Any) -> AsyncIterator[int]:
    yield 1


class CallableGenerator:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize("name", ["run", "make_fake_request", "post_report", "on_suite_fail", "on_test_pass"])
@pytest.mark.parametrize(
    "method",
    [
        generator,
        async_generator,
        staticmethod(generator),
        classmethod(async_generator),
        functools.partial(generator, None),
        functools.partialmethod(generator),
        CallableGenerator(),
    ],
    ids=lambda method: type(method).__name__,
)
def test_generator_in_place_of_a_method_is_refused(livecheck: LiveCheck, name: str, method: Any) -> None:
    cls = type("test_order", (Case,), {name: method})
    with pytest.raises(ConfigurationError, match=rf"^case shop\.test_order: {name}\(\) has a yield"):
        livecheck.add_case(cls, name="shop.test_order")


def test_generator_of_a_base_class_is_refused(livecheck: LiveCheck) -> None:
    base = type("base", (Case,), {"run": generator})
    with pytest.raises(ConfigurationError, match="yield"):
        livecheck.add_case(type("test_order", (base,), {}), name="shop.test_order")


def test_other_generators_of_a_case_are_accepted(livecheck: LiveCheck) -> None:
    livecheck.add_case(type("test_order", (Case,), {"orders": generator}), name="shop.test_order")
