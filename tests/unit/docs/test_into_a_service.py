"""The examples in docs/into-a-service.md serve requests under their test."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from celery import Celery
from django.conf import settings as django_settings
from django.utils.module_loading import import_string
from fastapi import Depends, FastAPI

import livecheck_celery
from livecheck_celery import LiveCheck
from livecheck_celery.config import Settings
from livecheck_celery.context import current_test
from livecheck_celery.propagation.request import RequestScope
from tests.helpers import djangosite
from tests.helpers.web import KEY, SIGNED, TEST, environ_of, request_asgi

PAGE = (Path(__file__).parents[3] / "docs" / "into-a-service.md").read_text()
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))

[DEPENDENCY] = re.findall(r"^### Dependencies of FastAPI\n.*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


def example(title: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(EXAMPLES[title], namespace)
    return namespace


@pytest.fixture(autouse=True)
def livecheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the examples a Celery app of their own, and the key in the environment."""
    celery_app = Celery("shop", broker="redis://nowhere", set_as_current=False)
    monkeypatch.setattr(livecheck_celery, "LiveCheck", lambda: LiveCheck(celery_app))
    monkeypatch.setenv("LIVECHECK_SECRET_KEY", KEY[0])


@pytest.mark.promise("The examples of the page on incoming requests run.", theme="docs")
@pytest.mark.parametrize("title", ["WSGI", "Flask"])
def test_wsgi_examples_serve_requests_under_their_test(title: str) -> None:
    application = example(title)["application"]
    for headers, expected in ((SIGNED, TEST.id), ({}, "None")):
        body = application(environ_of(headers), lambda status, headers, exc_info=None: None)
        assert expected in b"".join(body).decode()


def test_aiohttp_example_serves_requests_under_their_test() -> None:
    async def get(application: web.Application) -> list[str]:
        async with TestClient(TestServer(application)) as client:
            return [await (await client.get("/", headers=headers)).text() for headers in (SIGNED, {})]

    in_test, outside = asyncio.run(get(example("aiohttp")["application"]))
    assert TEST.id in in_test
    assert outside == "None"


@pytest.mark.parametrize("title", ["ASGI", "FastAPI and Starlette"])
def test_asgi_examples_serve_requests_under_their_test(title: str) -> None:
    application = example(title)["application"]
    for headers, expected in ((SIGNED, TEST.id), ({}, "None")):
        _, body = asyncio.run(request_asgi(application, "/", headers=headers))
        assert expected in body.decode()


def test_django_example_names_the_middleware_and_real_settings() -> None:
    named = example("Django")
    assert import_string(named["MIDDLEWARE"][0]) is import_string(djangosite.MIDDLEWARE)
    settings = {name.removeprefix("LIVECHECK_").lower() for name in named if name.startswith("LIVECHECK_")}
    assert settings
    assert settings <= Settings.model_fields.keys()
    assert not hasattr(django_settings, "LIVECHECK_HTTP_HOSTS")


def test_dependency_makes_its_test_current_in_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = livecheck_celery.LiveCheck()
    case = livecheck.add_case(LiveCheck.Case, name="shop.test_order", probability=1.0)
    monkeypatch.setattr(livecheck.runtime.outbox, "put", lambda item: True)
    monkeypatch.setattr(livecheck.runtime.outbox, "start", lambda: None)
    namespace: dict[str, Any] = {"test_order": case}
    exec(DEPENDENCY, namespace)
    application = FastAPI()
    application.add_middleware(livecheck.asgi)

    @application.get("/")
    async def index(test: Any = Depends(namespace["tested"])) -> bool:  # noqa: B008 - as FastAPI has it
        return test is not None and livecheck_celery.current_test() is test

    assert asyncio.run(request_asgi(application, "/")) == (200, b"true")


def test_every_example_on_the_page_is_tested() -> None:
    # The three files of a Django project that is not edited are those of examples/pretix, which is run by hand.
    assert len(EXAMPLES) + len([DEPENDENCY]) + 3 == PAGE.count("```python") == 11


def test_route_of_the_page_triggers_its_case() -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://nowhere", set_as_current=False))
    case = livecheck.case(name="pays", probability=1.0)(type("pays", (), {}))
    exec(EXAMPLES["Trigger on a route, without a change of its view"], {"livecheck": livecheck, "test_payment": case})
    with RequestScope(livecheck.gate, [], "POST", "/orders/7/pay/"):
        test = current_test()
    assert test is not None
    assert (test.case_name, test.id) == ("pays", "7")
