"""A host whose Celery settings restrict its tasks: LiveCheck's own tasks, queues and messages work."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from kombu import Connection, Exchange, Queue

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Programs
from tests.helpers.waiting import wait_until

WORKER = "celery -A strict worker -Q livecheck,livecheck.schedule,feed -c 4 -l INFO --without-mingle -P"
FEED = Queue("feed", Exchange("feed", type="topic"), routing_key="feed.#")


def write_certificate(directory: Path) -> str:
    """Write the key and certificate that ``setup_security()`` needs; return the directory."""
    issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert("shop", key_type=trustme.KeyType.RSA)
    directory.mkdir()
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return str(directory)


def feed_messages(url: str) -> None:
    """Send messages of the host, which are not tasks, to a queue that the worker consumes beside LiveCheck's."""
    with Connection(url) as connection, connection.Producer() as producer:
        for key in ("feed.prices", "livecheck"):
            Queue(FEED.name, FEED.exchange, routing_key=key)(connection).declare()
            producer.publish({"price": 1}, serializer="pickle", exchange=FEED.exchange, routing_key=key)


@pytest.mark.promise("The settings that a host makes for its own tasks do not change LiveCheck's.", theme="tools")
@pytest.mark.parametrize("setup", ["redis threads", "rabbitmq prefork", "redis solo signed"])
def test_every_face_works_on_a_strict_host(
    programs: Programs, client: Client, request: pytest.FixtureRequest, tmp_path: Path, setup: str
) -> None:
    broker, pool, *signed = setup.split()
    url = request.getfixturevalue("rabbitmq_server").empty() if broker == "rabbitmq" else programs.url
    # As root, workers refuse pickle without C_FORCE_ROOT.
    env = {"BROKER_URL": url, "LIVECHECK_BROKER_URL": url, "LIVECHECK_REDIS_URL": programs.url, "C_FORCE_ROOT": "1"}
    if signed:
        env["SIGNED_MESSAGES"] = write_certificate(tmp_path / "certificate")
    worker = programs.start(f"{WORKER} {pool}", **env)
    beat = programs.start("celery -A strict beat", **env)
    worker.wait_for(" ready.")
    feed_messages(url)

    faces = programs.start("python -m strict", **env)
    waiting, plain = client.case("strict.test_waiting", "go"), client.case("strict.test_plain")
    if pool != "solo":
        client.wait_claimed(waiting, "called")
    waiting.go.send("go", key="called", force=True)
    assert report_of(waiting, "called").state == State.PASS
    for test_id in ("delayed", "signature", "immutable", "linked", "chained"):
        assert report_of(plain, test_id).state == State.PASS
    wait_until(lambda: client.case("strict.test_faked").total_by_state[State.PASS] >= 2, 20, "two fake requests")
    # Celery's own answer to a message that is not a task; LiveCheck's would be "refused".
    celerys = "Can't decode message body" if signed else "deleted unknown message"
    wait_until(lambda: worker.output().count(celerys) == 2, 10, "both messages of the host")
    assert "refused" not in worker.output()

    assert faces.wait_exit() == 0
    assert beat.is_running()
    assert worker.is_running()
    assert "Traceback" not in beat.output()
