"""A redirect that would report success for another request than the one made is an error."""

from __future__ import annotations

import pytest
import requests

from livecheck_celery.cases.http import fetch
from tests.helpers.http_tables import CHANGING, KEEPING
from tests.helpers.scripted_http import QUICK, failure, ok, redirect, running


@pytest.mark.promise("A POST that a redirect turns into a GET is a failure of the service.", theme="cases")
@pytest.mark.parametrize(
    ("method", "status"),
    CHANGING,
)
def test_redirect_that_changes_the_method_is_an_error(session: requests.Session, method: str, status: int) -> None:
    with running(redirect("/orders/?token=hunter2", status), ok()) as server:
        message = failure(method, f"{server.url}orders", session, json={"side": "buy"})
        target = f"{server.url}orders/"
        assert message.startswith(f"{method} {server.url}orders: redirected ({status}) to {target}, which would be ")
        assert message.endswith("pass allow_redirects=False to accept the redirect as the answer (1 attempt)")
        assert server.hits == [f"{method} /orders"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_follow_redirects(session: requests.Session, method: str, status: int) -> None:
    with running(ok(b"" if method == "HEAD" else b"fine")) as target:
        elsewhere = target.url.replace("127.0.0.1", "localhost")
        with running(redirect(elsewhere, status)) as server:
            fetch(method, server.url, settings=QUICK, session=session)
        assert target.hits == [f"{method} /"]


@pytest.mark.parametrize(("method", "status"), KEEPING)
def test_redirect_within_the_host_that_keeps_the_method_is_followed(
    session: requests.Session, method: str, status: int
) -> None:
    with running(redirect("/orders/", status), ok()) as server:
        assert fetch(method, f"{server.url}orders", settings=QUICK, session=session, data=b"order") == b"fine"
        assert server.hits == [f"{method} /orders", f"{method} /orders/"]
        assert server.bodies == [b"order", b"order"]


def test_redirect_of_a_body_to_another_host_is_an_error(session: requests.Session) -> None:
    with running(redirect("http://elsewhere.example/orders")) as server:
        assert "redirected (307) to http://elsewhere.example/orders, which is another host" in failure(
            "POST", server.url, session, data=b"order"
        )


@pytest.mark.parametrize("status", [302, 307])
def test_redirect_to_what_is_not_a_url_is_an_error(session: requests.Session, status: int) -> None:
    with running(redirect("http://ann:hunter2@[orders/", status)) as server:
        message = failure("POST", server.url, session, data=b"order")
    assert message == f"POST {server.url}: redirected ({status}) to what is not a URL (1 attempt)"


def test_redirect_is_an_answer_if_the_caller_says_so(session: requests.Session) -> None:
    with running(redirect("/orders/", 302)) as server:
        fetch("POST", server.url, settings=QUICK, session=session, allow_redirects=False)
        assert server.hits == ["POST /"]
