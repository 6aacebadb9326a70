"""Credential providers named in a Redis URL, as kombu loads them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import redis
from redis.credentials import CredentialProvider

from livecheck_celery.utils.sanitize import type_and_message


def load_provider(path: str) -> CredentialProvider:
    """Import the class named by ``path``, ``package.module.Class`` or ``package.module:Class``, and create it.

    Raises:
        ValueError: it cannot be imported or created, or is not a ``redis.CredentialProvider``; the message is one line.
    """
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        provider = getattr(import_module(module), name)()
    except Exception as exc:  # noqa: BLE001 - a user's module can raise anything
        raise ValueError(f"redis_url: credential_provider {path!r}: {type_and_message(exc)}") from None
    if not isinstance(provider, CredentialProvider):
        raise ValueError(f"redis_url: credential_provider {path!r} is not a redis.CredentialProvider")  # noqa: TRY004 - a wrong URL
    return _Translated(provider)


class _Translated(CredentialProvider):
    """A provider whose errors are Redis errors, since it is called for each connection."""

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider

    def get_credentials(self) -> Any:
        """Return the login.

        Raises:
            redis.AuthenticationError: the provider raised.
        """
        try:
            return self._provider.get_credentials()
        except redis.RedisError:
            raise
        except Exception as exc:
            raise redis.AuthenticationError(f"credential_provider: {type_and_message(exc)}") from exc
