"""The WSGI middleware: the test of a request is current while it is served."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import current_test, fake_request, under_test
from livecheck_celery.models import HEADER_SIGNATURE, TestExecution
from livecheck_celery.propagation.headers import HEADERS, outgoing
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate, make_test
from tests.helpers.marks import synthetic_case
from tests.helpers.signing import sign
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, environ_of

App = Callable[..., Iterable[bytes]]


def call(app: App, headers: dict[str, Any], key: tuple[str, ...] = KEY) -> Iterable[bytes]:
    return LiveCheckMiddleware(app, make_gate(*key))(
        environ_of(headers), lambda status, headers, exc_info=None: lambda data: None
    )


def seen_by(headers: dict[str, Any], key: tuple[str, ...] = KEY) -> list[object]:
    """The LiveCheck context while the application ran."""
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        seen.extend([current_test(), synthetic_case()])
        start_response("200 OK", [])
        return [b"body"]

    assert call(app, headers, key) == [b"body"]
    return seen


def test_signed_request_is_served_under_its_test() -> None:
    assert seen_by(SIGNED) == [TEST, None]
    assert current_test() is None


def test_signed_fake_request_is_recognized() -> None:
    with fake_request("shop.tests.test_order"):
        headers = outgoing()
    assert seen_by(sign(headers, KEY)) == [None, "shop.tests.test_order"]
    assert synthetic_case() is None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, KEY),
        (TEST.as_headers(), KEY),
        (SIGNED | {"LiveCheck-Test-Id": "order-2"}, KEY),
        ({"LiveCheck-Test-Id": "order-1"}, KEY),
        (SIGNED, ("another secret",)),
        (SIGNED, ()),
        (sign({"LiveCheck-Test-Id": "order-1"}, KEY), KEY),
    ],
)
def test_request_without_valid_signature_is_served_without_a_test(
    headers: dict[str, str], key: tuple[str, ...]
) -> None:
    assert seen_by(headers, key) == [None, None]


junk = st.dictionaries(
    st.sampled_from([*HEADERS, HEADER_SIGNATURE]),
    st.one_of(
        st.text(alphabet=st.characters(codec="latin-1")), st.text(), st.binary(), st.just("x" * 100_000), st.none()
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(junk, st.booleans())
def test_random_header_values_never_fail_a_request(headers: dict[str, Any], on_top: bool) -> None:
    assert seen_by(SIGNED | headers if on_top and headers else headers) in ([None, None], [TEST, None])


def streaming(seen: list[object]) -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        try:
            seen.append(current_test())
            start_response("200 OK", [])
            for _ in range(2):
                yield b"part"
                seen.append(current_test())
        finally:
            seen.append(current_test())

    return app


def test_body_is_generated_under_the_test_and_the_server_runs_outside() -> None:
    seen: list[object] = []
    parts = iter(call(streaming(seen), SIGNED))
    outside = [current_test() for _ in parts]
    assert seen == [TEST] * 4
    assert outside == [None, None]
    assert current_test() is None


def test_body_closed_early_is_closed_under_the_test() -> None:
    seen: list[object] = []
    body: Any = call(streaming(seen), SIGNED)
    next(iter(body))
    body.close()
    assert seen == [TEST, TEST]
    assert current_test() is None


class Body:
    """A body whose iterator is another object, as in some frameworks."""

    def __init__(self, seen: list[object]) -> None:
        self.seen = seen

    def __iter__(self) -> Iterator[bytes]:
        self.seen.append(current_test())
        return iter([b"one", b"two"])

    def close(self) -> None:
        self.seen.append(current_test())


def test_body_object_is_iterated_and_closed_under_the_test() -> None:
    seen: list[object] = []
    body: Any = call(lambda *_: Body(seen), SIGNED)
    assert list(body) == [b"one", b"two"]
    body.close()
    assert seen == [TEST, TEST]


def test_body_without_close_method_can_be_closed() -> None:
    body: Any = call(lambda *_: iter([b"one"]), SIGNED)
    assert list(body) == [b"one"]
    body.close()


def test_list_is_returned_as_it_is() -> None:
    parts = [b"whole"]
    assert call(lambda *_: parts, SIGNED) is parts


@pytest.mark.parametrize("headers", [{}, SIGNED])
def test_application_errors_propagate_and_reset_the_context(headers: dict[str, str]) -> None:
    def broken(*_: object) -> Iterable[bytes]:
        raise ZeroDivisionError

    def breaks_half_way(*_: object) -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(broken, headers)
    assert current_test() is None
    with pytest.raises(ZeroDivisionError):
        list(call(breaks_half_way, headers))
    assert current_test() is None


def test_interleaved_bodies_on_one_thread_keep_their_own_test() -> None:
    def app(*_: object) -> Iterator[bytes]:
        for _ in range(3):
            test = current_test()
            yield test.id.encode() if test else b"-"

    bodies = [call(app, sign(test.as_headers(), KEY)) for test in (TEST, OTHER)] + [call(app, {})]
    assert list(zip(*bodies, strict=True)) == [(b"order-1", b"other", b"-")] * 3


def test_test_entered_inside_a_body_stays_current_for_the_next_parts() -> None:
    def app(*_: object) -> Iterator[bytes]:
        yield current_test().id.encode()
        with under_test(OTHER):
            yield current_test().id.encode()
            yield current_test().id.encode()
        yield current_test().id.encode()

    seen = []
    for part in call(app, SIGNED):
        assert current_test() is None
        seen.append(part)
    assert seen == [b"order-1", b"other", b"other", b"order-1"]


def test_middleware_conforms_to_the_wsgi_protocol() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"part"

    body: Any = validator(LiveCheckMiddleware(validator(app), make_gate(*KEY)))(
        environ_of(SIGNED), lambda status, headers, exc_info=None: lambda data: None
    )
    assert list(body) == [b"part"]
    body.close()


def test_flask_views_and_streams_run_under_the_test() -> None:
    app = flask.Flask("shop")
    seen: list[object] = []

    @app.get("/")
    def view() -> flask.Response:
        def parts() -> Iterator[str]:
            for _ in range(2):
                seen.append((flask.request.path, current_test()))
                yield "part"

        seen.append(("view", current_test()))
        response = flask.Response(flask.stream_with_context(parts()))
        response.call_on_close(lambda: seen.append(("close", current_test())))
        return response

    app.wsgi_app = LiveCheckMiddleware(app.wsgi_app, make_gate(*KEY))
    client = app.test_client()
    for headers, test in ((SIGNED, TEST), ({}, None), (SIGNED, TEST)):
        seen.clear()
        with client.get("/", headers=headers) as response:
            assert response.text == "partpart"
        assert seen == [("view", test), ("/", test), ("/", test), ("close", test)]


def test_concurrent_threads_keep_their_own_test() -> None:
    together = threading.Barrier(8)
    seen: dict[str, str] = {}

    def app(*_: object) -> Iterator[bytes]:
        together.wait(5)
        yield current_test().id.encode()

    def request(test: TestExecution) -> None:
        seen[test.id] = b"".join(call(app, sign(test.as_headers(), KEY))).decode()

    tests = [make_test(str(number)) for number in range(8)]
    threads = [threading.Thread(target=request, args=(test,)) for test in tests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == {test.id: test.id for test in tests}
