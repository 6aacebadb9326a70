"""LiveCheck: declaring cases, propagating tests, and its parts."""

import threading
from collections.abc import Iterator

import pytest
import requests
from celery import Celery
from urllib3 import HTTPConnectionPool

from livecheck_celery import Case, ConfigurationError, LiveCheck, Signal, current_test
from livecheck_celery.context import under_test
from livecheck_celery.propagation import celery as celery_propagation
from tests.helpers.factories import make_test
from tests.helpers.waiting import at_once

TEST = make_test("o-1")


@pytest.fixture
def livecheck() -> Iterator[LiveCheck]:
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    livecheck = LiveCheck(app, secret_key="a secret key that only tests have", http_hosts=["shop"])
    yield livecheck
    livecheck.close()


def test_injected_test_is_extracted(livecheck: LiveCheck) -> None:
    headers: dict[str, str] = {}
    with under_test(TEST):
        livecheck.inject(headers)
    with livecheck.extract(headers) as test:
        assert test == TEST == current_test()
    assert current_test() is None
    with livecheck.extract(None) as test:
        assert test is None


def test_client_is_instrumented_once_and_restored(livecheck: LiveCheck) -> None:
    send, urlopen = requests.adapters.HTTPAdapter.send, HTTPConnectionPool.urlopen
    livecheck.instrument("requests")
    livecheck.instrument("requests", hosts=["elsewhere"])
    livecheck.instrument("urllib3")
    assert requests.adapters.HTTPAdapter.send is not send
    livecheck.uninstrument("requests")
    livecheck.uninstrument("requests")
    assert requests.adapters.HTTPAdapter.send is send
    livecheck.close()
    assert HTTPConnectionPool.urlopen is urlopen, "close() uninstruments the rest"


@pytest.mark.parametrize(
    ("name", "hosts", "problem"),
    [
        ("curl", None, "instrument: unknown client 'curl'; choose from aiohttp, httpx, otel, requests, urllib3"),
        ("otel", ["shop"], "instrument: otel: hosts= is not supported"),
    ],
)
def test_unsupported_instrumentation_is_refused(
    livecheck: LiveCheck, name: str, hosts: list[str] | None, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        livecheck.instrument(name, hosts=hosts)


def test_decorator_returns_the_case(livecheck: LiveCheck) -> None:
    @livecheck.case()
    class test_order:
        def run(self) -> None: ...

    assert isinstance(test_order, Case)
    name = f"{__name__}.test_decorator_returns_the_case.<locals>.test_order"
    assert test_order.name == name
    assert livecheck.cases == {name: test_order}


def test_decorator_works_without_parentheses(livecheck: LiveCheck) -> None:
    @livecheck.case
    class test_order(Case): ...

    assert isinstance(test_order, Case)


def test_duplicate_name_is_refused(livecheck: LiveCheck) -> None:
    livecheck.case(name="twice")(type("a", (), {}))
    with pytest.raises(ConfigurationError, match="^case twice: name: "):
        livecheck.case(name="twice")(type("b", (), {}))


def test_case_in_a_script_is_named_after_the_app(livecheck: LiveCheck) -> None:
    script_class = type("test_order", (), {"__module__": "__main__"})
    assert livecheck.case()(script_class).name == "shop.test_order"


@pytest.mark.promise("Each part of a LiveCheck is created once, however many threads use it first.", theme="verdicts")
@pytest.mark.parametrize("name", ["settings", "runtime", "gate"])
def test_each_part_of_a_livecheck_is_created_once(name: str) -> None:
    for _ in range(20):
        livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))
        assert len({id(part) for part in at_once(20, lambda _, lc=livecheck: getattr(lc, name))}) == 1


def test_for_app_is_equivalent_to_the_constructor() -> None:
    app = Celery("shop", set_as_current=False, broker="redis://b/0")
    livecheck = LiveCheck.for_app(app, prefix="p")
    assert livecheck.app is app
    assert livecheck.settings.prefix == "p"


def test_close_closes_the_exit_stacks_before_the_runtime(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    case = livecheck.add_case(Case, name="c")
    runtime, closed = livecheck.runtime, []

    async def close_async() -> None:
        closed.append(f"async exit stack on {threading.current_thread().name}")

    case.exit_stack.callback(closed.append, "exit stack")
    case.async_exit_stack.push_async_callback(close_async)
    monkeypatch.setattr(runtime, "close", lambda: closed.append("runtime"))
    livecheck.close()
    assert closed == ["exit stack", "async exit stack on livecheck-async", "runtime"]
    monkeypatch.undo()


def test_close_closes_the_rest_if_an_exit_stack_raises(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    livecheck.add_case(Case, name="a").exit_stack.callback(lambda: 1 / 0)
    livecheck.add_case(Case, name="b").exit_stack.callback(closed.append, "b")
    monkeypatch.setattr(livecheck.runtime, "close", lambda: closed.append("runtime"))
    with pytest.raises(ZeroDivisionError):
        livecheck.close()
    assert closed == ["b", "runtime"]
    monkeypatch.undo()
    livecheck.cases.clear()


def test_close_flushes_before_and_after_the_exit_stacks(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    livecheck.add_case(Case, name="c").exit_stack.callback(steps.append, "exit stack")
    monkeypatch.setattr(livecheck.runtime.outbox, "flush", lambda *_: steps.append("flush"))
    livecheck.close()
    assert steps == ["flush", "exit stack", "flush"]


def test_close_closes_the_runtime_that_an_exit_stack_was_the_first_to_use(livecheck: LiveCheck) -> None:
    def use() -> None:
        livecheck.runtime.outbox.start()

    livecheck.add_case(Case, name="c").exit_stack.callback(use)
    livecheck.close()
    assert livecheck._runtime is not None
    assert not livecheck.runtime.outbox.running


def test_failure_to_record_requests_is_logged_once_for_all_paths(caplog: pytest.LogCaptureFixture) -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False), max_payload="much")
    for number in range(5):
        livecheck.operation_finished("request", f"POST /order/{number}", [TEST])
    logged = [message for message in caplog.messages if message.startswith("automatic signals:")]
    [line] = logged
    assert line.startswith(
        "automatic signals: failed to record request POST /order/0; continuing: LiveCheck: max_payload"
    )


@pytest.mark.promise("A wrong setting is one log line a minute in a web process.", theme="requests")
@pytest.mark.parametrize("setting", ["max_payload", "max_history"])
def test_wrong_setting_is_one_log_line_for_all_parts_of_a_request(
    setting: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"LIVECHECK_{setting.upper()}", "much")
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))
    signal: Signal[int] = Signal("stored")
    case = livecheck.add_case(Case, name="c", probability=1.0, signals=[signal])
    for _ in range(2):
        livecheck.gate.accept([("LiveCheck-Test-Id", "1")])
        with case.maybe_trigger("1"), under_test(TEST):
            case.signals["stored"].send(1)
            livecheck.inject({})
        livecheck.operation_finished("request", "POST /order/", [TEST])
    [line] = caplog.messages
    assert f": {setting}: must be a" in line
    livecheck.close()


def test_wrong_setting_of_a_case_in_the_configuration_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))
    assert livecheck.settings.enabled
    livecheck.app.conf.livecheck_probability = 2
    livecheck.add_case(Case, name="own", probability=0.1)
    assert livecheck.settings.enabled, "the case has a probability of its own"
    assert livecheck.add_case(Case, name="c").probability == 0.5
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="^case c: probability: must be at most 1, not 2$"):
            _ = livecheck.settings
    with pytest.raises(ConfigurationError, match="case d: probability: must be at most 1, not 3"):
        livecheck.add_case(Case, name="d", probability=3)
    livecheck.close()


def test_livecheck_is_made_on_a_celery_app() -> None:
    with pytest.raises(ConfigurationError, match="the app must be a Celery app, not str"):
        LiveCheck("shop")  # type: ignore[arg-type] # a mistake


def test_close_without_use_makes_no_runtime(livecheck: LiveCheck) -> None:
    closed: list[str] = []
    livecheck.add_case(Case, name="c").exit_stack.callback(closed.append, "exit stack")
    assert livecheck.flush()
    livecheck.close()
    assert livecheck._runtime is None
    assert closed == ["exit stack"]


def test_new_case_has_the_overrides_read_before(livecheck: LiveCheck) -> None:
    livecheck.runtime.shared_config.overrides = {"c": {"active": False}}
    assert not livecheck.add_case(Case, name="c").active
    assert livecheck.add_case(Case, name="d").active


def test_closed_livecheck_hears_of_no_more_tasks(livecheck: LiveCheck) -> None:
    assert livecheck in celery_propagation._listeners
    livecheck.close()
    assert livecheck not in celery_propagation._listeners


def test_disabled_livecheck_makes_no_runtime_for_a_finished_operation() -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False), enabled=False)
    livecheck.operation_finished("task", "orders.store", [TEST], value=1)
    assert livecheck._runtime is None


@pytest.mark.promise("Settings are read when they are first needed, not when the LiveCheck is created.", theme="cases")
def test_settings_are_read_when_first_needed() -> None:
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    assert app.conf.accept_content, "configures the app"
    livecheck = LiveCheck(app)
    livecheck.add_case(Case, name="c", frequency=30)
    assert "livecheck:c:frequency" in app.conf.beat_schedule
    assert "settings" not in vars(livecheck)
    app.conf.livecheck_secret_key = "a secret key that only tests have"
    app.conf.livecheck_schedule_queue = "late.schedule"
    app.conf.broker_url = "redis://late:1/0"
    app.loader.import_default_modules()  # as a worker and beat do
    assert livecheck.settings.secret_key == ("a secret key that only tests have",)
    assert livecheck.settings.broker_url == "redis://late:1/0"
    assert app.conf.beat_schedule["livecheck:c:frequency"]["options"]["queue"] == "late.schedule"
    assert app.conf.beat_schedule["livecheck:recover"]["options"]["queue"] == "late.schedule"


def test_settings_are_not_fixed_by_the_configuration_of_the_app() -> None:
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    livecheck = LiveCheck(app)
    assert app.conf.accept_content, "configures the app"
    app.conf.livecheck_prefix = "late"
    assert livecheck.settings.prefix == "late"


@pytest.mark.parametrize("configured", [True, False])
def test_wrong_setting_does_not_raise_before_it_is_needed(configured: bool, caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    if configured:
        assert app.conf.accept_content
    livecheck = LiveCheck(app, max_reports=0)
    livecheck.add_case(Case, name="c")
    assert app.conf.accept_content
    assert caplog.messages == []
    with pytest.raises(ConfigurationError, match="max_reports"):
        app.loader.import_default_modules()
    with pytest.raises(ConfigurationError, match="max_reports"):
        _ = livecheck.settings


@pytest.mark.parametrize("by", ["argument", "configuration"])
def test_concurrency_of_a_hosts_app_is_refused(by: str) -> None:
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    livecheck = LiveCheck(app, **({"test_concurrency": 7} if by == "argument" else {}))
    if by == "configuration":
        app.conf.livecheck_test_concurrency = 7
    with pytest.raises(ConfigurationError, match="test_concurrency: has no effect here; set worker_concurrency"):
        _ = livecheck.settings


def test_unknown_setting_is_refused_with_the_most_similar_one() -> None:
    with pytest.raises(ConfigurationError, match="^LiveCheck: unknown setting 'prefixx'; did you mean 'prefix'\\?$"):
        LiveCheck(Celery("shop", set_as_current=False), prefixx="p")
