"""The examples in docs/in-your-stack.md run, and its commands name what they should."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from django.db.transaction import atomic
from django.utils.module_loading import import_string

import livecheck_celery
from livecheck_celery import Case, LiveCheck, Signal
from livecheck_celery.config import resolve_settings
from tests.helpers import djangosite
from tests.helpers.http_server import KEY
from tests.helpers.redis_clients import connect
from tests.helpers.web import request_asgi

PAGE = (Path(__file__).parents[3] / "docs" / "in-your-stack.md").read_text()
#: By heading, the examples of a section.
EXAMPLES = {
    section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Name and test of each signal that the examples send."""
    livecheck = LiveCheck(Celery("shop", broker="redis://nowhere", set_as_current=False))
    monkeypatch.setattr(livecheck_celery, "LiveCheck", lambda: livecheck)
    signals: list[tuple[str, str]] = []

    def put(item: Any) -> bool:
        if hasattr(item, "event"):
            signals.append((item.signal_name, item.key))
        return True

    monkeypatch.setattr(livecheck.runtime.outbox, "put", put)
    monkeypatch.setattr(livecheck.runtime.outbox, "start", lambda: None)
    yield signals
    livecheck.close()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables from which the examples read their secret keys."""
    for name in ("LIVECHECK_SECRET_KEY", "STAGING_SECRET_KEY"):
        monkeypatch.setenv(name, KEY)


def run(title: str, number: int = 0, **names: Any) -> dict[str, Any]:
    exec(EXAMPLES[title][number], names)
    return names


def test_django_settings_are_real() -> None:
    named = run("Django")
    assert import_string(named["MIDDLEWARE"][0]) is import_string(djangosite.MIDDLEWARE)
    assert {name.removeprefix("LIVECHECK_").lower() for name in named if name.startswith("LIVECHECK_")} == {
        "secret_key",
        "http_hosts",
    }


def test_signal_of_a_django_view_is_sent_at_the_commit(sent: list[tuple[str, str]]) -> None:
    @livecheck_celery.LiveCheck().case(probability=1.0)
    class test_order(Case):
        order_stored: Signal[str]

    store = run("Django", 1, test_order=test_order)["store"]
    with atomic():
        store("o-1")
        assert sent == []
    assert sent == [("order_stored", "o-1")]


def test_endpoint_and_background_task_of_fastapi_are_part_of_the_test(sent: list[tuple[str, str]]) -> None:
    application = run("FastAPI and Starlette")["application"]
    status, _ = asyncio.run(request_asgi(application, "/orders/o-1/", "POST", headers={}))
    assert (status, sent) == (200, [("order_accepted", "o-1"), ("order_stored", "o-1")])


def test_function_that_flask_calls_after_the_request_is_part_of_the_test(sent: list[tuple[str, str]]) -> None:
    client = run("Flask and other WSGI applications")["application"].test_client()
    assert client.post("/orders/o-1/").status_code == 200
    assert sent == [("order_answered", "o-1")]


def test_credential_provider_and_limit_of_the_page_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_credentials")
    vars(module).update(run("A small or managed Redis", read_token=lambda: "a token"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    environ = dict(re.findall(r'export (\w+)="?([^"\n]+)"?', PAGE))
    settings = resolve_settings(Celery("shop", broker="memory://", set_as_current=False).conf, environ, {})
    connection = connect(settings.redis_url.replace("shop.credentials", module.__name__), 0.5)
    made = connection.connection_pool.make_connection()
    assert made.credential_provider.get_credentials() == ("livecheck", "a token")
    assert settings.redis_max_connections == 6


@pytest.mark.parametrize("title", ["RabbitMQ", "Several environments on one broker"])
def test_celery_settings_are_real(title: str) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update({name: value for name, value in run(title).items() if name not in ("__builtins__", "os")})
    settings = resolve_settings(app.conf, {"LIVECHECK_REDIS_URL": "redis://redis"}, {})
    if title == "RabbitMQ":
        assert (settings.broker_url, settings.redis_url) == ("amqp://guest@rabbit//", "redis://redis:6379/0")
    else:
        assert f"-Q {settings.queue},{settings.schedule_queue} " in PAGE


def test_every_example_on_the_page_is_tested() -> None:
    assert {title: len(examples) for title, examples in EXAMPLES.items() if examples} == {
        "Django": 2,
        "FastAPI and Starlette": 1,
        "Flask and other WSGI applications": 1,
        "RabbitMQ": 1,
        "A small or managed Redis": 1,
        "Several environments on one broker": 1,
    }
