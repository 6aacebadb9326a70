"""Credential providers named in a Redis URL."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

from livecheck_celery import ConfigurationError
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store.redis.client import errors_translated
from tests.helpers.redis_clients import connect

HERE = "tests.unit.store.redis.test_credentials"


class Provider(CredentialProvider):
    def get_credentials(self) -> Any:
        return ("vault", "from the vault")


class Failing(CredentialProvider):
    def get_credentials(self) -> Any:
        raise OSError("vault is sealed\nat length")


class Unmakeable(CredentialProvider):
    def __init__(self, region: str) -> None: ...


def url_of(provider: str, place: str = "redis://h/1") -> str:
    return f"{place}{'&' if '?' in place else '?'}credential_provider={provider}"


@pytest.mark.parametrize("path", [f"{HERE}.Provider", f"{HERE}:Provider"])
@pytest.mark.parametrize("place", ["redis://old:login@h/1", "sentinel://old:login@h/1?master_name=m"])
def test_provider_replaces_the_login(path: str, place: str) -> None:
    connection = connect(url_of(path, place), 0.5).connection_pool.make_connection()
    assert connection.credential_provider.get_credentials() == ("vault", "from the vault")
    assert connection.db == 1


def test_provider_of_a_cluster_applies_to_each_server() -> None:
    client: Any = connect(url_of(f"{HERE}.Provider", "redis+cluster://h"), 0.5)
    connection = client._client(("other", 7), 0.5).connection_pool.make_connection()
    assert connection.credential_provider.get_credentials() == ("vault", "from the vault")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere.Provider", "ModuleNotFoundError: No module named 'nowhere'"),
        (f"{HERE}.Nothing", "AttributeError"),
        (f"{HERE}.HERE", "TypeError"),
        (f"{HERE}.Unmakeable", "TypeError"),
        ("builtins.dict", "is not a redis.CredentialProvider"),
        ("Provider", "ValueError"),
    ],
)
def test_provider_that_cannot_be_loaded_is_named(path: str, problem: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^LiveCheck: redis_url: credential_provider '{path}'.*{problem}"
    ) as caught:
        connect(url_of(path), 0.5)
    assert "\n" not in str(caught.value)


def test_error_of_a_provider_is_a_refused_login() -> None:
    connection: Any = connect(url_of(f"{HERE}.Failing"), 0.5).connection_pool.make_connection()
    with (
        pytest.raises(RedisUnavailable, match="refused the login .*vault is sealed") as caught,
        errors_translated("redis://h"),
    ):
        connection.credential_provider.get_credentials()
    assert "\n" not in str(caught.value)


def test_redis_error_of_a_provider_is_unchanged() -> None:
    class Refusing(CredentialProvider):
        def get_credentials(self) -> Any:
            raise redis.ConnectionError("no route")

    globals()["Refusing"] = Refusing
    connection: Any = connect(url_of(f"{HERE}.Refusing"), 0.5).connection_pool.make_connection()
    with pytest.raises(redis.ConnectionError, match="no route"):
        connection.credential_provider.get_credentials()
