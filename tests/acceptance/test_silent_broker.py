"""Workers and beats whose RabbitMQ does not answer."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from livecheck_celery import State
from tests.helpers.fault_proxy import HOST, FaultProxy
from tests.helpers.livecheck_client import Client, report_of, send_all
from tests.helpers.programs import Programs
from tests.helpers.rabbitmq import RabbitMQ


@pytest.mark.promise("A worker whose RabbitMQ does not answer for 20 s connects again.", theme="servers")
@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_worker_connects_again_when_its_broker_does_not_answer(
    programs: Programs, redis_url: str, rabbitmq_server: RabbitMQ, tmp_path: Path, pool: str
) -> None:
    client = Client(redis_url, rabbitmq_server.empty())
    with FaultProxy((HOST, rabbitmq_server.port)) as proxy:
        broker = f"amqp://guest:guest@{HOST}:{proxy.port}//"
        worker = programs.start_worker(
            f"celery -A silent_broker worker -Q livecheck,livecheck.schedule -P {pool} -c 4",
            LIVECHECK_BROKER_URL=broker,
            SILENT=str(tmp_path / "silent"),
        )
        case = client.case("silent_broker.test_waiting", "go")
        running = case.trigger(uuid4().hex).id
        client.wait_claimed(case, running)
        case.trigger.apply_async((delayed := uuid4().hex,), countdown=0.5)
        worker.wait_for("received a test with a countdown")
        proxy.half_open()
        (tmp_path / "silent").touch()
        worker.wait_for("broker: no answer for 3 s; closing the connection")
        proxy.heal()
        # Celery has reduced the prefetch count by the running test, and restores it as others start.
        names = [running, delayed, *(case.trigger(uuid4().hex).id for _ in range(4))]
        for name in names:
            send_all(case, name, "go")
        assert {report_of(case, name).state for name in names} == {State.PASS}
        worker.wait_for("Prefetch count has been restored")
    client.close()


@pytest.mark.promise("A beat exits within 5 s of SIGTERM, also while RabbitMQ does not answer.", theme="servers")
def test_beat_exits_in_time_when_its_broker_does_not_answer(
    programs: Programs, redis_url: str, rabbitmq_server: RabbitMQ
) -> None:
    with FaultProxy((HOST, rabbitmq_server.port)) as proxy:
        beat = programs.start(
            "celery -A livecheck_celery beat -l INFO",
            LIVECHECK_BROKER_URL=f"amqp://guest:guest@{HOST}:{proxy.port}//",
            LIVECHECK_REDIS_URL=redis_url,
            LIVECHECK_CASES="checks",
        )
        beat.wait_for("Sending due task livecheck:checks.test_faked:frequency", count=2)
        proxy.half_open()
        beat.terminate()
        assert beat.wait_exit(8.0) == 0
