"""Redis errors: one line with the URL without its password, the reason, and how to fix it."""

import pytest
import redis

from livecheck_celery.errors import ConfigurationError, RedisTooOld, RedisUnavailable
from livecheck_celery.store import Store
from livecheck_celery.store.redis.client import connect, errors_translated
from livecheck_celery.store.redis.pool import Connections
from livecheck_celery.utils.secrets import printed_url
from tests.helpers.factories import make_settings

URL = "redis://user:hunter2@redis.example:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:hunter2@[::1]:6379", "rediss://[::1]:6379"),
        ("redis://:hunter@2@localhost/1", "redis://localhost/1"),
        ("redis://:hunter/2@localhost/1", "redis://localhost/1"),
        ("redis://localhost/1?password=hunter2", "redis://localhost/1"),
        ("redis://localhost/1?password=a@hunter2", "redis://..."),
        ("redis://:hunter?2@localhost/1", "redis://..."),
        ("unix://:hunter2@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_password_is_removed_from_a_url(url: str, shown: str) -> None:
    assert printed_url(url) == shown


def raised(error: redis.RedisError) -> str:
    with pytest.raises(RedisUnavailable) as caught, errors_translated(URL):
        raise error
    message = str(caught.value)
    assert message.startswith("Redis at redis://redis.example:6379/0 ")
    assert "\n" not in message
    assert "hunter2" not in message
    return message


def test_timeout_is_named() -> None:
    assert raised(redis.TimeoutError("Timeout reading from socket")).endswith(
        "did not answer (timed out); is it running, and is livecheck_redis_url right?"
    )


def test_refused_login_is_not_called_an_outage() -> None:
    message = raised(redis.AuthenticationError("invalid username-password pair"))
    assert "refused the login (invalid username-password pair)" in message
    assert "right user and password" in message


def test_refused_command_is_quoted() -> None:
    assert "refused a command (READONLY You can't write" in raised(
        redis.ReadOnlyError("READONLY You can't write\nmore")
    )


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.NoPermissionError("User shop has no permissions to run the 'info' command"),
        redis.ResponseError("ACL failure in script: User shop has no permissions to run the 'time' command"),
        redis.ResponseError("The user executing the script can't run this command or subcommand script: 1a2b"),
    ],
)
def test_missing_permission_points_to_the_documented_rights(error: redis.RedisError) -> None:
    assert raised(error).endswith("; has the user of livecheck_redis_url the rights of docs/servers.md?")


def test_cluster_that_is_down_is_called_an_outage() -> None:
    assert "did not answer (The cluster is down)" in raised(redis.exceptions.ClusterDownError("The cluster is down"))


def test_error_without_a_message_is_named_by_its_type() -> None:
    assert "did not answer (ConnectionError)" in raised(redis.ConnectionError())


def test_other_errors_are_not_translated() -> None:
    with pytest.raises(KeyError), errors_translated(URL):
        raise KeyError("not about Redis")


def test_kombu_urls_are_understood() -> None:
    def connected(url: str) -> redis.Redis:
        return connect(url, 1.0, Connections(4), wait=1.0)

    assert connected("rediss://h/0?ssl_cert_reqs=CERT_NONE").get_connection_kwargs()["ssl_cert_reqs"] == "none"
    client = connected("redis+socket:///run/r.sock?virtual_host=2")
    assert client.get_connection_kwargs() == {
        **client.get_connection_kwargs(),
        "path": "/run/r.sock",
        "db": 2,
    }


@pytest.mark.parametrize(
    "url", ["amqp://localhost", "localhost:6379", "redis://:hunter#2@localhost:1/0", "redis://h:port/0"]
)
def test_invalid_url_is_a_configuration_error_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis_url is not a Redis URL") as caught:
        connect(url, 1.0, Connections(4), wait=1.0)
    assert "hunter" not in str(caught.value)


class Versioned:
    """In place of a server that reports its version, which the fake one does not."""

    def __init__(self, version: str) -> None:
        self.version = version

    def info(self, section: str) -> dict[str, str]:
        return {"redis_version": self.version}


@pytest.mark.parametrize("version", ["6.2.0", "6.10.1", "7.2.4", "255.255.255"])
def test_redis_from_6_2_on_is_accepted(version: str) -> None:
    Store(make_settings(URL), Versioned(version)).check()


@pytest.mark.parametrize("version", ["5.0.7", "6.0.16", "2.8"])
def test_older_redis_is_refused_with_both_versions(version: str) -> None:
    with pytest.raises(RedisTooOld) as caught:
        Store(make_settings(URL), Versioned(version)).check()
    assert str(caught.value) == f"Redis at redis://redis.example:6379/0 is {version}; LiveCheck needs 6.2 or newer"
