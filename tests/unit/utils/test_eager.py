"""The setting ``task_always_eager``, as Celery reads it, from all of its places."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from livecheck_celery.utils.eager import EagerSetting


def make_app() -> Celery:
    return Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False)


class Module:
    """A configuration with the names of a Django settings module."""

    CELERY_TASK_ALWAYS_EAGER = True


def update(app: Celery) -> None:
    app.conf.update(task_always_eager=True)


def assign(app: Celery) -> None:
    app.conf.task_always_eager = True


def object_with_namespace(app: Celery) -> None:
    app.config_from_object(Module(), namespace="CELERY")


def old_name(app: Celery) -> None:
    app.config_from_object({"CELERY_ALWAYS_EAGER": True})


def defaults(app: Celery) -> None:
    app.add_defaults({"task_always_eager": True})


def another_configuration(app: Celery) -> None:
    app.conf = type("Conf", (), {"task_always_eager": True})()


@pytest.mark.parametrize(
    "configure", [update, assign, object_with_namespace, old_name, defaults, another_configuration]
)
@pytest.mark.parametrize("is_read_before", [False, True])
def test_setting_is_that_of_the_configuration(configure: Any, is_read_before: bool) -> None:
    app, is_eager = make_app(), EagerSetting().of
    if is_read_before:
        assert not is_eager(app)
    configure(app)
    assert is_eager(app) is app.conf.task_always_eager is True


def test_setting_can_change_at_any_time() -> None:
    app, is_eager = make_app(), EagerSetting().of
    for value in (False, True, False):
        app.conf.task_always_eager = value
        assert is_eager(app) is value
