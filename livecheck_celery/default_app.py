"""LiveCheck's own Celery app, for hosts without an app, and for hosts that keep tests apart from theirs."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from threading import RLock
from typing import Any, Final

from celery import Celery, _state
from celery.loaders.default import Loader
from celery.utils.imports import cwd_in_path
from kombu import Exchange, Queue

from livecheck_celery.config import resolve_settings
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.redis_urls import for_broker

NAME: Final = "livecheck_celery"
WORKER_MODULE: Final = "livecheck_celery.worker"


_lock = RLock()


def default_app() -> Celery:
    """Return the app of ``celery -A livecheck_celery``.

    The app reads ``celeryconfig.py``, or the module named by CELERY_CONFIG_MODULE, if it exists. A bare ``celery
    worker`` creates another app from the same file; if the file imports `livecheck_celery.worker`, that app is used.
    """
    with _lock:  # threads can import modules with cases at the same time
        return _made()


def is_default(app: Celery) -> bool:
    """Return whether ``app`` is LiveCheck's own; does not create that app."""
    return bool(_made.cache_info().currsize) and app is _made()


def check_concurrency(app: Celery, options: Collection[str]) -> None:
    """Refuse the setting ``test_concurrency`` where it has no effect.

    Raises:
        ConfigurationError: it is set for a host's app, or is one of the ``options`` of a LiveCheck.
    """
    if "test_concurrency" in options or (not is_default(app) and "livecheck_test_concurrency" in app.conf):
        raise ConfigurationError(
            "LiveCheck: test_concurrency: has no effect here; set worker_concurrency of your Celery app, or, for "
            "LiveCheck's own app, livecheck_test_concurrency or LIVECHECK_TEST_CONCURRENCY"
        )


@cache
def _made() -> Celery:
    app = _bare_app() or _new_app()
    app.add_defaults(lambda: _defaults(app))
    return app


def _bare_app() -> Celery | None:
    default: Any = vars(_state).get("default_app")
    if default is None or not isinstance(default.loader, Loader) or not default.configured:
        return None
    return default if WORKER_MODULE in default.conf.imports else None


def _new_app() -> Celery:
    # The current app belongs to the host.
    app = Celery(NAME, set_as_current=False)
    named = os.environ.get("CELERY_CONFIG_MODULE")
    with cwd_in_path():
        if named or find_spec("celeryconfig"):
            app.config_from_object(named or "celeryconfig")
    return app


def _broker_of_state(conf: Any) -> dict[str, str]:
    """Return the broker URL, if the configuration names the state's, which can have options that Celery does not know.

    The shipped ``celeryconfig.py`` does so, if only LIVECHECK_REDIS_URL is set.
    """
    url = os.environ.get("LIVECHECK_REDIS_URL")
    return {"broker_url": for_broker(url)} if url and url == conf.broker_write_url else {}


def _defaults(app: Celery) -> dict[str, Any]:
    conf: Any = app.conf
    try:
        settings = resolve_settings(conf, os.environ, _broker_of_state(conf))
    except (ConfigurationError, ValueError):
        # A LiveCheck raises it when it uses its settings. Declaring a case reads the configuration, too.
        return {}
    suggested = {
        "broker_connection_retry_on_startup": True,
        # A waiting test holds a slot; a thread is a cheap slot.
        "worker_pool": "threads",
        "worker_concurrency": settings.test_concurrency,
        "worker_prefetch_multiplier": 1,
    }
    # Celery has one setting for the default queue, and another for queues named in -Q; either one applies here.
    is_quorum = "quorum" in (conf.get("task_default_queue_type"), conf.get("task_create_missing_queue_type"))
    arguments = {"x-queue-type": "quorum"} if is_quorum else None
    # In Celery, defaults added by add_defaults() precede the configuration; its own defaults are last.
    configured = conf.maps[:-1]
    return {
        "broker_url": settings.broker_url,
        "task_default_queue": settings.queue,
        "task_queues": [
            Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=arguments)
            for name in (settings.queue, settings.schedule_queue)
        ],
        **{name: value for name, value in suggested.items() if not any(name in layer for layer in configured)},
    }
