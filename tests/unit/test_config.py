"""Settings: where they are read from, and which values are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.app.utils import Settings as CelerySettings
from hypothesis import given
from hypothesis import strategies as st

from livecheck_celery import Case, ConfigurationError, LiveCheck
from livecheck_celery.utils.durations import seconds
from tests.helpers.http_server import KEY


def make(broker: str | None = None, **options: object) -> LiveCheck:
    app = Celery("shop", set_as_current=False)
    if broker:
        app.conf.broker_url = broker
    return LiveCheck(app, **options)


def test_redis_url_defaults_to_the_broker() -> None:
    settings = make("redis://broker:6379/1").settings
    assert settings.redis_url == settings.broker_url == "redis://broker:6379/1"


def test_defaults_of_settings() -> None:
    settings = make("redis://b/0").settings
    assert settings.prefix == "livecheck"
    assert settings.queue == "livecheck"
    assert settings.schedule_queue == "livecheck.schedule"
    assert settings.test_concurrency == 100
    assert settings.send_reports is True
    assert settings.max_payload == 64 * 1024
    assert settings.secret_key == ()


def test_broker_other_than_redis_requires_a_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="redis_url.*LIVECHECK_REDIS_URL"):
        _ = make("amqp://guest@localhost//").settings
    monkeypatch.setenv("LIVECHECK_REDIS_URL", "redis://state/3")
    settings = make("amqp://guest@localhost//").settings
    assert (settings.redis_url, settings.broker_url) == ("redis://state/3", "amqp://guest@localhost//")


def test_argument_precedes_configuration_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_PREFIX", "environment")
    assert make("redis://b/0").settings.prefix == "environment"
    livecheck = make("redis://b/0")
    livecheck.app.conf.livecheck_prefix = "configuration"
    assert livecheck.settings.prefix == "configuration"
    assert make("redis://b/0", prefix="argument").settings.prefix == "argument"


def test_django_settings_are_read_under_the_celery_namespace() -> None:
    class DjangoSettings:
        CELERY_BROKER_URL = "redis://django/0"
        CELERY_LIVECHECK_QUEUE = "checks"

    app = Celery("site", set_as_current=False)
    app.config_from_object(DjangoSettings(), namespace="CELERY")
    settings = LiveCheck(app).settings
    assert (settings.queue, settings.redis_url) == ("checks", "redis://django/0")


class Module(ModuleType):
    """A module of settings."""

    def __init__(self, **names: Any) -> None:
        super().__init__("settings")
        vars(self).update(names)


class Dynamic:
    def __getattr__(self, name: str) -> Any:
        if name == "livecheck_probability":
            return 0.25
        raise AttributeError(name)


#: Ways to configure a Celery app, each with ``probability``.
CONFIGURATIONS: dict[str, Callable[[Celery], object]] = {
    "changed": lambda app: app.conf.update(livecheck_probability=0.25),
    "changed after it was read": lambda app: app.conf.get("x") or app.conf.update(livecheck_probability=0.25),
    "a dict": lambda app: app.config_from_object({"livecheck_probability": 0.25}),
    "a module": lambda app: app.config_from_object(Module(livecheck_probability=0.25)),
    "a module, namespace": lambda app: app.config_from_object(
        Module(SHOP_LIVECHECK_PROBABILITY=0.25), namespace="SHOP"
    ),
    "a module with __getattr__": lambda app: app.config_from_object(Module(__getattr__=Dynamic().__getattr__)),
    "a class": lambda app: app.config_from_object(type("Settings", (), {"livecheck_probability": 0.25})),
    "a dynamic object": lambda app: app.config_from_object(Dynamic()),
    "added defaults": lambda app: app.add_defaults({"livecheck_probability": 0.25}),
}


@pytest.mark.parametrize("how", CONFIGURATIONS)
def test_option_of_all_cases_is_found_however_the_app_is_configured(how: str) -> None:
    app = Celery("shop", set_as_current=False, broker="redis://b/0")
    CONFIGURATIONS[how](app)
    livecheck = LiveCheck(app)
    for name in ("a", "b"):  # the second is declared after the configuration has been read
        assert livecheck.add_case(Case, name=name).probability == 0.25


def test_option_that_is_set_between_two_declarations_applies_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = make("redis://b/0")
    cases = [livecheck.add_case(Case, name="a")]
    livecheck.app.conf.livecheck_probability = 0.25
    cases.append(livecheck.add_case(Case, name="b"))
    del livecheck.app.conf["livecheck_probability"]
    monkeypatch.setenv("LIVECHECK_PROBABILITY", "0.75")
    cases.append(livecheck.add_case(Case, name="c"))
    assert [case.probability for case in cases] == [0.5, 0.25, 0.75]


def test_declaration_does_not_look_up_options_that_are_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = make("redis://b/0")
    livecheck.app.conf.livecheck_max_history = 7
    livecheck.add_case(Case, name="a")
    asked: list[str] = []
    look_up = CelerySettings.__getitem__
    monkeypatch.setattr(CelerySettings, "__getitem__", lambda conf, key: asked.append(key) or look_up(conf, key))
    assert livecheck.add_case(Case, name="b").max_history == 7
    assert [key for key in asked if key.startswith("livecheck_")] == ["livecheck_max_history"]


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_CASES", "shop.checks, billing.checks")
    assert make("redis://b/0").settings.cases == ("shop.checks", "billing.checks")


def test_empty_environment_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_SECRET_KEY", "")
    monkeypatch.setenv("LIVECHECK_MAX_REPORTS", "")
    settings = make("redis://b/0").settings
    assert settings.secret_key == ()
    assert settings.max_reports == 10_000


@pytest.mark.parametrize(
    "value", ["dead.man/switch", "ftp://dead.man/", "http://", "https:///switch", "http://[1", "x"]
)
def test_invalid_heartbeat_url_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^LiveCheck: heartbeat_url: "):
        _ = make("redis://b/0", heartbeat_url=value).settings
    assert make("redis://b/0", heartbeat_url="https://dead.man/x").settings.heartbeat_url == "https://dead.man/x"


@pytest.mark.promise("An invalid setting of a LiveCheck is an error that names it.", theme="cases")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("test_concurrency", 0),
        ("prefix", "a b"),
        ("max_payload", -1),
        ("max_open", 0),
        ("shutdown_timeout", float("inf")),
    ],
)
def test_invalid_setting_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^LiveCheck: {option}: "):
        _ = make("redis://b/0", **{option: value}).settings


@pytest.mark.parametrize("value", [[""], ("", " "), {""}, [b""], ["", KEY]])
def test_empty_item_of_a_list_is_not_a_secret_key(value: object) -> None:
    settings = LiveCheck(Celery(set_as_current=False), secret_key=value).settings
    assert settings.secret_key == ((KEY,) if KEY in value else ())  # type: ignore[operator] # a collection


@pytest.mark.parametrize(
    "value", ["7", "a", f"7,{KEY}", f"{KEY},a", [KEY, "b" * 31], "\N{GRINNING FACE}" * 7, KEY[:10] + "," + KEY[10:]]
)
def test_secret_key_that_can_be_guessed_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _ = LiveCheck(Celery(set_as_current=False), secret_key=value).settings
    assert str(refused.value) == (
        "LiveCheck: secret_key: each key must have at least 32 bytes; to make one, run: livecheck secret"
    )


@pytest.mark.parametrize("value", ["b" * 32, "\N{GRINNING FACE}" * 8])
def test_secret_key_is_measured_in_bytes(value: str) -> None:
    assert LiveCheck(Celery(set_as_current=False), secret_key=value).settings.secret_key == (value,)


@pytest.mark.parametrize("option", ["queue", "schedule_queue", "prefix"])
def test_default_queue_of_celery_is_refused(option: str) -> None:
    """Workers of LiveCheck would take the messages of an app, and refuse those of tasks that they do not know."""
    with pytest.raises(ConfigurationError, match=r"queue: must not be Celery's default queue, 'celery'$"):
        _ = make("redis://b/0", **{option: "celery"}).settings


@pytest.mark.promise(
    "A misspelled setting in the environment or the Celery configuration is one log line.", theme="cases"
)
def test_unknown_names_in_the_environment_and_the_configuration_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIVECHECK_PREFIXX", "x")
    monkeypatch.setenv("LIVECHECK_PROBABILITY", "0.5")  # of cases
    for name in ("LIVECHECK_SERVICE_HOST", "LIVECHECK_REDIS_SERVICE_PORT_TLS", "LIVECHECK_PORT_6379_TCP_ADDR"):
        monkeypatch.setenv(name, "of a service of Kubernetes")
    livecheck = make("redis://b/0")
    livecheck.app.conf.livecheck_quue = "x"
    _ = livecheck.settings
    site = Celery("site", set_as_current=False)
    site.config_from_object(
        type("DjangoSettings", (), {"CELERY_BROKER_URL": "redis://b/0", "CELERY_LIVECHECK_SERVCE": "x"}),
        namespace="CELERY",
    )
    for _ in range(2):
        _ = LiveCheck(site).settings
    assert sorted(caplog.messages) == [
        "settings: unknown setting 'LIVECHECK_PREFIXX' in the environment; did you mean 'LIVECHECK_PREFIX'?",
        "settings: unknown setting 'LIVECHECK_SERVCE' in the Celery configuration; did you mean 'LIVECHECK_SERVICE'?",
        "settings: unknown setting 'livecheck_quue' in the Celery configuration; did you mean 'livecheck_queue'?",
    ]


def test_unknown_setting_is_named_by_the_constructor() -> None:
    with pytest.raises(ConfigurationError, match="quue"):
        make("redis://b/0", quue="x")


@given(st.floats(min_value=0.001, max_value=1e6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("d", 86400)]))
def test_duration_as_text_is_its_number_times_its_unit(number: float, unit: tuple[str, float]) -> None:
    assert seconds(f"{number:.6f}{unit[0]}") == pytest.approx(round(number, 6) * unit[1])


def test_broker_is_the_one_that_messages_are_written_to() -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.broker_read_url, app.conf.broker_write_url = "redis://read/0", "redis://write/0"
    assert LiveCheck(app).settings.broker_url == "redis://write/0"


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("http_hosts", "http://[::1", r"'http://\[::1' is not a host; write a name, \*\.example\.com"),
        ("http_hosts", ["orders", "*"], r"'\*' is not a host"),
        ("max_reports", sys.maxsize, "must be at most 10000000"),
        ("max_open", 10**30, "must be at most 10000000"),
        ("max_payload", 2**40, "must be at most 536870912, not "),
        ("recover_within", "nan", "must be a finite number of seconds, a timedelta, or text such as"),
        ("recover_within", 0, "must be more than 0, not 0"),
        ("shutdown_timeout", "1e400", "must be a finite number of seconds"),
        ("enabled", "perhaps", "must be true or false"),
        ("test_concurrency", "many", "must be a whole number"),
        ("cases", 5, "must be a list"),
        ("redis_url", "redis://h/abc", "the database 'abc' is not a number"),
        ("redis_url", "redis://h/0?soket_timeout=1", "unknown option 'soket_timeout'"),
    ],
)
def test_error_of_a_setting_is_in_plain_words(option: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^LiveCheck: {option}: {problem}") as caught:
        _ = make("redis://b/0", **{option: value}).settings
    message = str(caught.value)
    assert "\n" not in message
    assert not any(word in message.lower() for word in ("input", "pydantic", "function-", "valid "))


def test_none_in_the_configuration_is_a_value_only_of_settings_that_can_be_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVECHECK_HEARTBEAT_URL", "https://dead.man/x")
    monkeypatch.setenv("LIVECHECK_PREFIX", "environment")
    livecheck = make("redis://b/0")
    livecheck.app.conf.livecheck_heartbeat_url = None
    livecheck.app.conf.livecheck_prefix = None
    assert livecheck.settings.heartbeat_url is None
    assert livecheck.settings.prefix == "environment"


@pytest.mark.parametrize("name", ["frequency", "max_rate", "max_runtime", "url_timeout_connect", "url_timeout_total"])
@pytest.mark.parametrize("text", ["none", "None", " NONE "])
def test_every_setting_that_can_be_none_can_be_none_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"LIVECHECK_{name.upper()}", text)
    case = make("redis://b/0").add_case(type("test_case", (Case,), {"run": lambda self: None}), name="shop.test_case")
    assert getattr(case, name) is None


def test_none_in_the_environment_is_a_text_of_settings_that_cannot_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECHECK_PREFIX", "none")
    monkeypatch.setenv("LIVECHECK_HEARTBEAT_URL", "none")
    livecheck = make("redis://b/0")
    assert livecheck.settings.prefix == "none"
    assert livecheck.settings.heartbeat_url is None
