"""Methods of a case that LiveCheck calls are no generators, are those of its face, and take its arguments."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from livecheck_celery import Case, ConfigurationError, LiveCheck, aio


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


METHODS = ["run", "make_fake_request", "post_report", "execute", "resolve_signal", "on_suite_fail", "on_test_pass"]


async def coroutine(*args: Any) -> None:
    pass


class CallableCoroutine:
    async def __call__(self, *args: Any) -> None:
        pass


@pytest.mark.promise("A method of the other face is refused in one line when its case is declared.", theme="cases")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "method",
    [
        coroutine,
        staticmethod(coroutine),
        classmethod(coroutine),
        functools.partial(coroutine, None),
        functools.partialmethod(coroutine),
        CallableCoroutine(),
    ],
    ids=lambda method: type(method).__name__,
)
def test_coroutine_function_is_refused_in_the_sync_face(livecheck: LiveCheck, name: str, method: Any) -> None:
    for cls in (type("test_order", (Case,), {name: method}), type("test_order", (), {name: method})):
        with pytest.raises(ConfigurationError) as caught:
            livecheck.case(name="shop.test_order")(cls)
        assert str(caught.value) == (
            f"case shop.test_order: {name}() is async def, which this face does not await; cases with async def are "
            "those of livecheck_celery.aio"
        )
    livecheck.add_case(type("test_order", (aio.Case,), {name: method}), name="shop.test_order")


def plain(name: str) -> Any:
    """Return a function that is written with ``def`` and this name."""
    functions: dict[str, Any] = {}
    exec(f"def {name}(*args): pass", functions)
    return functions[name]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "kind", [lambda method: method, staticmethod, classmethod, functools.partialmethod], ids=["def", "s", "c", "p"]
)
def test_plain_method_is_refused_in_the_asyncio_face(livecheck: LiveCheck, name: str, kind: Any) -> None:
    cls = type("test_order", (aio.Case,), {name: kind(plain(name))})
    with pytest.raises(ConfigurationError) as caught:
        livecheck.add_case(cls, name="shop.test_order")
    assert str(caught.value) == (
        f"case shop.test_order: {name}() must be async def in a case of livecheck_celery.aio; cases with def are those "
        "of livecheck_celery"
    )
    livecheck.add_case(type("test_order", (Case,), {name: kind(plain(name))}), name="shop.test_order")


def wrapping(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("decorate", [wrapping, lambda function: functools.wraps(function)(wrapping(function))])
def test_decorated_method_is_accepted_in_both_faces(livecheck: LiveCheck, name: str, decorate: Any) -> None:
    for number, face in enumerate((Case, aio.Case)):
        for method in (coroutine, plain(name)):
            cls = type("test_order", (face,), {name: decorate(method)})
            livecheck.add_case(cls, name=f"shop.test_{number}_{method.__name__}")


HOOKS = {
    "make_fake_request": "make_fake_request()",
    "on_suite_fail": "on_suite_fail(exc, new_state)",
    "on_test_error": "on_test_error(runner, exc)",
    "on_test_failed": "on_test_failed(runner, exc)",
    "on_test_pass": "on_test_pass(runner)",
    "on_test_skipped": "on_test_skipped(runner)",
    "on_test_start": "on_test_start(runner)",
    "on_test_timeout": "on_test_timeout(runner, exc)",
    "post_report": "post_report(report)",
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize(
    "method",
    [
        lambda: None,
        lambda self, one, two, three: None,
        lambda self, *, runner: None,
        staticmethod(lambda one, two, three: None),
        classmethod(lambda cls, one, two, three: None),
    ],
)
def test_hook_that_cannot_take_its_arguments_is_refused(livecheck: LiveCheck, name: str, method: Any) -> None:
    cls = type("test_order", (Case,), {name: method})
    with pytest.raises(ConfigurationError, match=rf"^case shop\.test_order: {name}\(\) is called as ") as caught:
        livecheck.add_case(cls, name="shop.test_order")
    assert HOOKS[name] in str(caught.value)


def adapted(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args, "session")

    return call


def on_test_pass(self: Any, runner: Any, session: str) -> None: ...


@pytest.mark.parametrize(
    "method",
    [
        lambda self, test: None,
        lambda self, runner, more=None: None,
        lambda *args: None,
        staticmethod(lambda runner: None),
        staticmethod(print),
        classmethod(lambda cls, runner: None),
        functools.partialmethod(on_test_pass, session="s"),
        adapted(on_test_pass),
        print,
    ],
)
def test_hook_that_takes_its_arguments_under_any_name_is_accepted(livecheck: LiveCheck, method: Any) -> None:
    livecheck.add_case(type("test_order", (Case,), {"on_test_pass": method}), name="shop.test_order")
    livecheck.add_case(type("test_other", (Case,), {"on_order": lambda self, a, b, c: None}), name="shop.test_other")
