"""Flask on a real server: blocks that the hooks of a request open and leave, and streams with its context."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import requests
from werkzeug.serving import make_server

from livecheck_celery.context import current_tests
from tests.helpers.order_case import make_order_case

#: What was in force, by the place where it was read.
seen: dict[str, list[str]] = {}


def note(place: str) -> None:
    seen.setdefault(place, []).append(",".join(test.id for test in current_tests()))


def parts() -> Iterator[str]:
    for _ in range(2):
        note("part")
        yield "part"


@pytest.fixture
def case(redis_url: str) -> Any:
    seen.clear()
    return make_order_case(redis_url)


@pytest.fixture
def app(case: Any) -> flask.Flask:
    app = flask.Flask("shop")
    case.app.init_flask(app)
    app.add_url_rule("/context", view_func=lambda: [test.id for test in current_tests()])
    return app


def get(app: flask.Flask, path: str) -> list[str]:
    """Return the texts of two responses on one connection, after which nothing stays in force in the server."""
    server = make_server("127.0.0.1", 0, app)  # one thread serves all requests
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with requests.Session() as session:
            url = f"http://127.0.0.1:{server.server_port}"
            texts = [session.get(url + path, timeout=10).text for _ in range(2)]
            assert session.get(f"{url}/context", timeout=10).json() == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return texts


@pytest.mark.parametrize("kind", ["plain", "streamed", "streamed with the context"])
def test_block_from_before_request_to_teardown_request_contains_the_whole_response(
    app: flask.Flask, case: Any, kind: str
) -> None:
    @app.before_request
    def begin() -> None:
        if flask.request.path == "/":
            flask.g.tested = case.maybe_trigger("o-1")
            flask.g.tested.__enter__()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        if tested := flask.g.pop("tested", None):
            tested.__exit__(None, None, None)

    @app.get("/")
    def view() -> Any:
        note("view")
        if kind == "plain":
            return "".join(parts())
        return flask.Response(flask.stream_with_context(parts()) if kind != "streamed" else parts())

    # The second test is refused, since the first one has no verdict yet; the request is part of it all the same.
    assert get(app, "/") == ["partpart"] * 2
    assert seen == {"view": ["o-1"] * 2, "part": ["o-1"] * 4}


def test_stream_with_the_context_is_part_of_the_test_in_whose_block_it_was_made(app: flask.Flask, case: Any) -> None:
    @app.get("/")
    def view() -> flask.Response:
        with case.maybe_trigger("o-1"):
            response = flask.Response(flask.stream_with_context(parts()))
        note("view")
        return response

    assert get(app, "/") == ["partpart"] * 2
    assert seen == {"view": [""] * 2, "part": ["o-1"] * 4}
