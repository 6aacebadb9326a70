"""``doctor``: all checks together, its exit code, and the commands that it names."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from livecheck_celery import LiveCheck
from livecheck_celery.cli import celery_commands, doctor
from livecheck_celery.cli.celery_commands import commands_for
from livecheck_celery.utils.signing import key_id
from tests.helpers.doctor import QUEUES, lines, run
from tests.helpers.factories import make_settings
from tests.helpers.http_server import KEY


def test_every_check_can_pass(livecheck: LiveCheck) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    found = lines(result)
    found.pop("packages", None)  # of the versions that are installed
    assert found == {
        "python -O": ["ok: off"],
        "redis": ["ok: Redis 7.4.1 at redis://fake:6379/0"],
        "broker": ["ok: memory://"],
        "queue": [f"ok: {name}: consumed by celery@one, seen 3 s ago" for name in QUEUES],
        "beat": ["ok: last seen 0 s ago"],
        "schedules": ["ok: last executed 0 s ago"],
        "clock": [lines(result)["clock"][0]],
        "http": [
            (
                "warn: secret_key is not set: no test is sent or accepted over HTTP; "
                "to follow tests over HTTP, set livecheck_secret_key to one key in every service; run: livecheck secret"
            )
        ],
        "outbox": ["ok: nothing dropped or ignored in the last day"],
        "data": ["ok: every value in Redis can be read"],
    }
    assert lines(result)["clock"][0].startswith("ok: this machine differs from Redis by 0.")


def test_http_hosts_are_listed(livecheck: LiveCheck) -> None:
    livecheck.settings = make_settings("redis://fake:6379/0", secret_key=KEY, http_hosts="shop,stock")
    assert lines(run())["http"] == [f"ok: tests are signed with key {key_id(KEY)}, and sent to shop, stock"]


def test_ids_of_all_keys_are_shown_but_no_key(livecheck: LiveCheck) -> None:
    old, older = "b" * 32, "c" * 32
    livecheck.settings = make_settings("redis://fake:6379/0", secret_key=[KEY, old, older], http_hosts="shop")
    result = run()
    ids = f"{key_id(KEY)}, and accepted with {key_id(old)}, {key_id(older)} too"
    assert lines(result)["http"] == [f"ok: tests are signed with key {ids}, and sent to shop"]
    assert not any(key in result.output for key in (KEY, old, older))


def test_warnings_alone_exit_with_0(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "7.4.1", "aof_enabled": 0})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["storage"]
    assert line.startswith("warn: appendonly is off")


def test_redis_outage_is_an_error_and_other_checks_run(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> Any:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(redis_client, "info", refuse)
    result = run()
    assert result.exit_code == 1
    found = lines(result)
    assert found["redis"] == [
        "error: Redis at redis://fake:6379/0 did not answer (refused); is it running, and is livecheck_redis_url right?"
    ]
    assert found["broker"] == ["ok: memory://"]
    assert found["beat"] == found["schedules"] == found["clock"] == ["error: not checked: Redis is not available"]


@pytest.mark.parametrize(("level", "variable", "ok"), [(0, "", True), (1, "", False), (0, "1", False)])
def test_disabled_asserts_are_an_error(level: int, variable: str, ok: bool) -> None:
    assert doctor.check_optimization(level, variable).ok is ok


def test_commands_for_the_default_app_name_the_module_of_the_cases(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_commands, "default_app", lambda: livecheck.app)
    monkeypatch.delenv("LIVECHECK_CASES", raising=False)
    assert [str(one) for one in commands_for(livecheck, None)] == [
        "celery -A livecheck_celery worker",
        "celery -A livecheck_celery beat",
    ]
    worker = commands_for(livecheck, "shop.checks:livecheck").worker
    assert str(worker) == "LIVECHECK_CASES=shop.checks celery -A livecheck_celery worker"
    monkeypatch.setenv("LIVECHECK_CASES", "stock.checks,shop.checks")
    assert commands_for(livecheck, "shop.checks").worker.cases == "stock.checks,shop.checks"
