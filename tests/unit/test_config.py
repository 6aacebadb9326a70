from __future__ import annotations

import pytest
from celery import Celery

from livecheck_celery import ConfigurationError, LiveCheck


def make(broker: str | None = None, **options: object) -> LiveCheck:
    app = Celery("shop", set_as_current=False)
    if broker:
        app.conf.broker_url = broker
    return LiveCheck(app, **options)


def test_redis_is_the_brokers_when_that_is_redis() -> None:
    settings = make("redis://broker:6379/1").settings
    assert settings.redis_url == settings.broker_url == "redis://broker:6379/1"


def test_defaults() -> None:
    settings = make("redis://b/0").settings
    assert settings.prefix == "livecheck"
    assert settings.queue == "livecheck"
    assert settings.schedule_queue == "livecheck.schedule"
    assert settings.test_concurrency == 100
    assert settings.send_reports is True
    assert settings.max_payload == 1024 * 1024
    assert settings.secret_key == ()


def test_another_broker_needs_a_redis_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="redis_url.*LIVECHECK_REDIS_URL"):
        _ = make("amqp://guest@localhost//").settings
    monkeypatch.setenv("LIVECHECK_REDIS_URL", "redis://state/3")
    settings = make("amqp://guest@localhost//").settings
    assert (settings.redis_url, settings.broker_url) == ("redis://state/3", "amqp://guest@localhost//")


def test_argument_goes_before_configuration_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_PREFIX", "environment")
    assert make("redis://b/0").settings.prefix == "environment"
    livecheck = make("redis://b/0")
    livecheck.app.conf.livecheck_prefix = "configuration"
    assert livecheck.settings.prefix == "configuration"
    assert make("redis://b/0", prefix="argument").settings.prefix == "argument"


def test_settings_stand_in_djangos_settings_under_its_namespace() -> None:
    class DjangoSettings:
        CELERY_BROKER_URL = "redis://django/0"
        CELERY_LIVECHECK_QUEUE = "checks"

    app = Celery("site", set_as_current=False)
    app.config_from_object(DjangoSettings(), namespace="CELERY")
    settings = LiveCheck(app).settings
    assert (settings.queue, settings.redis_url) == ("checks", "redis://django/0")


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_CASES", "shop.checks, billing.checks")
    assert make("redis://b/0").settings.cases == ("shop.checks", "billing.checks")


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_SECRET_KEY", "")
    monkeypatch.setenv("LIVECHECK_MAX_REPORTS", "")
    settings = make("redis://b/0").settings
    assert settings.secret_key == ()
    assert settings.max_reports == 10_000


@pytest.mark.parametrize(
    "value", ["dead.man/switch", "ftp://dead.man/", "http://", "https:///switch", "http://[1", "x"]
)
def test_a_heartbeat_url_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^LiveCheck: heartbeat_url: "):
        _ = make("redis://b/0", heartbeat_url=value).settings
    assert make("redis://b/0", heartbeat_url="https://dead.man/x").settings.heartbeat_url == "https://dead.man/x"


@pytest.mark.promise("An invalid setting of a LiveCheck is an error that names it.", theme="cases")
@pytest.mark.parametrize(("option", "value"), [("test_concurrency", 0), ("prefix", "a b"), ("max_payload", -1)])
def test_a_bad_setting_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^LiveCheck: {option}: "):
        _ = make("redis://b/0", **{option: value}).settings


def test_an_unknown_setting_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match="quue"):
        make("redis://b/0", quue="x")


def test_for_app_is_the_same_as_calling_it() -> None:
    app = Celery("shop", set_as_current=False, broker="redis://b/0")
    livecheck = LiveCheck.for_app(app, prefix="p")
    assert livecheck.app is app
    assert livecheck.settings.prefix == "p"
