"""A worker, a service and a viewer with TLS, each with its own user of deploy/redis.acl."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import trustme

from livecheck_celery.cli.processes import free_port
from tests.helpers import redis_users
from tests.helpers.programs import Programs, require_program
from tests.helpers.redis_servers import HOST, PASSWORD, RedisServer, redis_program, server
from tests.helpers.waiting import wait_until

SECRET = quote(PASSWORD, safe="")
KEY = "k" * 40
ADMIN = f"user default on >{PASSWORD} ~* &* +@all"
SERVICE = """
import sys
from anywhere import livecheck, test_order

if sys.argv[1] == "trigger":
    test_order.trigger("order-1")
for name in ("early", "go"):
    test_order.signals[name].send(name, key="order-1", force=True)
assert livecheck.flush(10)
assert livecheck.runtime.outbox.dropped == 0
"""


@pytest.fixture
def redis_with_users(tmp_path: Path) -> Iterator[tuple[RedisServer, int]]:
    """A server with the shipped users, and its port with TLS; the port without is for the test itself."""
    executable = require_program(redis_program(), "redis-server")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(tmp_path / "redis.pem")
    users = redis_users.with_password(redis_users.FILE, PASSWORD)
    (tmp_path / "users.acl").write_text(re.sub("^user default off$", ADMIN, users, flags=re.MULTILINE))
    port = free_port()
    options = (
        f"--tls-port {port} --tls-auth-clients no --tls-ca-cert-file {tmp_path}/ca.pem",
        f"--tls-cert-file {tmp_path}/redis.pem --tls-key-file {tmp_path}/redis.pem --aclfile {tmp_path}/users.acl",
    )
    with server(tmp_path, *options, password=PASSWORD, executable=executable) as one:
        yield one, port


@pytest.fixture
def env_of(redis_with_users: tuple[RedisServer, int], tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a program whose state is reached as one user."""

    def env(user: str) -> dict[str, str]:
        end = f"{SECRET}@{HOST}:{redis_with_users[1]}/0?ssl_ca_certs={tmp_path}/ca.pem"
        conf = {
            "broker_url": f"rediss://celery:{end}&ssl_cert_reqs=required",
            "broker_transport_options": {"global_keyprefix": "celery:"},
            "livecheck_redis_url": f"rediss://{user}:{end}",
            "livecheck_secret_key": KEY,
        }
        return {"ANYWHERE": json.dumps(conf), "LIVECHECK_BROKER_URL": ""}

    return env


def stored(client: redis.Redis) -> Iterator[str]:
    """Yield all values."""
    reads: dict[str, Callable[[str], Any]] = {
        "hash": client.hgetall,
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1),
        "set": client.smembers,
        "stream": client.xrange,
    }
    for key in client.keys("livecheck:*"):
        yield str(reads[client.type(key)](key))


def test_each_user_can_do_its_work_and_no_other(
    programs: Programs,
    redis_with_users: tuple[RedisServer, int],
    env_of: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> None:
    admin = redis_with_users[0].client
    (tmp_path / "service.py").write_text(SERVICE)

    def run(command: str, user: str) -> tuple[int, str]:
        program = programs.start(command, **env_of(user))
        return program.wait_exit(60), program.output()

    worker = programs.start_worker(
        "celery -A anywhere worker -Q livecheck,livecheck.schedule -P threads -c 4", **env_of("worker")
    )
    assert run("python service.py trigger", "service") == (0, "")
    wait_until(lambda: admin.hget("livecheck:{anywhere.test_order}:suite", "total:PASS") == "1", 20, "a verdict")
    assert run("python service.py late", "service") == (0, "")
    assert admin.xlen("livecheck:{anywhere.test_order}:late") == 2

    for command in ("status", "reports", "cases"):
        code, text = run(f"livecheck -A anywhere {command}", "viewer")
        assert (code, "anywhere.test_order" in text) == (0, True), text
    assert "early arrived twice" in run("livecheck -A anywhere reports", "viewer")[1]
    doctor = run("livecheck -A anywhere doctor", "viewer")[1]
    assert "storage     appendonly is off" in doctor
    assert "refused" not in doctor
    assert {entry["object"] for entry in admin.acl_log()} <= {"client|setinfo"}

    assert not any(secret in value for value in stored(admin) for secret in (KEY, SECRET, PASSWORD))

    for command, user in (("override test_order --probability 0.5", "viewer"), ("reports", "service")):
        code, text = run(f"livecheck -A anywhere {command}", user)
        assert (code, "refused a command" in text) == (2, True), text
    worker.terminate()
    assert worker.wait_exit(20) == 0
    assert "refused a command" not in worker.output()


@pytest.mark.parametrize("key", ["{c}:reports", "{cases}:settings", "{processes}:records", "heartbeat", "{c}:runtime"])
def test_service_cannot_use_keys_that_it_does_not_need(
    redis_with_users: tuple[RedisServer, int], tmp_path: Path, key: str
) -> None:
    url = f"rediss://service:{SECRET}@{HOST}:{redis_with_users[1]}/0"
    with redis.Redis.from_url(url, ssl_ca_certs=str(tmp_path / "ca.pem")) as client:
        for command in (("TYPE",), ("DEL",), ("EVAL", "return redis.call('TYPE', KEYS[1])", 1)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command, f"livecheck:{key}")
        with pytest.raises(redis.ResponseError, match="NOPERM|can't|permission|ACL"):
            client.execute_command("EVAL", "return redis.call('TYPE', ARGV[1])", 0, f"livecheck:{key}")
