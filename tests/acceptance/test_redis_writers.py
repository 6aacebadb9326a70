"""A program that can write to the Redis of the state, against a real service and a real worker."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import redis
import requests

from livecheck_celery import State
from livecheck_celery.store import Store
from livecheck_celery.store.keys import Keys
from tests.helpers.factories import make_settings, make_test
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Program, Programs
from tests.helpers.signing import sign
from tests.helpers.waiting import wait_until
from tests.helpers.web import KEY

CASE, OTHER = "guarded.test_register", "guarded.test_other"
KEYS = Keys("livecheck")
SHARED = KEYS.shared
#: Parts of what the service knows, and must not send.
SECRETS = ("pbkdf2_", "first-name-secret", "mail-secret", "task-argument-secret", "task-result", "user-")

#: What the writer names as the sources of a signal.
WIRING = [
    ["django", "celery.signals.before_task_publish"],
    ["django", "celery.signals.before_task_publish * body"],
    ["django", "celery.signals.task_success"],
    ["django", "django.db.models.signals.post_save"],
    ["django", "django.db.models.signals.post_save * password,email"],
    ["django", "django.db.models.signals.post_save auth.User password,email,first_name"],
    ["django", "django.db.models.signals.pre_save auth.User password"],
    ["django", "django.core.signals.request_started"],
    ["django", "django.core.signals.request_finished * environ"],
    ["django", "antigravity.anything"],
    ["django", "os.environ"],
    ["span", "*"],
    ["unknown", "x"],
]
TASK = ["task", "guarded.mail"]


@pytest.fixture
def worker(programs: Programs) -> Program:
    command = "celery -A guarded_checks worker -Q livecheck,livecheck.schedule -P threads -c 10 -B -s schedule"
    return programs.start_worker(command, LIVECHECK_SECRET_KEY=KEY[0])


@pytest.fixture
def service(programs: Programs, tmp_path: Path) -> str:
    """The URL of the service."""
    command, database = "gunicorn -b 127.0.0.1:0 -k gthread --threads 4 guarded:wsgi", tmp_path / "guarded.sqlite3"
    program = programs.start(command, GUARDED_DATABASE=str(database), LIVECHECK_SECRET_KEY=KEY[0])

    def address() -> str | None:
        assert program.is_running(), program.tail()
        found = re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", program.output())
        return found and found[1]

    return wait_until(address, 30, "the service listens")


def register(service: str, test_id: str) -> None:
    """Make a request that is part of a test of `CASE`."""
    headers = sign(make_test(test_id, CASE).as_headers(), KEY)
    answer = requests.post(f"{service}/register/{test_id}/", headers=headers, timeout=20)
    assert answer.json() == {"test": test_id}


def everything(client: redis.Redis) -> str:
    """Return all that LiveCheck has in Redis."""
    found = []
    for key in client.scan_iter("livecheck*", count=1000):
        kind = client.type(key)
        read = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda key: client.lrange(key, 0, -1),
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1),
            "stream": client.xrange,
        }[kind]
        found.append(f"{key} {read(key)}")
    return "\n".join(found)


def wait_for_the_wiring(store: Store, service: str, field: str) -> None:
    """Wait until the service has counted that it refuses ``field``, so that it has read the rest, too."""

    def counted() -> bool:
        requests.get(f"{service}/", timeout=20)
        return any(field in each.detail for each in store.counters.read().services)

    wait_until(counted, 90, f"the service refuses {field}")


@pytest.mark.promise(
    "A program that can write to the Redis of the state cannot make a service with a `secret_key` send its data.",
    theme="input",
)
def test_writer_of_redis_gets_no_data_of_a_service_and_stops_no_command(
    programs: Programs, redis_client: redis.Redis, redis_url: str, service: str, worker: Program
) -> None:
    store = Store(make_settings(redis_url))
    signed = f"signature:sources:{CASE}"
    signature = wait_until(lambda: redis_client.hget(SHARED, signed), 30, "the worker has registered its cases")
    all_wired = json.dumps({f"s{number}": source for number, source in enumerate([*WIRING, TASK])})
    redis_client.hset(
        SHARED,
        mapping={
            f"sources:{CASE} ": all_wired,
            f"sources:{OTHER}": all_wired,
            f"sources:evil.{CASE}": all_wired,
            f"signature:sources:evil.{CASE}": str(signature),
            f"override:probability:{CASE}": '{"value": 1.0, "at": 1}',
            f"override:active:{OTHER}": '{"value": false, "at": 1}',
            "revision": "attack",
        },
    )
    wait_for_the_wiring(store, service, f"sources:{OTHER}")
    register(service, "t-1")
    wait_until(lambda: store.signals.awaited([(CASE, "t-1", ["done"])])[0], 20, "the declared signal is sent")
    found = everything(redis_client)
    # The path of the request, which the worker has signed, is all that it sends.
    assert [secret for secret in SECRETS if secret in found] == []

    break_everything(redis_client)
    for command in ("status", "status --json", "cases", "reports", "doctor"):
        program = programs.start(f"livecheck -A guarded_checks {command}", LIVECHECK_SECRET_KEY=KEY[0])
        assert program.wait_exit(60) == (1 if command == "doctor" else 0) or command == "doctor", program.tail()
        assert "Traceback" not in program.output()
        assert OTHER in program.output() or command in ("reports", "doctor"), program.output()
        if command == "doctor":
            for named in (f"sources:{OTHER}", f"override:probability:{CASE}", f"{KEYS.suite(CASE)} is skipped"):
                assert named in program.output()
    client = Client(redis_url)
    case = client.case(OTHER)
    case.trigger("o-1")
    assert report_of(case, "o-1").state is State.PASS, "the worker runs the other case, which is active"
    client.close()


def break_everything(client: redis.Redis) -> None:
    """Write what LiveCheck does not write to all keys of a case, and to shared ones."""
    client.hset(KEYS.cases, "guarded.test_bad", '{"probability": "x", "sources": 3, "signals": 7}')
    client.hset(KEYS.shared, "sources:x", b"\xff{")
    client.hset(KEYS.processes, "p", "{")
    client.zadd(KEYS.seen, {"p": time.time()})
    for key in (KEYS.suite(CASE), KEYS.open(CASE), KEYS.reports(CASE), KEYS.runtime(CASE)):
        client.delete(key)
        client.set(key, "x", ex=600)


def test_writer_who_has_the_key_gets_no_more_than_the_service_allows(
    redis_client: redis.Redis, redis_url: str, service: str
) -> None:
    """The results of tasks are allowed by default, as docs/following.md says."""
    store = Store(make_settings(redis_url, secret_key=KEY[0]))
    sources = {f"s{number}": source for number, source in enumerate(WIRING)}
    done = ["request", "POST /register/{number}/"]
    store.registry.register(CASE, {"sources": {**sources, "task": TASK, "done": done}})
    wait_for_the_wiring(store, service, "django:django.db.models.signals.post_save")
    register(service, "t-2")
    awaited = [(CASE, "t-2", ["done", "task", *sources])]
    found = wait_until(lambda: len(arrived := store.signals.awaited(awaited)[0]) > 1 and arrived, 20, "signals")
    assert found.keys() == {"done", "task"}
    assert [secret for secret in SECRETS if secret in everything(redis_client)] == [
        "task-argument-secret",
        "task-result",
    ]
    refused = {each.detail for each in store.counters.read().services if each.what == "refused"}
    assert "django:django.db.models.signals.post_save * password,email" in refused
    assert "django:celery.signals.before_task_publish * body" in refused
    assert "antigravity" not in str(requests.get(f"{service}/modules/", timeout=20).json())
