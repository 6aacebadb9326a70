"""What a LiveCheck offers to carry tests, wired to its settings."""

from collections.abc import Iterator

import pytest
import requests
from urllib3 import HTTPConnectionPool

from livecheck_celery import ConfigurationError, LiveCheck, current_test
from livecheck_celery.context import under_test
from tests.helpers.factories import make_test

TEST = make_test("o-1")


@pytest.fixture
def livecheck() -> Iterator[LiveCheck]:
    livecheck = LiveCheck(redis_url="redis://fake:6379/0", secret_key="k", http_hosts=["shop"])
    yield livecheck
    livecheck.close()


def test_what_is_injected_is_extracted(livecheck: LiveCheck) -> None:
    headers: dict[str, str] = {}
    with under_test(TEST):
        livecheck.inject(headers)
    with livecheck.extract(headers) as test:
        assert test == TEST == current_test()
    assert current_test() is None
    with livecheck.extract(None) as nothing:
        assert nothing is None


def test_a_client_is_instrumented_once_and_put_back(livecheck: LiveCheck) -> None:
    send, urlopen = requests.adapters.HTTPAdapter.send, HTTPConnectionPool.urlopen
    livecheck.instrument("requests")
    livecheck.instrument("requests", hosts=["elsewhere"])
    livecheck.instrument("urllib3")
    assert requests.adapters.HTTPAdapter.send is not send
    livecheck.uninstrument("requests")
    livecheck.uninstrument("requests")
    assert requests.adapters.HTTPAdapter.send is send
    livecheck.close()
    assert HTTPConnectionPool.urlopen is urlopen, "close() undoes what is left"


@pytest.mark.parametrize(
    ("name", "hosts", "problem"),
    [
        ("curl", None, "instrument: unknown client 'curl'; choose from aiohttp, httpx, otel, requests, urllib3"),
        ("otel", ["shop"], "instrument: otel: hosts= is not supported"),
    ],
)
def test_what_cannot_be_instrumented_is_refused(
    livecheck: LiveCheck, name: str, hosts: list[str] | None, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        livecheck.instrument(name, hosts=hosts)
