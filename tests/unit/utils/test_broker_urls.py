"""URLs of a broker: one server or several."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from livecheck_celery import ConfigurationError, LiveCheck
from livecheck_celery.utils.broker_urls import failover_urls, same_broker


def settings_of(**conf: Any) -> Any:
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    return LiveCheck(app).settings


@pytest.mark.parametrize(
    "broker", ["amqp://a//;amqp://b//", ["amqp://a//", "amqp://b//"], ("amqp://a//", " amqp://b// ")], ids=type
)
def test_list_of_brokers_is_kept_whole(broker: Any) -> None:
    settings = settings_of(broker_url=broker, livecheck_redis_url="redis://state")
    assert failover_urls(settings.broker_url) == ["amqp://a//", "amqp://b//"]


def test_semicolon_in_a_password_of_a_list_is_not_a_separator() -> None:
    settings = settings_of(livecheck_broker_url=["redis://:a;b@h/0"])
    assert failover_urls(settings.broker_url) == ["redis://:a%3Bb@h/0"]
    assert settings.redis_url == "redis://:a%3Bb@h/0"


def test_sentinels_of_one_primary_are_one_broker() -> None:
    assert failover_urls("sentinel://a;sentinel://b/0") == ["sentinel://a;sentinel://b/0"]


@pytest.mark.parametrize("broker", ["redis://a/0;redis://b/0", ["redis://a/0", "redis://b/0"]])
def test_state_is_not_put_on_the_first_of_several_brokers(broker: Any) -> None:
    with pytest.raises(ConfigurationError, match="redis_url: broker_url names several servers.*livecheck_redis_url"):
        _ = settings_of(broker_url=broker)


@pytest.mark.parametrize("name", ["visibility_timeout", "socket_timeout", "db", "nonsense"])
def test_option_that_kombu_refuses_in_a_url_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"broker_url: Celery does not support the option '{name}'"):
        _ = settings_of(broker_url=f"redis://a/0?{name}=1")


@pytest.mark.parametrize(
    "url", ["amqp://guest:hunter/2@rabbit//", "amqp://one//;pyamqp://guest:hunter#2@two//", "sentinel://:hunter#2@one"]
)
def test_special_character_in_a_password_is_explained_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _ = settings_of(broker_url=url, livecheck_redis_url="redis://state/0").redis_url
    assert str(caught.value) == (
        "LiveCheck: broker_url is not a URL; special characters in a password must be percent-encoded"
    )


def test_broker_url_with_several_hosts_of_another_transport_is_left_to_kombu() -> None:
    url = "mongodb://one:1,two:2/celery"
    assert settings_of(broker_url=url, livecheck_redis_url="redis://state/0").broker_url == url


def test_sentinels_as_broker_need_the_name_of_the_primary_in_the_options_of_the_broker() -> None:
    state = "sentinel://one?master_name=orders"
    with pytest.raises(ConfigurationError, match="broker_url: Celery needs master_name in broker_transport_options"):
        _ = settings_of(broker_url="sentinel://one", livecheck_redis_url=state).broker_url
    options = {"master_name": "orders"}
    with pytest.raises(ConfigurationError, match="does not support the option 'master_name' in a URL"):
        _ = settings_of(broker_url=state, broker_transport_options=options).broker_url
    settings = settings_of(livecheck_redis_url=state, broker_transport_options=options)
    assert (settings.redis_url, settings.broker_url) == (state, "sentinel://one")


def test_options_of_redis_url_are_not_passed_to_the_broker() -> None:
    settings = settings_of(livecheck_redis_url="redis://a/1?socket_timeout=5&visibility_timeout=9")
    assert settings.broker_url == "redis://a/1"
    settings_of(broker_url="rediss://a/1?ssl_cert_reqs=none&heartbeat=3", livecheck_redis_url="redis://b")


def test_options_that_make_kombu_encrypt_make_the_state_encrypted() -> None:
    assert settings_of(broker_url="redis://a/1?ssl_cert_reqs=none").redis_url == "rediss://a/1?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost", "redis://:pw@127.0.0.1:6379/0", True),
        ("redis://h/0", "redis://h/1", False),
        ("redis://h/0", "redis://g/0", False),
        ("redis://h:1/0", "redis://h:2/0", False),
        ("amqp://guest@h//", "pyamqp://h:5672", True),
        ("amqp://a//;amqp://b//", "amqp://b//", True),
        ("sentinel://a;sentinel://b/0", "sentinel://b:26379/0", True),
        ("redis://h/0", "amqp://h", False),
        ("redis://[x", "redis://[x", True),
        ("localhost", "amqp://", True),
    ],
)
def test_brokers_are_compared_by_server_and_database(one: str, other: str, same: bool) -> None:
    assert same_broker(one, other) is same_broker(other, one) is same
