"""Each command while Redis, the broker or a module is missing."""

from __future__ import annotations

import socket

import pytest

from tests.helpers.programs import Programs
from tests.helpers.terminals import Terminal

READING = ["status", "status --json", "cases", "reports", "reports --follow"]

both = pytest.mark.parametrize(
    "livecheck", ["livecheck -A desk", "celery -A desk livecheck"], ids=["livecheck", "celery"]
)


@pytest.fixture
def offline(programs: Programs) -> Terminal:
    """A terminal without Redis and broker."""
    url = "redis://:secret@127.0.0.1:1/0"
    return Terminal(programs, SHOP_URL=url, LIVECHECK_BROKER_URL=url)


@pytest.mark.promise("An error of a command is one line and a hint.", theme="tools")
@both
def test_redis_outage_is_an_error_with_a_hint(offline: Terminal, livecheck: str) -> None:
    for command in (*READING, "trigger test_order 1", "trigger test_order 1 --wait"):
        code, output = offline.run(f"{livecheck} {command}")
        assert code == 2, output
        error, hint = output.splitlines()
        assert error.startswith("Error: Redis at redis://127.0.0.1:1/0 did not answer (Connection refused)")
        assert hint.startswith("Hint: `livecheck doctor`")


def test_doctor_checks_the_rest_without_redis(offline: Terminal) -> None:
    code, output = offline.run("livecheck -A desk doctor")
    assert code == 1
    assert [line.split()[0] for line in output.splitlines()] == ["ok"] + ["error"] * 7 + ["warn"]
    assert ":secret@" not in output
    assert "secret" not in output.replace("secret_key", "").replace("livecheck secret", "")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://127.0.0.1:{}//"])
def test_hanging_broker_is_an_error_within_seconds(programs: Programs, redis_url: str, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url.format(server.getsockname()[1])
        desk = Terminal(programs, SHOP_URL=url, LIVECHECK_BROKER_URL=url, LIVECHECK_REDIS_URL=redis_url)
        code, output = desk.run("livecheck -A desk doctor", timeout=15)
        assert code == 1
        assert "did not answer (timeout after 5 s)" in output
        code, output = desk.run("livecheck -A desk trigger test_order 1")
    assert code == 2
    assert output.startswith("Error: the broker did not accept the message for desk.test_order:")
    assert len(output.splitlines()) == 2


def test_doctor_finds_disabled_asserts(programs: Programs) -> None:
    code, output = Terminal(programs, PYTHONOPTIMIZE="1").run("livecheck -A desk doctor")
    assert code == 1
    assert output.splitlines()[0].startswith("error  python -O   on: assert statements are disabled")


@both
def test_missing_module_is_an_error(programs: Programs, livecheck: str) -> None:
    code, output = Terminal(programs).run(f"{livecheck.replace('desk', 'no_such_desk')} status")
    assert code == 2
    assert "no_such_desk" in output
    assert "Traceback" not in output
