"""The Django middleware, under WSGI and ASGI, with sync and async views."""

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
from livecheck_celery.base_livecheck import livechecks_of
from livecheck_celery.blocks import current_work
from livecheck_celery.context import current_test
from livecheck_celery.integrations import django as integration
from tests.helpers import djangosite
from tests.helpers.djangosite import MIDDLEWARE, seen
from tests.helpers.factories import make_gate
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, environ_of, failed, request_asgi, succeeded

Finished = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def celery_app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """Celery's current app; the default app of LiveCheck has no cases."""
    app = Celery("shop", broker="redis://nowhere", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", app)  # as Celery does with the first app of a Django site
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr(integration, "default_app", lambda: Celery("own", set_as_current=False))
    seen.clear()
    return app


@pytest.fixture
def finished(celery_app: Celery) -> Finished:
    """The finished operations reported to a gate that accepts `SIGNED`."""
    finished: Finished = []
    LiveCheck(celery_app).gate = make_gate(*KEY, finished=finished)
    return finished


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
    assert current_work() is None
    return int(started[0][:3]), content


def under_asgi(path: str, headers: dict[str, str] = SIGNED) -> tuple[int, bytes]:
    return asyncio.run(request_asgi(ASGIHandler(), path, "POST", headers))


Server = Callable[..., tuple[int, bytes]]
servers = pytest.mark.parametrize("server", [under_wsgi, under_asgi])


@servers
@pytest.mark.parametrize("path", ["/sync/", "/async/"])
def test_views_run_under_the_test(server: Server, path: str, finished: Finished) -> None:
    for headers, test in ((SIGNED, TEST), ({}, None), (SIGNED | {"LiveCheck-Test-Id": "2"}, None), (SIGNED, TEST)):
        seen.clear()
        finished.clear()
        assert server(path, headers) == (201, b"stored")
        assert [what for _, _, what in seen] == [test]
        assert finished == [succeeded(*filter(None, [test, OTHER]), path=path)]


@pytest.mark.parametrize(("server", "path"), [(under_wsgi, "/stream/"), (under_asgi, "/async-stream/")])
def test_streams_are_generated_under_the_test(server: Server, path: str, finished: Finished) -> None:
    for headers, test in ((SIGNED, TEST), ({}, None)):
        seen.clear()
        assert server(path, headers) == (200, b"onetwo")
        assert [(who, what) for who, _, what in seen] == [("one", test), ("two", test)]
    triggered = [OTHER] if server is under_asgi else []
    first = succeeded(TEST, *triggered, path=path, status=200)
    assert finished == [first, *[succeeded(*triggered, path=path, status=200)] * len(triggered)]


def test_streaming_request_finishes_when_the_body_is_closed(finished: Finished) -> None:
    body = WSGIHandler()(environ_of(SIGNED, PATH_INFO="/stream/"), lambda *_: None)
    assert next(iter(body)) == b"one"
    assert finished == []
    body.close()
    assert finished == [succeeded(TEST, method="GET", path="/stream/", status=200)]


def test_error_in_a_stream_is_reported(finished: Finished) -> None:
    with pytest.raises(ValueError, match="no such side"):
        under_wsgi("/broken-stream/")
    assert finished == [failed("raised ValueError: no such side", TEST, path="/broken-stream/")]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_sync_streams_under_asgi_and_async_streams_under_wsgi_are_served(finished: Finished) -> None:
    assert under_asgi("/stream/") == under_wsgi("/async-stream/") == (200, b"onetwo")
    assert [what for _, _, what in seen] == [TEST] * 4
    assert [one["name"] for one in finished] == ["POST /stream/", "POST /async-stream/"]


def test_file_responses_use_the_servers_file_wrapper(finished: Finished) -> None:
    made = environ_of(SIGNED, PATH_INFO="/file/", **{"wsgi.file_wrapper": FileWrapper})
    body = WSGIHandler()(made, lambda *_: None)
    assert isinstance(body, FileWrapper)
    body.close()
    assert finished == [succeeded(TEST, method="GET", path="/file/", status=200)]


@servers
@pytest.mark.parametrize("path", ["/broken/", "/async-broken/"])
def test_error_in_a_view_is_reported_by_its_status(server: Server, path: str, finished: Finished) -> None:
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=False), no_log("django.request"):
        assert server(path)[0] == 500
    assert finished == [failed("returned status 500", TEST, path=path)]


def test_exceptions_that_django_does_not_catch_are_reported(finished: Finished) -> None:
    def raises(request: HttpRequest) -> HttpResponse:
        raise SystemExit("on request")

    async def is_cancelled(request: HttpRequest) -> HttpResponse:
        raise asyncio.CancelledError

    request = RequestFactory(headers=SIGNED).post("/order/")
    with pytest.raises(SystemExit):
        integration.LiveCheckMiddleware(raises)(request)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(integration.LiveCheckMiddleware(is_cancelled)(request))
    assert finished == [
        failed("raised SystemExit: on request", TEST, path="/order/"),
        failed("raised CancelledError", TEST, path="/order/"),
    ]


class no_log:
    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.logger.disabled = True

    def __exit__(self, *_: object) -> None:
        self.logger.disabled = False


class Around:
    """Middleware that is sync or async like Django's own, and records where it runs."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        return self.wait(request) if iscoroutinefunction(self) else self.pass_on(request)

    def pass_on(self, request: Any) -> Any:
        djangosite.record("middleware")
        return self.get_response(request)

    async def wait(self, request: Any) -> Any:
        djangosite.record("middleware")
        return await self.get_response(request)


class SyncAround(Around):
    async_capable = False


class AsyncAround(Around):
    sync_capable = False


AROUND, SYNC_AROUND, ASYNC_AROUND = (f"{__name__}.{one.__name__}" for one in (Around, SyncAround, AsyncAround))


@pytest.mark.parametrize(("server", "path"), [(under_wsgi, "/sync/"), (under_asgi, "/async/")])
def test_middleware_does_not_switch_threads(server: Server, path: str, finished: Finished) -> None:
    with override_settings(MIDDLEWARE=[AROUND, MIDDLEWARE, AROUND]):
        assert server(path) == (201, b"stored")
    here = threading.get_ident()
    assert seen == [("middleware", here, None), ("middleware", here, TEST), ("view", here, TEST)]


@servers
@pytest.mark.parametrize("path", ["/sync/", "/async/"])
@pytest.mark.parametrize("kind", [SYNC_AROUND, ASYNC_AROUND])
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_sync_only_and_async_only_middleware_can_be_combined(
    server: Server, path: str, kind: str, order: slice, finished: Finished
) -> None:
    with override_settings(MIDDLEWARE=[MIDDLEWARE, kind][order]):
        assert server(path) == (201, b"stored")
    assert seen[-1][2] == TEST
    assert finished == [succeeded(TEST, OTHER, path=path)]


def test_reported_path_includes_script_name(finished: Finished) -> None:
    assert under_wsgi("/sync/", SCRIPT_NAME="/shop")[0] == 201
    assert finished == [succeeded(TEST, OTHER, path="/shop/sync/")]


def test_first_livecheck_on_celerys_current_app_is_used(celery_app: Celery) -> None:
    first, _ = LiveCheck(celery_app, secret_key=KEY), LiveCheck(celery_app)
    assert integration.find_livecheck() is first
    assert under_wsgi("/sync/")[0] == 201
    assert seen[-1][2] == TEST


def test_livecheck_on_the_default_app_is_used_without_another(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = LiveCheck(Celery("own", set_as_current=False))
    monkeypatch.setattr(integration, "default_app", lambda: livecheck.app)
    assert integration.find_livecheck() is livecheck


def test_livecheck_is_created_from_django_settings(celery_app: Celery) -> None:
    with override_settings(LIVECHECK_SECRET_KEY=list(KEY), LIVECHECK_HTTP_HOSTS=["payment"], LIVECHECK_PREFIX="shop"):
        made = integration.find_livecheck()
        assert integration.find_livecheck() is made
        assert livechecks_of(celery_app) == [made]
        assert (made.settings.secret_key, made.settings.http_hosts, made.settings.prefix) == (KEY, ("payment",), "shop")
        assert under_wsgi("/sync/")[0] == 201
    assert seen[-1][2] == TEST


VIEWS = """
from celery import current_app
from livecheck_celery import LiveCheck
from tests.helpers.djangosite import urlpatterns

livecheck = LiveCheck(current_app._get_current_object(), secret_key="a secret key that only tests have")
"""


def test_livecheck_declared_by_the_views_is_used_from_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, celery_app: Celery
) -> None:
    (tmp_path / "late_views.py").write_text(VIEWS)
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(ROOT_URLCONF="late_views"):
        handler = WSGIHandler()
        assert livechecks_of(celery_app) == []
        handler(environ_of(SIGNED, PATH_INFO="/sync/"), lambda *_: None).close()
    assert seen[-1][2] == TEST


def test_invalid_setting_is_logged_once_and_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(LIVECHECK_MAX_PAYLOAD=0):
        handler = WSGIHandler()
        for _ in range(2):
            assert list(handler(environ_of(SIGNED, PATH_INFO="/sync/"), lambda *_: None)) == [b"stored"]
    assert [what for _, _, what in seen] == [None, None]
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("livecheck_celery")]
    assert line.startswith("django: requests carry no tests: LiveCheck: max_payload: must be at least 1, not 0")


def test_startup_creates_no_livecheck(celery_app: Celery) -> None:
    WSGIHandler()
    ASGIHandler()
    assert livechecks_of(celery_app) == []
