"""Find the settings of a LiveCheck in its arguments, the Celery configuration and the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final

from celery.app.utils import Settings as Celerys
from celery.utils.collections import DictAttribute

from livecheck_celery.config.cases import CaseSettings
from livecheck_celery.config.options import NOT_GIVEN
from livecheck_celery.config.settings import Settings
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.broker_urls import check_broker_url, failover_urls, joined
from livecheck_celery.utils.redis_urls import BROKER_SCHEMES, CLUSTER, for_broker, from_broker, parse, scheme_of
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.validation import unknown_names

logger = get_logger(__name__)

DEFAULT_URL: Final = "redis://localhost:6379/0"


def from_conf(conf: Any) -> Callable[[str], Any]:
    """Return a source of settings: a Celery configuration, as it is now."""
    names = _names_in(conf)

    def value(name: str) -> Any:
        # Celery takes ten microseconds for a setting that is missing, and a case has twenty.
        return conf.get(f"livecheck_{name}", NOT_GIVEN) if names is None or name in names else NOT_GIVEN

    return value


def from_environ(environ: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a source of settings: the environment, as it is now."""
    names = {name for name in environ if name.startswith("LIVECHECK_")}

    def value(name: str) -> Any:
        variable = f"LIVECHECK_{name.upper()}"
        return environ[variable] if variable in names else NOT_GIVEN

    return value


def _names_in(conf: Any) -> set[str] | None:
    """Return the settings that a Celery configuration can have, without prefixes; None if only it can tell."""
    maps = conf.maps if isinstance(conf, Celerys) and conf.key_t is None else None
    if not maps or len(maps) == 1:  # not read yet
        return None
    names = set[str]()
    for one in maps[:-1]:  # the last has Celery's defaults
        source = vars(one.obj) if isinstance(one, DictAttribute) and isinstance(one.obj, ModuleType) else one
        if type(source) is not dict or "__getattr__" in source:
            return None
        found = (key.lower().rpartition("livecheck_") for key in source if isinstance(key, str))
        names.update(name for _, separator, name in found if separator)
    return names


@cache
def _warn(line: str) -> None:
    """Log a warning once in a process: settings are resolved each time a case is declared."""
    logger.warning("settings: %s", line)


def resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    """Resolve the settings of a LiveCheck on a Celery app with configuration ``conf``.

    Raises:
        ConfigurationError: a setting is wrong, or the broker is not Redis and ``redis_url`` is missing.
    """
    try:
        return _resolve_settings(conf, environ, arguments)
    except ConfigurationError as exc:
        error = exc.with_traceback(None)
    del conf, environ, arguments  # a traceback with local variables would show their secrets
    raise error


def _resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    sources = (from_conf(conf), from_environ(environ))
    known = {*Settings.model_fields, *CaseSettings.model_fields}
    for line in unknown_names(conf, environ, known):
        _warn(line)

    def given(name: str) -> str:
        found = (value for source in (arguments.get, *sources) if (value := source(name)) and value is not NOT_GIVEN)
        try:
            return joined(next(found, ""))
        except Exception as exc:  # noqa: BLE001 - as above
            reraise_from_handler(exc)
            raise ConfigurationError(f"LiveCheck: {name}: must be text: {type_and_message(exc)}") from None

    broker_url, redis_url = given("broker_url") or joined(conf.broker_write_url or ""), given("redis_url")
    try:
        if redis_url:
            parse(redis_url)  # before the broker's, which the shipped celeryconfig.py makes of it
        broker_url = broker_url or for_broker(redis_url or DEFAULT_URL)
    except ValueError as exc:
        raise ConfigurationError(f"LiveCheck: {exc}") from None
    if any(scheme_of(url) in CLUSTER for url in failover_urls(broker_url)):
        raise ConfigurationError(
            "LiveCheck: broker_url: Celery cannot use a Redis Cluster as its broker; use another Redis or RabbitMQ as "
            "the broker, and the cluster for the state: livecheck_redis_url"
        )
    try:
        check_broker_url(broker_url, conf.broker_transport_options)
        redis_url = redis_url or _redis_url_of_broker(broker_url, conf)
        url = parse(redis_url)
    except ValueError as exc:
        raise ConfigurationError(f"LiveCheck: {exc}") from None
    arguments = {**arguments, "redis_url": redis_url, "broker_url": broker_url}
    if not given("redis_max_connections") and (limit := url.options.get("max_connections")):
        arguments["redis_max_connections"] = limit
    return Settings.resolve("LiveCheck", sources, arguments)


def _redis_url_of_broker(broker_url: str, conf: Any) -> str:
    brokers = failover_urls(broker_url)
    if any(scheme_of(url) not in BROKER_SCHEMES for url in brokers):
        problem = "the broker is not Redis; name the Redis that holds the state"
    elif len(brokers) > 1:
        problem = "broker_url names several servers, but the state is in one; name it"
    else:
        return from_broker(broker_url, conf.broker_transport_options, conf.broker_use_ssl)
    raise ConfigurationError(f"LiveCheck: redis_url: {problem}: set livecheck_redis_url or LIVECHECK_REDIS_URL")
