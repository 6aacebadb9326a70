"""Cases that a middleware triggers on routes, with complete frameworks."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from celery import Celery
from django.http import HttpResponse
from django.test import RequestFactory
from fastapi import FastAPI

from livecheck_celery import Case, LiveCheck, Signal
from livecheck_celery.context import current_tests
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.integrations import django as django_integration
from livecheck_celery.propagation.routes import Route, RouteRequest
from livecheck_celery.propagation.sources import REQUEST, Source, SourceIndex
from tests.helpers import djangosite  # noqa: F401 - configures Django
from tests.helpers.web import KEY, request_asgi

#: Sends a POST to a path of an application, and returns the status and the tests that its view saw.
Post = Callable[[str], tuple[int, list[Any]]]


@pytest.fixture
def livecheck(redis_url: str) -> Iterator[LiveCheck]:
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), secret_key=KEY)
    yield livecheck
    livecheck.close()


@pytest.fixture
def case(livecheck: LiveCheck) -> Case:
    declared: Case = livecheck.case(name="pays", probability=1.0)(type("pays", (), {}))
    return declared


def by_flask(livecheck: LiveCheck) -> Post:
    app, seen = flask.Flask("shop"), []
    view = lambda number: str(seen.append(list(current_tests())))  # noqa: E731 - one line
    app.add_url_rule("/orders/<number>/pay", view_func=view, methods=["POST"])
    livecheck.init_flask(app)

    def post(path: str) -> tuple[int, list[Any]]:
        status = app.test_client().post(path).status_code
        return status, seen.pop()

    return post


def by_fastapi(livecheck: LiveCheck) -> Post:
    app, seen = FastAPI(), []

    @app.post("/orders/{number}/pay")
    def view(number: str) -> None:
        seen.append(list(current_tests()))

    app.add_middleware(livecheck.asgi)

    def post(path: str) -> tuple[int, list[Any]]:
        status, _ = asyncio.run(request_asgi(app, path, method="POST", headers={}))
        return status, seen.pop()

    return post


def by_django(livecheck: LiveCheck) -> Post:
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(list(current_tests()))
        return HttpResponse()

    middleware = django_integration.LiveCheckMiddleware(view)
    middleware._gate = livecheck.gate

    def post(path: str) -> tuple[int, list[Any]]:
        response: Any = middleware(RequestFactory().post(path))
        return response.status_code, seen.pop()

    return post


@pytest.mark.parametrize("framework", [by_flask, by_fastapi, by_django])
def test_request_of_the_route_is_under_test_without_a_change_of_its_view(
    livecheck: LiveCheck, case: Case, framework: Callable[[LiveCheck], Post]
) -> None:
    requests: list[RouteRequest] = []

    def arguments(request: RouteRequest) -> dict[str, str]:
        requests.append(request)
        return {"id": f"order-{request.path_params['number']}"}

    livecheck.trigger_on("post", "/orders/{number}/pay", case, arguments=arguments)
    post = framework(livecheck)
    status, [test] = post("/orders/7/pay")
    assert (status, test.id, test.case_name) == (200, "order-7", "pays")
    assert (requests[0].method, requests[0].path) == ("POST", "/orders/7/pay")
    assert requests[0].native is not None
    assert not current_tests()


@pytest.mark.parametrize("framework", [by_flask, by_fastapi, by_django])
@pytest.mark.parametrize("arguments", [lambda _: 1 / 0, lambda _: "text", lambda _: {"id": object(), "x": object()}])
def test_arguments_that_fail_leave_the_request_without_a_test(
    livecheck: LiveCheck, case: Case, framework: Callable[[LiveCheck], Post], arguments: Any
) -> None:
    livecheck.trigger_on("POST", "/orders/{number}/pay", case, arguments=arguments)
    assert framework(livecheck)("/orders/7/pay") == (200, [])


def test_no_arguments_mean_no_test(livecheck: LiveCheck, case: Case) -> None:
    livecheck.trigger_on("POST", "/orders/{number}/pay", case, arguments=lambda _: None)
    assert by_flask(livecheck)("/orders/7/pay") == (200, [])


def test_requests_are_sampled_by_the_probability(livecheck: LiveCheck) -> None:
    case = livecheck.case(name="never", probability=0.0)(type("never", (), {}))
    livecheck.trigger_on("POST", "/orders/{number}/pay", case)
    assert by_flask(livecheck)("/orders/7/pay") == (200, [])


def test_request_under_a_test_of_the_case_triggers_no_other(livecheck: LiveCheck, case: Case) -> None:
    livecheck.trigger_on("POST", "/orders/{number}/pay", case)
    livecheck.trigger_on("POST", "/orders/7/pay", case)  # the same request by another route
    post = by_flask(livecheck)
    with case.maybe_trigger("outer"):
        status, tests = post("/orders/7/pay")
    assert (status, [test.id for test in tests]) == (200, ["outer"])
    assert len(post("/orders/7/pay")[1]) == 1


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("POST /orders/7/pay", {"number": "7"}),
        ("GET /orders/7/pay", None),
        ("POST /orders/7/8/pay", None),
        ("POST /orders//pay", None),
        ("POST /orders/7/pay/", None),
    ],
)
def test_placeholder_is_one_segment(path: str, values: dict[str, str] | None) -> None:
    assert Route("post", "/orders/{number}/pay").match(path) == values


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("GET /report/2026-11-30.csv", {"y": "2026", "m": "11", "d": "30"}),
        ("GET /report/2026-11-30-2.csv", {"y": "2026", "m": "11", "d": "30-2"}),
        ("GET /report/--1-2-3.csv", {"y": "-", "m": "1", "d": "2-3"}),
        ("GET /report/2026-11-.csv", None),
        ("GET /report/2026-11.csv", None),
        ("GET /report/-11-30.csv", None),
        ("GET /report/2026-11-30", None),
        ("GET /report/2026-11/30.csv", None),
        ("GET /report/2026-.csv", None),
    ],
)
def test_placeholders_of_one_segment_end_at_the_text_between_them(path: str, values: dict[str, str] | None) -> None:
    assert Route("GET", "/report/{y}-{m}-{d}.csv").match(path) == values


@pytest.mark.promise("The time to match a route grows with the length of the path only.", theme="requests")
@pytest.mark.parametrize("route", ["/report/{y}-{m}-{d}/", "/{a}-{b}-{c}-{d}-{e}-{f}/", "/{a}--{b}---{c}/x"])
@pytest.mark.parametrize("path", ["/report/" + "-" * 2_000 + "x/", "/" + "-" * 2_000 + "x", "/" + "-x" * 1_000 + "/y"])
def test_no_path_makes_a_match_slow(route: str, path: str) -> None:
    def seconds(repeats: int) -> float:
        by, started = Route("GET", route), time.perf_counter()
        for _ in range(repeats):
            by.match(f"GET {path}")
        return time.perf_counter() - started

    assert min(seconds(10) for _ in range(5)) < 0.05  # with backtracking, one match takes seconds


@pytest.mark.parametrize("path", ["-" * 4_000, "x" * 2_048])
def test_longer_paths_match_no_route(path: str) -> None:
    assert Route("GET", "/{name}").match(f"GET /{path}") is None
    assert Route("GET", "/{name}").match(f"GET /{path}"[:2_048]) is not None
    targets = SourceIndex({"case": {"seen": (REQUEST, "GET /{name}")}}).targets
    assert not targets(Source(REQUEST, f"GET /{path}"))
    assert targets(Source(REQUEST, f"GET /{path}"[:2_048]))


@pytest.mark.parametrize(
    ("method", "path", "problem"),
    [
        (5, "/", "method 5 must be one HTTP method"),
        (["GET", "POST"], "/", "must be one HTTP method"),
        ("", "/", "must be one HTTP method"),
        ("*", "/", "must be one HTTP method"),
        ("GET", 5, "path 5 must begin with a slash"),
        ("GET", "orders/", "path 'orders/' must begin with a slash"),
        ("GET", "/orders?id=1", "must not have a query"),
        ("GET", "/orders#1", "must not have a query or a fragment"),
        ("GET", "/orders/{id", "must have placeholders"),
        ("GET", "/orders/{}", "must have placeholders"),
        ("GET", "/orders/{id:int}", "must have placeholders"),
        ("GET", "/orders/<int:id>", "must have placeholders"),
        ("GET", "/{id}/{id}", "must have placeholders with different names"),
        ("GET", "/{year}{month}", "must have text between two placeholders"),
        ("GET", "/" + "x" * 2_048, "must have at most 2048 characters with its method"),
    ],
)
def test_route_that_matches_no_request_is_refused(
    livecheck: LiveCheck, case: Case, method: Any, path: Any, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^trigger_on: .*{re.escape(problem)}"):
        livecheck.trigger_on(method, path, case)
    with pytest.raises(ConfigurationError, match=rf"^from_request\(\): .*{re.escape(problem)}"):
        Signal.from_request(method, path)


@pytest.mark.parametrize("wrong", ["pays", None, object()])
def test_what_is_not_a_case_is_refused(livecheck: LiveCheck, case: Case, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not declared on this LiveCheck"):
        livecheck.trigger_on("GET", "/", wrong)


async def _async_arguments(request: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("wrong", ["id", 5, _async_arguments])
def test_arguments_are_a_plain_function(livecheck: LiveCheck, case: Case, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="arguments must be a plain function, not"):
        livecheck.trigger_on("GET", "/", case, arguments=wrong)


def test_case_of_another_livecheck_is_refused(case: Case) -> None:
    other = LiveCheck(Celery("other", broker="redis://nowhere", set_as_current=False))
    with pytest.raises(ConfigurationError, match="case pays is not declared on this LiveCheck"):
        other.trigger_on("POST", "/orders/", case)
