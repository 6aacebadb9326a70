"""Options of ``apply_async`` are those of the test, however often its message is sent."""

from __future__ import annotations

import pytest
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Programs
from tests.helpers.rabbitmq import RabbitMQ

BEAT = "celery -A shop beat"


def worker(number: int, pool: str = "threads") -> str:
    return f"celery -A shop worker -Q livecheck,livecheck.schedule,eu,celery -P {pool} -c 8 -n w{number}@%h"


@pytest.mark.promise(
    "A test keeps its queue, priority, links and task id when its worker is killed or stops, and its result is stored.",
    theme="recovery",
)
def test_options_and_result_survive_a_killed_and_a_stopped_worker(programs: Programs, client: Client) -> None:
    programs.start(BEAT, LIVECHECK_RECOVER_WITHIN="2")
    case = client.case("shop.test_held", "go")
    workers = [programs.start_worker(worker(0), LIVECHECK_RECOVER_WITHIN="2")]
    linked = client.app.signature("shop.number", ("linked",), immutable=True, options={"task_id": "linked-1"})
    results = [
        case.trigger.apply_async(("o-1", "eu"), queue="eu", priority=6, task_id="task-1", link=linked),
        case.trigger.delay("o-2", "livecheck"),
    ]
    tokens = dict.fromkeys(("o-1", "o-2"), "")
    for end in ("kill", "terminate", None):
        for test_id, token in tokens.items():
            tokens[test_id] = client.wait_claimed(case, test_id, unlike=token)
        if end:
            getattr(workers[-1], end)()
            workers.append(programs.start_worker(worker(len(workers)), LIVECHECK_RECOVER_WITHIN="2"))
    for test_id in tokens:
        case.go.send("go", key=test_id, force=True)
        report = report_of(case, test_id)
        assert (report.state, report.error) == (State.PASS, None)
    assert results[0].id == "task-1"
    assert [result.get(timeout=20) for result in results] == ["PASS", "PASS"]
    assert AsyncResult("linked-1", app=client.app).get(timeout=20) == "linked"


@pytest.mark.promise("A test whose task is revoked is a SKIP, and is not sent again.", theme="recovery")
def test_revoked_test_is_a_skip(programs: Programs, client: Client) -> None:
    case = client.case("shop.test_held", "go")
    programs.start_worker(worker(0, "prefork"))
    delayed = case.trigger.apply_async(("delayed", "livecheck"), countdown=2.0)
    running = case.trigger.delay("running", "livecheck")
    ended = case.trigger.delay("ended", "livecheck")
    for test_id in ("running", "ended"):
        client.wait_claimed(case, test_id)

    delayed.revoke(wait=True, timeout=1)
    running.revoke(terminate=True, wait=True, timeout=1)
    ended.revoke(wait=True, timeout=1)  # too late: without terminate, Celery lets it run
    case.go.send("go", key="ended", force=True)

    for test_id, result in (("delayed", delayed), ("running", running)):
        report = report_of(case, test_id)
        assert (report.state, report.error) == (State.SKIP, "revoked")
        with pytest.raises(TaskRevokedError):
            result.get(timeout=10)
    assert report_of(case, "ended").state == State.PASS
    assert ended.get(timeout=10) == "PASS"
    assert client.store.executions.due(case.name, 10) == []


def test_result_backend_rpc_has_the_verdict(programs: Programs, rabbitmq_server: RabbitMQ) -> None:
    url = rabbitmq_server.empty()
    client = Client(programs.url, url, result_backend="rpc://")
    programs.start_worker(
        worker(0), SHOP_URL=url, LIVECHECK_BROKER_URL=url, LIVECHECK_REDIS_URL=programs.url, SHOP_BACKEND="rpc://"
    )
    case = client.case("shop.test_side")
    results = [case.trigger.delay("o-1", "sell"), case.trigger.apply_async(("o-2", "sell"))]
    assert [result.get(timeout=20) for result in results] == ["PASS", "PASS"]
    client.close()
