"""The WSGI middleware reports the outcome of a request once, to all tests it is part of or triggered."""

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from livecheck_celery.blocks import MAX_TESTS, Block, current_work
from livecheck_celery.context import collect, current_test, current_tests, fake_request, under_test
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.headers import outgoing
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate, make_test
from tests.helpers.marks import synthetic_case
from tests.helpers.signing import sign
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, environ_of, failed, succeeded, trigger

App = Callable[..., Iterable[bytes]]


def request(app: App, finished: list[dict[str, Any]], headers: dict[str, Any] = SIGNED, **environ: Any) -> Any:
    """The body of the response to a POST to /order/create/, by ``app`` mounted at /shop."""
    made = environ_of(
        headers, REQUEST_METHOD="POST", SCRIPT_NAME="/shop", PATH_INFO="/order/create/", QUERY_STRING="a=b"
    )
    return LiveCheckMiddleware(app, make_gate(*KEY, finished=finished))(
        made | environ, lambda status, headers, exc_info=None: lambda data: None
    )


def app_returning(body: Any, *triggered: TestExecution) -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
        for test in triggered:
            trigger(test)
        start_response("201 Created", [])
        return body

    return app


def test_request_with_a_list_body_finishes_at_once(finished: list[dict[str, Any]]) -> None:
    for body in ([b"whole"], (b"whole",)):
        assert request(app_returning(body), finished) is body
        assert finished == [succeeded(TEST)]
        finished.clear()


def test_request_finishes_when_the_body_is_exhausted(finished: list[dict[str, Any]]) -> None:
    body = request(app_returning(iter([b"one", b"two"])), finished)
    for _ in range(2):
        next(iter(body))
        assert finished == []
    assert list(body) == []
    body.close()
    assert finished == [succeeded(TEST)]


def test_request_finishes_when_the_body_is_closed(finished: list[dict[str, Any]]) -> None:
    body = request(app_returning(iter([b"one", b"two"])), finished)
    next(iter(body))
    body.close()
    body.close()
    assert finished == [succeeded(TEST)]


def test_request_is_reported_to_tests_triggered_in_it(finished: list[dict[str, Any]]) -> None:
    def parts() -> Iterator[bytes]:
        trigger(make_test("second"))
        yield b"part"

    assert list(request(app_returning(parts(), OTHER), finished, {})) == [b"part"]
    list(request(app_returning(parts(), OTHER), finished))
    assert [[test.id for test in one["tests"]] for one in finished] == [
        ["other", "second"],
        ["order-1", "other", "second"],
    ]
    assert current_work() is None


def test_request_outside_a_test_is_not_reported(finished: list[dict[str, Any]]) -> None:
    request(app_returning([b""]), finished, {})
    list(request(app_returning(iter([b""])), finished, {}))
    assert finished == []


def test_application_error_is_reported_once(finished: list[dict[str, Any]]) -> None:
    def broken(*_: object) -> Iterable[bytes]:
        raise ValueError("no such side")

    def breaks_half_way(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise ValueError("no such side")

    class BreaksAtItsEnd(list):
        def close(self) -> None:
            raise ValueError("no such side")

    with pytest.raises(ValueError, match="no such side"):
        request(broken, finished)
    body = request(breaks_half_way, finished)
    with pytest.raises(ValueError, match="no such side"):
        list(body)
    body.close()
    with pytest.raises(ValueError, match="no such side"):
        request(app_returning(BreaksAtItsEnd([])), finished).close()
    assert finished == [failed("raised ValueError: no such side", TEST)] * 3


def test_server_error_status_is_reported_as_an_error(finished: list[dict[str, Any]]) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("503 Service Unavailable", [], (None, None, None))
        return [b""]

    request(app, finished)
    assert finished == [failed("returned status 503", TEST)]


@pytest.mark.parametrize(
    ("script", "info", "path"),
    [
        ("", "/", "/"),
        ("/shop", "", "/shop"),
        ("", "/\xc3\xa9t\xc3\xa9/", "/été/"),
        ("", "/\xff/", "/\ufffd/"),
        ("", "", ""),
    ],
)
def test_reported_path_is_the_full_path(finished: list[dict[str, Any]], script: str, info: str, path: str) -> None:
    request(app_returning([b""]), finished, SCRIPT_NAME=script, PATH_INFO=info)
    assert finished == [succeeded(TEST, path=path)]


def test_file_bodies_are_returned_as_they_are(finished: list[dict[str, Any]]) -> None:
    for file in (FileWrapper(io.BytesIO()), io.BytesIO()):
        assert request(app_returning(file, OTHER), finished, {}, **{"wsgi.file_wrapper": FileWrapper}) is file
    assert finished == [succeeded(OTHER)] * 2


def test_context_of_outer_middleware_stays_current(finished: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("201 Created", [])
        seen.append((current_test(), synthetic_case()))
        yield b"part"
        seen.append((current_test(), synthetic_case()))

    with under_test(OTHER), fake_request("shop.test_order"):
        body = request(app, finished, {})
    assert [current_test() for _ in body] == [None]
    assert seen == [(OTHER, "shop.test_order")] * 2
    assert finished == [succeeded(OTHER)]


def test_mark_in_headers_is_combined_with_the_test_of_outer_middleware(finished: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("201 Created", [])
        seen.append((current_test(), synthetic_case()))
        return [b""]

    with fake_request("shop.test_order"):
        marked = sign(outgoing(), KEY)
    with under_test(OTHER):
        request(app, finished, marked)
    assert seen == [(OTHER, "shop.test_order")]
    assert finished == [succeeded(OTHER)]


def test_exc_info_is_passed_to_the_server() -> None:
    starts: list[object] = []
    error = (ValueError, ValueError(), None)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("A", "b")])
        start_response("500 Internal Server Error", [], error)
        return [b""]

    LiveCheckMiddleware(app, make_gate(*KEY))(environ_of({}), lambda *given: starts.append(given))
    assert starts == [("200 OK", [("A", "b")]), ("500 Internal Server Error", [], error)]


def test_nested_request_does_not_inherit_the_outer_test(finished: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def inner(*_: object) -> Iterable[bytes]:
        seen.append((current_test(), synthetic_case()))
        return [b""]

    def outer(*_: object) -> Iterable[bytes]:
        request(inner, finished, {})
        with fake_request("shop.test_order"), under_test(OTHER):
            request(inner, finished, {})
        return [b""]

    request(outer, finished)
    assert seen == [(None, None), (OTHER, None)]


def test_tests_triggered_after_the_response_are_not_collected(finished: list[dict[str, Any]]) -> None:
    left: list[Context] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        left.append(copy_context())
        start_response("201 Created", [])
        return [b""]

    request(app, finished)
    left[0].run(trigger, OTHER)
    assert finished == [succeeded(TEST)]
    assert [work.triggered for work in [left[0].run(current_work)] if work] == [[]]


def test_number_of_notified_tests_is_limited(finished: list[dict[str, Any]]) -> None:
    triggered = [make_test(str(number)) for number in range(2 * MAX_TESTS)]
    request(app_returning([b""], *triggered), finished)
    assert finished == [succeeded(TEST, *triggered[MAX_TESTS:])]


# -- tests whose blocks end before the body is iterated


def test_streamed_body_is_part_of_the_tests_triggered_in_its_request(finished: list[dict[str, Any]]) -> None:
    seen: list[list[TestExecution]] = []

    def parts() -> Iterator[bytes]:
        try:
            for _ in range(2):
                seen.append(current_tests())
                yield b"part"
        finally:
            seen.append(current_tests())

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [])
        with Block((OTHER,)):
            collect(OTHER, lingers=True)
            body = parts()
        seen.append(current_tests())
        return body

    body = request(app, finished)
    for _ in iter(body):
        assert current_test() is None
        request(app_returning([b""]), finished, {})  # another request, in the same thread
    body.close()
    assert seen == [[TEST], *[[TEST, OTHER]] * 3]


def test_block_that_a_streamed_body_holds_is_in_force_in_all_its_parts(finished: list[dict[str, Any]]) -> None:
    seen: list[TestExecution | None] = []

    def parts() -> Iterator[bytes]:
        with under_test(OTHER):
            for _ in range(3):
                seen.append(current_test())
                yield b"part"

    body = iter(request(app_returning(parts()), finished, {}))
    for _ in range(3):
        thread = threading.Thread(target=next, args=(body,))  # as a server may do
        thread.start()
        thread.join()
    assert list(body) == []
    assert seen == [OTHER] * 3
    assert current_test() is None
