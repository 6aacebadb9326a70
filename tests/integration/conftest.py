"""A LiveCheck on a real server, in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from celery import Celery
from rabbit import RabbitMQ, rabbitmq, rabbitmq_program

from livecheck_celery import LiveCheck


@pytest.fixture
def livecheck(redis_url: str) -> Iterator[LiveCheck]:
    """A LiveCheck on a host's app whose broker is the emptied server."""
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), secret_key="test")
    yield livecheck
    livecheck.close()


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ server for the whole run."""
    program = rabbitmq_program()
    if program is None:
        message = "no rabbitmq-server is installed; on Debian: apt-get install rabbitmq-server"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with rabbitmq(program, tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server
