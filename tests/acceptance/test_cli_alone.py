"""Each command as a user types it, when something it needs is not there."""

from __future__ import annotations

import socket

import pytest

from tests.helpers.programs import Programs, Terminal

READING = ["status", "status --json", "cases", "reports", "reports --follow"]

both = pytest.mark.parametrize(
    "livecheck", ["livecheck -A desk", "celery -A desk livecheck"], ids=["livecheck", "celery"]
)


@pytest.fixture
def nobody(programs: Programs) -> Terminal:
    """Neither Redis nor a broker answers the commands."""
    url = "redis://:secret@127.0.0.1:1/0"
    return Terminal(programs, SHOP_URL=url, LIVECHECK_BROKER_URL=url)


@pytest.mark.promise("An error of a command is one line and a hint.", theme="tools")
@both
def test_without_redis_an_error_is_one_line_and_a_hint(nobody: Terminal, livecheck: str) -> None:
    for command in (*READING, "trigger test_order 1", "trigger test_order 1 --wait"):
        code, output = nobody.run(f"{livecheck} {command}")
        assert code == 2, output
        error, hint = output.splitlines()
        assert error.startswith("Error: Redis at redis://127.0.0.1:1/0 did not answer (Connection refused)")
        assert hint.startswith("Hint: `livecheck doctor`")


def test_without_redis_doctor_says_so_and_looks_at_the_rest(nobody: Terminal) -> None:
    code, output = nobody.run("livecheck -A desk doctor")
    assert code == 1
    assert [line.split()[0] for line in output.splitlines()] == ["ok"] + ["wrong"] * 7 + ["ok"]
    assert ":secret@" not in output
    assert "secret" not in output.replace("secret_key", "")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://127.0.0.1:{}//"])
def test_a_broker_that_swallows_everything_costs_doctor_seconds(programs: Programs, redis_url: str, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = url.format(hole.getsockname()[1])
        desk = Terminal(programs, SHOP_URL=url, LIVECHECK_BROKER_URL=url, LIVECHECK_REDIS_URL=redis_url)
        code, output = desk.run("livecheck -A desk doctor", timeout=15)
        assert code == 1
        assert "did not answer (silent for 5 s)" in output
        code, output = desk.run("livecheck -A desk trigger test_order 1")
    assert code == 2
    assert output.startswith("Error: the broker did not take the message for desk.test_order:")
    assert len(output.splitlines()) == 2


def test_under_python_o_doctor_says_that_no_test_can_fail(programs: Programs) -> None:
    code, output = Terminal(programs, PYTHONOPTIMIZE="1").run("livecheck -A desk doctor")
    assert code == 1
    assert output.splitlines()[0].startswith("wrong  python -O   on, so asserts vanish")


@both
def test_a_module_that_does_not_exist_is_an_error(programs: Programs, livecheck: str) -> None:
    code, output = Terminal(programs).run(f"{livecheck.replace('desk', 'no_such_desk')} status")
    assert code == 2
    assert "no_such_desk" in output
    assert "Traceback" not in output
