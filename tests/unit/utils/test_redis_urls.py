"""URLs of Redis, Sentinel and Cluster, and options of the broker that apply to them."""

import ssl
from typing import Any

import pytest
from celery import Celery
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from livecheck_celery import ConfigurationError, LiveCheck
from livecheck_celery.store.redis.client import connect
from livecheck_celery.store.redis.cluster import Cluster
from livecheck_celery.store.redis.pool import Connections
from livecheck_celery.utils.redis_urls import from_broker, parse
from livecheck_celery.utils.secrets import printed_url

TWO = "sentinel://:p%40ss@one:1;sentinel://two/3?master_name=orders&sentinel_password=s%26cret"


def client_of(url: str) -> Any:
    return connect(url, 1.0, Connections(4), wait=1.0)


def test_sentinel_url_has_the_format_of_kombu() -> None:
    client = client_of(TWO)
    pool: Any = client.connection_pool
    assert pool.service_name == "orders"
    kwargs = client.get_connection_kwargs()
    assert (kwargs["password"], kwargs["db"], kwargs["socket_timeout"]) == ("p@ss", 3, 1.0)
    assert issubclass(pool.connection_class, SentinelManagedConnection)
    sentinels = [one.get_connection_kwargs() for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in sentinels] == [
        ("one", 1, "s&cret"),
        ("two", 26379, "s&cret"),
    ]
    assert {one["socket_timeout"] for one in sentinels} == {0.5}, "the timeout, divided by their number"
    client.close()


def test_tls_is_set_separately_for_redis_and_sentinel() -> None:
    client = connect(
        "sentinel://one?master_name=m&ssl=true&ssl_ca_certs=/ca&sentinel_ssl=true", 1.0, Connections(4), wait=1.0
    )
    pool: Any = client.connection_pool
    assert issubclass(pool.connection_class, SentinelManagedSSLConnection)
    assert client.get_connection_kwargs()["ssl_ca_certs"] == "/ca"
    [sentinel] = pool.sentinel_manager.sentinels
    assert sentinel.connection_pool.connection_class.__name__ == "SSLConnection"


def test_cluster_connects_when_first_used() -> None:
    assert isinstance(client_of("redis+cluster://:pw@nowhere:1;redis+cluster://nowhere:2"), Cluster)
    cluster = parse("rediss+cluster://a;rediss+cluster://b:7")
    assert cluster.hosts == [("a", 6379), ("b", 7)]
    assert cluster.tls


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://one;sentinel://two/0", "master_name=mymaster.*broker_transport_options"),
        ("sentinel://one;two?master_name=m", "sentinel://:password@host"),
        ("sentinel://one;redis://two?master_name=m", "sentinel://:password@host"),
        ("sentinel://one:port?master_name=m", "sentinel://:password@host"),
        ("sentinel://:hunter#2@one?master_name=m", "percent-encoded"),
        ("redis+cluster://one/1", r"redis\+cluster://:password@localhost"),
        ("redis+cluster://", r"redis\+cluster://:password@localhost"),
    ],
)
def test_invalid_url_is_explained_in_one_line(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"redis_url is not a.*{problem}") as caught:
        client_of(url)
    assert "hunter" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (TWO, "sentinel://one:1;sentinel://two/3"),
        ("redis+cluster://u:a@one;redis+cluster://u:b@two", "redis+cluster://one;redis+cluster://two"),
        ("redis://:hun;ter2@host/1", "redis://host/1"),
    ],
)
def test_passwords_of_all_servers_are_hidden(url: str, shown: str) -> None:
    assert printed_url(url) == shown


def settings_of(url: str, **conf: Any) -> Any:
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.update(conf)
    return LiveCheck(app).settings


def test_sentinel_options_of_the_broker_apply_to_redis_url() -> None:
    options = {"master_name": "orders", "sentinel_kwargs": {"password": "a&b", "socket_timeout": 9}, "other": 1}
    settings = settings_of("sentinel://one;sentinel://two", broker_transport_options=options)
    assert settings.redis_url == "sentinel://one;sentinel://two?master_name=orders&sentinel_password=a%26b"
    assert settings.broker_url == "sentinel://one;sentinel://two"
    client_of(settings.redis_url).close()


def test_url_precedes_the_options_of_the_broker() -> None:
    assert from_broker("sentinel://one?master_name=a", {"master_name": "b"}, None) == "sentinel://one?master_name=a"


@pytest.mark.parametrize("url", ["redis://host/1", "rediss://host/1"])
def test_broker_use_ssl_applies_to_redis_url(url: str) -> None:
    options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    kwargs = connect(
        settings_of(url, broker_use_ssl=options).redis_url, 1.0, Connections(4), wait=1.0
    ).get_connection_kwargs()
    assert (kwargs["host"], kwargs["db"], kwargs["ssl_ca_certs"]) == ("host", 1, "/ca.pem")
    assert kwargs["ssl_cert_reqs"] == "required"
    assert kwargs["ssl_check_hostname"] is False


def test_options_of_the_broker_do_not_apply_to_another_redis() -> None:
    settings = settings_of("rediss://host", broker_use_ssl={"ssl_ca_certs": "/ca"}, livecheck_redis_url="redis://state")
    assert settings.redis_url == "redis://state"


@pytest.mark.parametrize("url", ["redis+cluster://host:1", "rediss+cluster://host:1"])
def test_cluster_as_broker_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="broker_url: Celery cannot use a Redis Cluster.*livecheck_redis_url"):
        _ = LiveCheck(Celery("shop", set_as_current=False), redis_url=url).settings
    with pytest.raises(ConfigurationError, match="broker_url: Celery cannot use a Redis Cluster"):
        _ = LiveCheck(Celery("shop", set_as_current=False), redis_url="redis://state", broker_url=url).settings


def test_cluster_with_another_broker_is_accepted() -> None:
    settings = settings_of("redis://broker/0", livecheck_redis_url="redis+cluster://host:1")
    assert (settings.redis_url, settings.broker_url) == ("redis+cluster://host:1", "redis://broker/0")
