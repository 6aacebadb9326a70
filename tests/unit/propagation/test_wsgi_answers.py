"""What is told of the answer to a WSGI request: once, and to the tests it is part of or that were triggered in it."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from livecheck_celery.context import current_test, fake_request, synthetic_case_var, triggered_var, under_test
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.request import MOST
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate, make_test
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, environ_of, failed, told, triggers

App = Callable[..., Iterable[bytes]]


@pytest.fixture
def happened() -> list[dict[str, Any]]:
    return []


def request(app: App, happened: list[dict[str, Any]], headers: dict[str, Any] = SIGNED, **environ: Any) -> Any:
    """The body of the answer to a POST to /order/create/, in an application mounted at /shop."""
    made = environ_of(
        headers, REQUEST_METHOD="POST", SCRIPT_NAME="/shop", PATH_INFO="/order/create/", QUERY_STRING="a=b"
    )
    return LiveCheckMiddleware(app, make_gate(*KEY, happened=happened))(
        made | environ, lambda status, headers, exc_info=None: lambda data: None
    )


def answering(body: Any, *triggered: TestExecution) -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
        for test in triggered:
            triggers(test)
        start_response("201 Created", [])
        return body

    return app


def test_the_answer_is_told_at_once_when_it_is_there_in_full(happened: list[dict[str, Any]]) -> None:
    for body in ([b"whole"], (b"whole",)):
        assert request(answering(body), happened) is body
        assert happened == [told(TEST)]
        happened.clear()


def test_the_answer_is_told_when_the_last_part_has_been_sent(happened: list[dict[str, Any]]) -> None:
    body = request(answering(iter([b"one", b"two"])), happened)
    for _ in range(2):
        next(iter(body))
        assert happened == []
    assert list(body) == []
    body.close()
    assert happened == [told(TEST)]


def test_the_answer_is_told_when_the_body_is_closed(happened: list[dict[str, Any]]) -> None:
    body = request(answering(iter([b"one", b"two"])), happened)
    next(iter(body))
    body.close()
    body.close()
    assert happened == [told(TEST)]


def test_tests_triggered_in_a_request_hear_of_its_answer(happened: list[dict[str, Any]]) -> None:
    def parts() -> Iterator[bytes]:
        triggers(make_test("second"))
        yield b"part"

    assert list(request(answering(parts(), OTHER), happened, {})) == [b"part"]
    list(request(answering(parts(), OTHER), happened))
    assert [[test.id for test in one["tests"]] for one in happened] == [
        ["other", "second"],
        ["order-1", "other", "second"],
    ]
    assert triggered_var.get() is None


def test_a_request_in_no_test_tells_nobody(happened: list[dict[str, Any]]) -> None:
    request(answering([b""]), happened, {})
    list(request(answering(iter([b""])), happened, {}))
    assert happened == []


def test_an_error_is_told_instead_of_an_answer(happened: list[dict[str, Any]]) -> None:
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
        request(broken, happened)
    body = request(breaks_half_way, happened)
    with pytest.raises(ValueError, match="no such side"):
        list(body)
    body.close()
    with pytest.raises(ValueError, match="no such side"):
        request(answering(BreaksAtItsEnd([])), happened).close()
    assert happened == [failed("raised ValueError: no such side", TEST)] * 3


def test_an_answer_that_says_error_is_told_as_one(happened: list[dict[str, Any]]) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("503 Service Unavailable", [], (None, None, None))
        return [b""]

    request(app, happened)
    assert happened == [failed("answered 503", TEST)]


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
def test_the_path_is_the_one_the_client_typed(
    happened: list[dict[str, Any]], script: str, info: str, path: str
) -> None:
    request(answering([b""]), happened, SCRIPT_NAME=script, PATH_INFO=info)
    assert happened == [told(TEST, path=path)]


def test_files_are_left_for_the_server_to_send(happened: list[dict[str, Any]]) -> None:
    for file in (FileWrapper(io.BytesIO()), io.BytesIO()):
        assert request(answering(file, OTHER), happened, {}, **{"wsgi.file_wrapper": FileWrapper}) is file
    assert happened == [told(OTHER)] * 2


def test_what_is_around_the_middleware_stays_in_force(happened: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("201 Created", [])
        seen.append((current_test(), synthetic_case_var.get()))
        yield b"part"
        seen.append((current_test(), synthetic_case_var.get()))

    with under_test(OTHER), fake_request("shop.test_order"):
        body = request(app, happened, {})
    assert [current_test() for _ in body] == [None]
    assert seen == [(OTHER, "shop.test_order")] * 2
    assert happened == [told(OTHER)]


def test_a_fake_request_may_be_tested_around_the_middleware_already(happened: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("201 Created", [])
        seen.append((current_test(), synthetic_case_var.get()))
        return [b""]

    with fake_request("shop.test_order"):
        marked = carrier.sign(carrier.outgoing(), KEY)
    with under_test(OTHER):
        request(app, happened, marked)
    assert seen == [(OTHER, "shop.test_order")]
    assert happened == [told(OTHER)]


def test_the_server_hears_why_a_response_starts_anew() -> None:
    starts: list[object] = []
    error = (ValueError, ValueError(), None)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("A", "b")])
        start_response("500 Internal Server Error", [], error)
        return [b""]

    LiveCheckMiddleware(app, make_gate(*KEY))(environ_of({}), lambda *given: starts.append(given))
    assert starts == [("200 OK", [("A", "b")]), ("500 Internal Server Error", [], error)]


def test_a_request_made_inside_another_is_part_of_what_it_carries_only(happened: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    def inner(*_: object) -> Iterable[bytes]:
        seen.append((current_test(), synthetic_case_var.get()))
        return [b""]

    def outer(*_: object) -> Iterable[bytes]:
        request(inner, happened, {})
        with fake_request("shop.test_order"), under_test(OTHER):
            request(inner, happened, {})
        return [b""]

    request(outer, happened)
    assert seen == [(None, None), (OTHER, None)]


def test_what_a_request_leaves_running_is_not_remembered_for_ever(happened: list[dict[str, Any]]) -> None:
    left: list[Context] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        left.append(copy_context())
        start_response("201 Created", [])
        return [b""]

    request(app, happened)
    left[0].run(triggers, OTHER)
    assert left[0][triggered_var] == [TEST]


def test_an_answer_without_end_is_told_to_so_many_tests_only(happened: list[dict[str, Any]]) -> None:
    request(answering([b""], *[OTHER] * (2 * MOST)), happened)
    assert happened == [told(TEST, *[OTHER] * (MOST - 1))]
