"""Options in the query of a Redis URL."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.redis import Channel
from redis.connection import URL_QUERY_ARGUMENT_PARSERS

from livecheck_celery import ConfigurationError, LiveCheck
from livecheck_celery.utils.redis_options import known_options
from livecheck_celery.utils.redis_urls import for_broker, parse
from tests.helpers.redis_clients import connect

CLASSES = (
    redis.Connection,
    redis.SSLConnection,
    redis.BlockingConnectionPool,
    redis.connection.AbstractConnection,
)
#: Arguments that are objects, or redis-py's own.
NOT_TEXT = {
    "command_packer",
    "connection_kwargs",
    "host",
    "himport_registry",
    "kwargs",
    "maint_notifications_pool_handler",
    "maintenance_notification_hash",
    "maintenance_state",
    "orig_host_address",
    "orig_socket_connect_timeout",
    "orig_socket_timeout",
    "oss_cluster_maint_notifications_handler",
    "port",
    "redis_connect_func",
    "self",
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
}


def kwargs_of(url: str) -> dict[str, Any]:
    return dict(connect(url, 0.5).get_connection_kwargs())


def test_every_option_of_the_installed_redis_py_is_known() -> None:
    names = {name for one in CLASSES for name in inspect.signature(one.__init__).parameters} - NOT_TEXT
    assert names | URL_QUERY_ARGUMENT_PARSERS.keys() <= known_options()


def test_every_option_of_the_installed_kombu_is_known() -> None:
    of_connections = {"socket_connect_timeout", "socket_keepalive_options", "max_connections", "client_name"}
    names = set(Channel.from_transport_options) - {"body_encoding", "deadletter_queue"}
    assert names - of_connections <= known_options()


@pytest.mark.promise(
    "Each option of redis-py and kombu in a Redis URL is applied or replaced by a safe value.", theme="servers"
)
@pytest.mark.parametrize(
    "query",
    [
        "socket_timeout=5",
        "socket_timeout=x",
        "socket_connect_timeout=90",
        "timeout=20",
        "retry_on_timeout=true",
        "retry_on_error=TimeoutError",
        "decode_responses=False",
        "encoding=utf-16",
        "protocol=3",
        "visibility_timeout=3600",
        "global_keyprefix=shop",
        "fanout_prefix=true",
        "socket%5Ftimeout=5",
    ],
)
@pytest.mark.parametrize(
    "url", ["redis://h/0?", "rediss://h/0?", "unix:///r.sock?", "sentinel://h?master_name=m&", "redis+cluster://h?"]
)
def test_limits_and_the_encoding_stay_those_of_livecheck(url: str, query: str) -> None:
    client = connect(url + query, 0.5)
    if "cluster" in url:
        client = client._client(("h", 6379), 0.5)  # type: ignore[attr-defined]
    kwargs = client.get_connection_kwargs()
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.5, 0.5)
    assert kwargs["retry"]._retries == 0
    assert kwargs["decode_responses"] is True
    assert kwargs["protocol"] == 2
    assert "encoding" not in kwargs
    client.connection_pool.make_connection()


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("client_name=shop", "client_name", "shop"),
        ("health_check_interval=30", "health_check_interval", 30),
        ("socket_keepalive=yes", "socket_keepalive", True),
        ("username=u", "username", "u"),
        ("password=p%2540%26", "password", "p%40&"),
        ("db=7", "db", 7),
        ("pass%77ord=x", "password", "x"),
        ("ssl_ca_certs=/ca.pem", "ssl_ca_certs", "/ca.pem"),
        ("ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs", "none"),
        ("ssl_check_hostname=no", "ssl_check_hostname", False),
        ("ssl_ca_certs=", "ssl_ca_certs", None),
    ],
)
def test_options_of_the_connection_are_applied(query: str, name: str, value: Any) -> None:
    assert kwargs_of(f"rediss://h/1?{query}").get(name) == value


def test_number_of_connections_is_that_of_the_process() -> None:
    def limit(url: str, **options: Any) -> int:
        return LiveCheck(Celery("shop", set_as_current=False), redis_url=url, **options).settings.redis_max_connections

    assert limit("redis://h") == 20
    assert limit("redis://h?max_connections=7") == 7
    assert limit("redis://h?max_connections=7", redis_max_connections=9) == 9
    with pytest.raises(ConfigurationError, match="redis_max_connections: must be at least 4, not 3"):
        limit("redis://h?max_connections=3")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "redis://h/0?socket_keep_alive=1",
            r"redis_url: unknown option 'socket_keep_alive'; did you mean 'socket_keepalive'\?",
        ),
        ("redis://h/0?soket_timeout=1", r"unknown option 'soket_timeout'; did you mean 'socket_timeout'\?"),
        ("redis://h/0?zzz=1", "redis_url: unknown option 'zzz'$"),
        ("redis://h/0?host=other", "redis_url: unknown option 'host'"),
        ("redis://h/0?max_connections=0", "option 'max_connections' must be a whole number from 1"),
        ("redis://h/0?max_connections=many", "option 'max_connections' must be a whole number from 1"),
        ("redis://h/0?max_connections=99999999999999999999", "option 'max_connections' must be a whole number"),
        ("redis://h/0?db=-1", "option 'db' must be a whole number"),
        ("redis://h/0?socket_keepalive=maybe", "option 'socket_keepalive' must be true or false"),
        ("rediss://h/0?ssl_cert_reqs=sometimes", "must be required, optional or none"),
        ("rediss://h/0?ssl_min_version=tls", "option 'ssl_min_version' must be a whole number"),
        ("rediss://h/0?ssl_include_verify_flags=x", "names of ssl.VerifyFlags"),
        ("redis://h/0?ssl_ca_certs=/ca", "option 'ssl_ca_certs' requires TLS; begin the URL with rediss://"),
        ("sentinel://h?master_name=m&sentinel_tiimeout=1", "unknown option 'sentinel_tiimeout'"),
        ("sentinel://h?master_name=m&ssl=perhaps", "true or false"),
        ("redis://h/abc", "the database 'abc' is not a number; end the URL with a number, such as /0"),
        ("redis://h/0/1", "the database '0/1' is not a number"),
        ("redis://h/-1", "the database '-1' is not a number"),
        ("redis://h/٣", "is not a number"),
        ("redis://one/0;redis://two/0", "redis_url names several servers, but the state is in one"),
        ("redis://h:0/0", "redis_url is not a Redis URL"),
        ("redis://h:99999/0", "redis_url is not a Redis URL"),
        ("redis://[::1/0", "redis_url is not a Redis URL"),
        ("redis://h/0#x", "redis_url is not a Redis URL"),
        ("redis://h/0?novalue", "redis_url is not a Redis URL"),
        ("unix://?db=1", "redis_url is not a Redis URL"),
        ("http://h", "redis_url is not a Redis URL"),
    ],
)
def test_invalid_part_of_a_url_is_named_in_one_line(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^LiveCheck: .*{problem}") as caught:
        connect(url, 0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://:p%40%3A%2F%3F%23ss@h/2", {"password": "p@:/?#ss", "host": "h", "db": 2}),
        ("redis://us%65r:pw@h//3", {"username": "user", "password": "pw", "db": 3}),
        ("redis://h/%31", {"db": 1}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("redis://[fe80::1%25eth0]/0", {"host": "fe80::1%eth0"}),
        ("REDIS://h/4", {"host": "h", "db": 4}),
        ("unix://u:pw@/run/r%20s.sock?db=2", {"path": "/run/r s.sock", "db": 2, "username": "u", "password": "pw"}),
        ("redis+socket:///run/r.sock?virtual_host=5&socket_keepalive=1", {"path": "/run/r.sock", "db": 5}),
    ],
)
def test_parts_of_a_url_are_read(url: str, expected: dict[str, Any]) -> None:
    kwargs = kwargs_of(url)
    assert {name: kwargs.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2?x@h/0",
        "redis://u:hunter2/x@h/0",
        "redis://u:12/hunter2@h:1/0",
        "redis://:hunter2#x@h/0",
        "redis://:hunter2 x@h:port/0",
        "redis://u?hunter2=1@h/0",
        "redis://u:hunter2@h/0?unknown=1",
        "redis://u:hunter2@h/abc",
        "redis://u:hunter2@h/0?max_connections=hunter2",
        "sentinel://u:hunter2@h?master_name=m&sentinel_password=hunter2&x=1",
        "redis+cluster://u:hunter2@h/7",
        "redis://u:hunter2@one/0;redis://two/0",
    ],
)
def test_password_is_not_in_the_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url, 0.5)
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None


names = st.one_of(st.sampled_from(sorted(known_options())), st.text(max_size=8))
texts = st.one_of(st.sampled_from(["1", "true", "none", "/x", "99999999999"]), st.text(max_size=8))
places = st.sampled_from(
    ["redis://h", "rediss://u:p@h:1/3", "unix:///r.sock", "sentinel://h?master_name=m", "redis+cluster://h"]
)


@given(places, st.lists(st.tuples(names, texts), max_size=3), st.text(max_size=4))
def test_random_urls_connect_or_are_refused(place: str, query: list[tuple[str, str]], end: str) -> None:
    url = place + ("&" if "?" in place else "?") + "&".join(f"{name}={value}" for name, value in query) + end
    with suppress(ConfigurationError):
        connect(url, 0.5).close()


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://u:p%40@h/1?socket_timeout=5&ssl_ca_certs=%2Fca", "redis://u:p%40@h/1?ssl_ca_certs=%2Fca"),
        ("redis://h?db=3&visibility_timeout=1", "redis://h/3"),
        ("unix:///run/r.sock?db=2", "redis+socket:///run/r.sock?virtual_host=2"),
        ("redis://h/0?credential_provider=a.B", "redis://h/0?credential_provider=a.B"),
    ],
)
def test_state_as_broker_has_only_the_options_of_kombu(url: str, broker: str) -> None:
    assert for_broker(url) == broker
    assert (
        parse(broker.replace("redis:", "rediss:")).options["db"]
        == parse(url.replace("redis:", "rediss:")).options["db"]
    )
