"""A signed request is handled under its test, on real servers."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from livecheck_celery.models import TestExecution
from livecheck_celery.store import Store
from tests.helpers.factories import make_settings, make_test
from tests.helpers.programs import Program, Programs
from tests.helpers.signing import sign
from tests.helpers.waiting import wait_until
from tests.helpers.web import KEY

GTHREAD = "-k gthread --threads 4"
SERVERS = {
    "flask, gunicorn sync": "gunicorn -b 127.0.0.1:0 -k sync services:wsgi",
    "flask, gunicorn gthread": f"gunicorn -b 127.0.0.1:0 {GTHREAD} services:wsgi",
    "fastapi, uvicorn": "uvicorn --port 0 services:asgi",
    "django, gunicorn gthread": f"gunicorn -b 127.0.0.1:0 {GTHREAD} django.core.wsgi:get_wsgi_application()",
    "django, uvicorn": "uvicorn --port 0 --factory django.core.asgi:get_asgi_application",
}


@dataclass
class Service:
    name: str
    url: str

    def post(
        self, test: TestExecution | None, body: bytes = b"", session: requests.Session | None = None
    ) -> str | None:
        """Place an order; return the id of the test that the service had while it handled the request."""
        headers = {} if test is None else sign(test.as_headers(), KEY)
        answer = (session or requests).post(f"{self.url}/order/", data=body, headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text
        assert answer.json()["size"] == len(body)
        test_id: str | None = answer.json()["test"]
        return test_id


@pytest.fixture(scope="module", params=SERVERS)
def service(request: pytest.FixtureRequest, shared_programs: Programs) -> Iterator[Service]:
    program = shared_programs.start(
        SERVERS[request.param], LIVECHECK_SECRET_KEY=KEY[0], DJANGO_SETTINGS_MODULE="mysite.settings"
    )
    yield Service(request.param, wait_until(lambda: address(program), 30, SERVERS[request.param]))
    program.end()


def address(program: Program) -> str | None:
    """Return the URL that the program listens on, which it logs; None before that."""
    assert program.is_running(), program.tail()
    found = re.search(r"(?:Listening at:|running on) (http://127\.0\.0\.1:\d+)", program.output())
    return found and found[1]


@pytest.mark.promise(
    "A signed request is handled under its test, and no other is, on gunicorn and uvicorn.",
    theme="propagation",
)
def test_only_signed_requests_have_a_test(service: Service) -> None:
    assert [service.post(test) for test in (make_test("a"), None, make_test("b"), None)] == ["a", None, "b", None]
    headers = sign(make_test("a").as_headers(), KEY)
    for ignored in (make_test("a").as_headers(), headers | {"LiveCheck-Test-Id": "b"}):
        answer = requests.post(f"{service.url}/order/", headers=ignored, timeout=20)
        assert answer.json() == {"test": None, "size": 0}


def test_requests_on_one_connection_do_not_mix(service: Service) -> None:
    with requests.Session() as session:
        long = b"x" * 1_000_000
        tests = [make_test("a"), None, make_test("b"), None]
        assert [service.post(test, long, session) for test in tests] == ["a", None, "b", None]


@pytest.mark.promise("Concurrent requests of one server do not mix their tests.", theme="propagation")
def test_concurrent_requests_do_not_mix(service: Service) -> None:
    names = [str(number) for number in range(40)]
    tests = [make_test(name) if int(name) % 4 else None for name in names]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(service.post, tests)) == [test and test.id for test in tests]


def test_signal_of_a_service_arrives(service: Service, valkey_url: str) -> None:
    is_django = service.name.startswith("django")
    prefix, case = ("mysite", "mysite.checks.test_faked") if is_django else ("livecheck", "services.test_order")
    store = Store(make_settings(valkey_url, prefix=prefix))
    test_id = f"signal of {service.name}"
    assert service.post(make_test(test_id, case_name=case), b"1234") == test_id
    found = wait_until(lambda: store.signals.awaited([(case, test_id, ["handled"])])[0])
    assert found["handled"].value == "4"
