"""A request to a Django site is handled under the test that it carries, under WSGI and ASGI, in views of both kinds."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from celery import Celery, _state
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from livecheck_celery import LiveCheck
from livecheck_celery.context import current_test, triggered_var
from livecheck_celery.integrations import django as integration
from livecheck_celery.livecheck import livechecks_of
from tests.helpers import djangosite
from tests.helpers.djangosite import OURS, seen
from tests.helpers.factories import make_gate
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, ask, environ_of, failed, told

Happened = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def celery_app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """Celery's current app; LiveCheck's own has no cases."""
    app = Celery("shop", broker="redis://nowhere", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", app)  # as Celery does with the first app of a Django site
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr(integration, "default_app", lambda: Celery("own", set_as_current=False))
    seen.clear()
    return app


@pytest.fixture
def happened(celery_app: Celery) -> Happened:
    """What a gate is told that believes in `SIGNED`."""
    happened: Happened = []
    LiveCheck(celery_app).gate = make_gate(*KEY, happened=happened)  # type: ignore[method-assign]
    return happened


def under_wsgi(path: str, headers: dict[str, str] = SIGNED, **environ: Any) -> tuple[int, bytes]:
    started: list[str] = []
    made = environ_of(headers, REQUEST_METHOD="POST", PATH_INFO=path, CONTENT_LENGTH="0", **environ)
    body = WSGIHandler()(made, lambda status, headers, exc_info=None: started.append(status))
    try:
        assert current_test() is None
        content = b"".join(body)
    finally:
        body.close()
    assert current_test() is None
    assert triggered_var.get() is None
    return int(started[0][:3]), content


def under_asgi(path: str, headers: dict[str, str] = SIGNED) -> tuple[int, bytes]:
    return asyncio.run(ask(ASGIHandler(), path, "POST", headers))


Server = Callable[..., tuple[int, bytes]]
servers = pytest.mark.parametrize("server", [under_wsgi, under_asgi])


@pytest.mark.promise("Django takes one line.", theme="propagation")
@servers
@pytest.mark.parametrize("path", ["/sync/", "/async/"])
def test_views_run_under_the_test(server: Server, path: str, happened: Happened) -> None:
    for headers, test in ((SIGNED, TEST), ({}, None), (SIGNED | {"LiveCheck-Test-Id": "2"}, None), (SIGNED, TEST)):
        seen.clear()
        happened.clear()
        assert server(path, headers) == (201, b"stored")
        assert [what for _, _, what in seen] == [test]
        assert happened == [told(*filter(None, [test, OTHER]), path=path)]


@pytest.mark.parametrize(("server", "path"), [(under_wsgi, "/stream/"), (under_asgi, "/async-stream/")])
def test_streams_are_made_under_the_test(server: Server, path: str, happened: Happened) -> None:
    for headers, test in ((SIGNED, TEST), ({}, None)):
        seen.clear()
        assert server(path, headers) == (200, b"onetwo")
        assert [(who, what) for who, _, what in seen] == [("one", test), ("two", test)]
    triggered = [OTHER] if server is under_asgi else []
    first = told(TEST, *triggered, path=path, status=200)
    assert happened == [first, *[told(*triggered, path=path, status=200)] * len(triggered)]


def test_a_stream_is_told_when_it_has_been_sent(happened: Happened) -> None:
    body = WSGIHandler()(environ_of(SIGNED, PATH_INFO="/stream/"), lambda *_: None)
    assert next(iter(body)) == b"one"
    assert happened == []
    body.close()
    assert happened == [told(TEST, method="GET", path="/stream/", status=200)]


def test_a_stream_that_breaks_is_told(happened: Happened) -> None:
    with pytest.raises(ValueError, match="no such side"):
        under_wsgi("/broken-stream/")
    assert happened == [failed("raised ValueError: no such side", TEST, path="/broken-stream/")]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_streams_of_the_other_kind_are_served_as_before(happened: Happened) -> None:
    assert under_asgi("/stream/") == under_wsgi("/async-stream/") == (200, b"onetwo")
    assert [what for _, _, what in seen] == [TEST] * 4
    assert [one["name"] for one in happened] == ["POST /stream/", "POST /async-stream/"]


def test_files_are_left_for_the_server_to_send(happened: Happened) -> None:
    made = environ_of(SIGNED, PATH_INFO="/file/", **{"wsgi.file_wrapper": FileWrapper})
    body = WSGIHandler()(made, lambda *_: None)
    assert isinstance(body, FileWrapper)
    body.close()
    assert happened == [told(TEST, method="GET", path="/file/", status=200)]


@servers
@pytest.mark.parametrize("path", ["/broken/", "/async-broken/"])
def test_a_view_that_raises_is_told_by_its_answer(server: Server, path: str, happened: Happened) -> None:
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=False), no_log("django.request"):
        assert server(path)[0] == 500
    assert happened == [failed("answered 500", TEST, path=path)]


def test_what_leaves_django_is_told_too(happened: Happened) -> None:
    def raises(request: HttpRequest) -> HttpResponse:
        raise SystemExit("told to")

    async def is_cancelled(request: HttpRequest) -> HttpResponse:
        raise asyncio.CancelledError

    request = RequestFactory(headers=SIGNED).post("/order/")
    with pytest.raises(SystemExit):
        integration.LiveCheckMiddleware(raises)(request)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(integration.LiveCheckMiddleware(is_cancelled)(request))  # type: ignore[arg-type]
    assert happened == [
        failed("raised SystemExit: told to", TEST, path="/order/"),
        failed("raised CancelledError: ", TEST, path="/order/"),
    ]


class no_log:
    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.logger.disabled = True

    def __exit__(self, *_: object) -> None:
        self.logger.disabled = False


class Around:
    """Middleware that can be both, as Django's own, and notes where it is run."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        return self.wait(request) if iscoroutinefunction(self) else self.pass_on(request)

    def pass_on(self, request: Any) -> Any:
        djangosite.note("middleware")
        return self.get_response(request)

    async def wait(self, request: Any) -> Any:
        djangosite.note("middleware")
        return await self.get_response(request)


class SyncAround(Around):
    async_capable = False


class AsyncAround(Around):
    sync_capable = False


AROUND, SYNC_AROUND, ASYNC_AROUND = (f"{__name__}.{one.__name__}" for one in (Around, SyncAround, AsyncAround))


@pytest.mark.parametrize(("server", "path"), [(under_wsgi, "/sync/"), (under_asgi, "/async/")])
def test_no_thread_but_the_servers_own_is_needed(server: Server, path: str, happened: Happened) -> None:
    with override_settings(MIDDLEWARE=[AROUND, OURS, AROUND]):
        assert server(path) == (201, b"stored")
    here = threading.get_ident()
    assert seen == [("middleware", here, None), ("middleware", here, TEST), ("view", here, TEST)]


@servers
@pytest.mark.parametrize("path", ["/sync/", "/async/"])
@pytest.mark.parametrize("kind", [SYNC_AROUND, ASYNC_AROUND])
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_middleware_of_one_kind_only_may_stand_anywhere(
    server: Server, path: str, kind: str, order: slice, happened: Happened
) -> None:
    with override_settings(MIDDLEWARE=[OURS, kind][order]):
        assert server(path) == (201, b"stored")
    assert seen[-1][2] == TEST
    assert happened == [told(TEST, OTHER, path=path)]


def test_the_path_has_the_prefix_of_the_site(happened: Happened) -> None:
    assert under_wsgi("/sync/", SCRIPT_NAME="/shop")[0] == 201
    assert happened == [told(TEST, OTHER, path="/shop/sync/")]


def test_the_first_livecheck_of_celerys_current_app_serves(celery_app: Celery) -> None:
    first, _ = LiveCheck(celery_app, secret_key=KEY), LiveCheck(celery_app)
    assert integration.serving() is first
    assert under_wsgi("/sync/")[0] == 201
    assert seen[-1][2] == TEST


def test_cases_on_livechecks_own_app_serve_when_there_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = LiveCheck(Celery("own", set_as_current=False))
    monkeypatch.setattr(integration, "default_app", lambda: livecheck.app)
    assert integration.serving() is livecheck


def test_without_any_one_is_made_of_djangos_settings(celery_app: Celery) -> None:
    with override_settings(LIVECHECK_SECRET_KEY=list(KEY), LIVECHECK_HTTP_HOSTS=["payment"], LIVECHECK_PREFIX="shop"):
        made = integration.serving()
        assert integration.serving() is made
        assert livechecks_of(celery_app) == [made]
        assert (made.settings.secret_key, made.settings.http_hosts, made.settings.prefix) == (KEY, ("payment",), "shop")
        assert under_wsgi("/sync/")[0] == 201
    assert seen[-1][2] == TEST


VIEWS = """
from celery import current_app
from livecheck_celery import LiveCheck
from tests.helpers.djangosite import urlpatterns

livecheck = LiveCheck(current_app._get_current_object(), secret_key="a secret")
"""


def test_cases_that_the_views_import_serve_from_the_first_request_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, celery_app: Celery
) -> None:
    (tmp_path / "late_views.py").write_text(VIEWS)
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(ROOT_URLCONF="late_views"):
        handler = WSGIHandler()
        assert livechecks_of(celery_app) == []
        handler(environ_of(SIGNED, PATH_INFO="/sync/"), lambda *_: None).close()
    assert seen[-1][2] == TEST


def test_a_wrong_setting_costs_no_request_anything(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(LIVECHECK_MAX_PAYLOAD=0):
        handler = WSGIHandler()
        for _ in range(2):
            assert list(handler(environ_of(SIGNED, PATH_INFO="/sync/"), lambda *_: None)) == [b"stored"]
    assert [what for _, _, what in seen] == [None, None]
    [line] = [record.getMessage() for record in caplog.records if record.name == "livecheck_celery.integrations.django"]
    assert line.startswith("LiveCheck: max_payload: Input should be greater than or equal to 1")


def test_starting_connects_to_nothing_and_makes_nothing(celery_app: Celery) -> None:
    WSGIHandler()
    ASGIHandler()
    assert livechecks_of(celery_app) == []
