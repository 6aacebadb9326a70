"""Frameworks are touched only when a test is in force, and never fail a request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from livecheck_celery.context import current_test, under_test
from livecheck_celery.propagation import deferral
from tests.helpers.factories import make_test

TEST = make_test("o-1")


class User:
    pass


@pytest.fixture
def user() -> Iterator[User]:
    user = User()
    deferral.add_user(user)
    yield user
    deferral.remove_user(user)
    assert not hasattr(BackgroundTask.__init__, "__wrapped__")


def test_frameworks_are_followed_until_the_last_user_is_removed(user: User) -> None:
    init = BackgroundTask.__init__
    other = User()
    deferral.add_user(other)
    deferral.follow_frameworks()
    replaced = BackgroundTask.__init__
    deferral.follow_frameworks()
    assert BackgroundTask.__init__ is replaced is not init
    deferral.remove_user(other)
    assert BackgroundTask.__init__ is replaced
    deferral.remove_user(user)
    assert BackgroundTask.__init__ is init
    deferral.follow_frameworks()
    assert BackgroundTask.__init__ is init, "nobody would restore it"
    deferral.add_user(user)
    deferral.follow_frameworks()
    assert BackgroundTask.__init__ is not init


def test_work_that_is_queued_outside_a_test_is_unchanged(user: User) -> None:
    deferral.follow_frameworks()
    response = StreamingResponse(iter(()), background=BackgroundTask(current_test))
    assert response.background is not None
    assert response.background.func is current_test
    assert not [name for name in vars(response) if "livecheck" in name]
    with under_test(TEST):
        assert BackgroundTask(current_test).func() == TEST
        with pytest.raises(TypeError):
            BackgroundTask(None).func()  # type: ignore[arg-type] # a mistake of the application


class Odd:
    """A callable whose attributes raise."""

    def __call__(self) -> Any:
        return current_test()

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_function_that_cannot_be_bound_is_queued_unchanged(user: User) -> None:
    deferral.follow_frameworks()
    odd = Odd()
    with under_test(TEST):
        assert deferral._bound(odd) is odd


@pytest.mark.parametrize("content", [{}, {"BackgroundTask": object}])
def test_unsupported_version_of_a_framework_is_logged_once(
    user: User, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = ModuleType("starlette.background")
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, "starlette.background", module)
    if content:
        monkeypatch.setitem(vars(module), "BackgroundTask", type("BackgroundTask", (), {}))
    deferral.follow_frameworks()
    deferral.follow_frameworks()
    assert caplog.messages == ["deferral: starlette.background: work that it runs later carries no test"]
