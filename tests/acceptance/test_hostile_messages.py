"""Malicious messages, and ids and values over their limits: the worker logs one line and continues."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from livecheck_celery import Case, State
from livecheck_celery.cases.arguments import build
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.models import EXECUTION, MAX_ID
from livecheck_celery.utils.sanitize import is_printable
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Program, Programs
from tests.helpers.rabbitmq import RabbitMQ

HOSTILE = "\x1b[31mred\r\nFAKE LOG LINE"
TEN_MEBIBYTES = 10 * 1024 * 1024


@pytest.fixture(scope="module", params=["threads on Valkey", "prefork on RabbitMQ"])
def broker_url(request: pytest.FixtureRequest, valkey_url: str) -> str:
    """Two brokers and pools, as Celery has two event loops."""
    if request.param == "threads on Valkey":
        return valkey_url
    server: RabbitMQ = request.getfixturevalue("rabbitmq_server")
    return server.empty()


@pytest.fixture(scope="module")
def worker(broker_url: str, shared_programs: Programs, client: Client) -> Iterator[Program]:
    client.store.client.flushall()
    pool = "prefork" if broker_url.startswith("amqp") else "threads"
    command = f"celery -A lenient worker -Q livecheck,livecheck.schedule -P {pool} -c 2"
    env = {"LIVECHECK_BROKER_URL": broker_url, "C_FORCE_ROOT": "1"}  # otherwise Celery does not accept pickle
    worker = shared_programs.start_worker(command, LIVECHECK_REDIS_URL=shared_programs.url, **env)
    yield worker
    worker.end()


@pytest.fixture(scope="module")
def client(broker_url: str, valkey_url: str) -> Iterator[Client]:
    client = Client(valkey_url, broker_url)
    yield client
    client.close()


@pytest.fixture
def case(worker: Program, client: Client) -> Iterator[Case]:
    """A case; after the test, the worker has logged at most one refusal, no traceback but of verdicts, and works."""
    case = client.case("lenient.test_plain", "go")
    before = len(worker.output())
    yield case
    name = uuid4().hex
    case.trigger(name, name)
    send(case, name, name)
    assert report_of(case, name).state is State.PASS
    assert worker.output()[before:].count("refused a message") <= 1
    lines = worker.output()[before:].splitlines()
    assert [first for first, second in pairwise(lines) if "Traceback" in second and " runner: " not in first] == []


def send(case: Case, key: str, value: str) -> None:
    case.signals["go"].send(value, key=key, force=True)


def publish(client: Client, body: bytes, content_type: str = "application/json", **headers: Any) -> None:
    """Send a message with this body, content type and headers."""
    encoding = "utf-8" if content_type == "application/json" else "binary"
    with client.app.connection_for_write() as connection, connection.channel() as channel:
        client.app.amqp.Producer(channel, auto_declare=False).publish(
            body, content_type=content_type, content_encoding=encoding, routing_key="livecheck", headers=headers
        )


def assert_refused(worker: Program, why: str, act: Any, *args: Any, **kwargs: Any) -> None:
    """Send a message by calling ``act``; assert that the worker refuses it in one line that contains ``why``."""
    before = worker.output().count("refused a message")
    act(*args, **kwargs)
    worker.wait_for("refused a message", count=before + 1)
    *_, line = [line for line in worker.output().splitlines() if "refused a message" in line]
    assert why in line
    assert line.isprintable()


@pytest.mark.parametrize(
    "body", ["", "null", "7", "[]", "{}", '"text"', "[[]]", "[[], {}]", "[{}, [], null]", "[[], {}, 7]"]
)
def test_body_without_arguments_is_refused(worker: Program, client: Client, case: Case, body: str) -> None:
    publish_ours = {"task": "livecheck.execute", "id": uuid4().hex}
    assert_refused(worker, "the body has no task arguments: ", publish, client, body.encode(), **publish_ours)


@pytest.mark.promise("A truncated message is refused with one log line, and the worker continues.", theme="input")
@pytest.mark.parametrize("body", [b"[[", b"\xff\xfe", b"[" * 100_000])
def test_truncated_body_is_refused(worker: Program, client: Client, case: Case, body: bytes) -> None:
    assert_refused(worker, "cannot decode the body: ", publish, client, body, task="livecheck.execute", id=uuid4().hex)


TASKS: dict[str, dict[str, Any]] = {
    "no headers": {},
    "no task": {"id": "7"},
    "no id": {"task": "shop.other"},
    "unknown task": {"task": "shop.other", "id": "7"},
    "list": {"task": ["x"]},
    "control characters": {"task": HOSTILE},
}


@pytest.mark.promise("A message for an unknown task is refused with one log line.", theme="input")
@pytest.mark.parametrize("headers", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("body", [b"[[], {}, {}]", b"null"])
def test_unknown_task_is_refused(
    worker: Program, client: Client, case: Case, headers: dict[str, Any], body: bytes
) -> None:
    assert_refused(worker, "unknown task ", publish, client, body, **headers)


@pytest.mark.parametrize("name", ["id", "shadow"])
@pytest.mark.parametrize("value", [HOSTILE, 7, ["x"], {}])
def test_malformed_id_or_shadow_is_refused(worker: Program, client: Client, case: Case, name: str, value: Any) -> None:
    headers = {"task": "livecheck.execute", "id": uuid4().hex, name: value}
    assert_refused(worker, f"invalid header {name}: ", publish, client, b"[[], {}, {}]", **headers)


@pytest.mark.parametrize("header", ["expires", "eta"])
@pytest.mark.parametrize("value", [HOSTILE, 7, {}])
def test_malformed_expires_or_eta_is_refused(
    worker: Program, client: Client, case: Case, header: str, value: Any
) -> None:
    headers = {"task": "livecheck.execute", "id": uuid4().hex, header: value}
    assert_refused(worker, f"invalid header {header}: ", publish, client, b"[[], {}, {}]", **headers)


@pytest.mark.parametrize("header", ["retries", "timelimit", "group", "root_id", "ignore_result", "stamps"])
def test_header_of_the_wrong_type_does_not_stop_the_worker(client: Client, case: Case, header: str) -> None:
    publish(client, b"[[], {}, {}]", task="livecheck.execute", id=uuid4().hex, **{header: {"wrong": True}})


def a_command(touched: Path) -> Any:
    class Command:
        def __reduce__(self) -> Any:
            return Path.touch, (touched,)

    return Command()


@pytest.mark.promise("Pickle is refused, even where the host's app accepts it.", theme="input")
def test_pickle_is_refused_even_if_the_app_accepts_it(
    worker: Program, client: Client, case: Case, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    body = pickle.dumps([[a_command(touched)], {}, {}])
    headers = {"task": "livecheck.execute", "id": uuid4().hex}
    assert_refused(
        worker, "content type 'application/x-python-serialize' is not JSON",
        publish, client, body, "application/x-python-serialize", **headers,
    )  # fmt: skip
    assert not touched.exists()


@pytest.mark.parametrize("content_type", ["application/x-yaml", "application/x-msgpack", "text/plain", "made/up"])
def test_other_content_types_are_refused(worker: Program, client: Client, case: Case, content_type: str) -> None:
    headers = {"task": "livecheck.execute", "id": uuid4().hex}
    assert_refused(
        worker, f"content type '{content_type}' is not JSON", publish, client, b"\x80", content_type, **headers
    )


def execution(case: Case, **changed: Any) -> dict[str, Any]:
    test = EXECUTION.dump_python(build(case, uuid4().hex, ("me",)), mode="json")
    return {name: value for name, value in {**test, **changed}.items() if value is not ...}


def execute(client: Client, case: Case, carried: dict[str, Any]) -> None:
    kwargs = {"livecheck_case": case.name, "livecheck_test": carried}
    client.app.send_task("livecheck.execute", kwargs=kwargs, queue="livecheck")


@pytest.mark.promise("A message of a newer version that has additional fields is executed.", theme="input")
def test_message_with_additional_fields_is_executed(client: Client, case: Case) -> None:
    carried = execution(case, priority="high", links=[{"to": "another"}])
    execute(client, case, carried)
    send(case, carried["id"], "me")
    assert report_of(case, carried["id"]).state is State.PASS


@pytest.mark.promise("A message that lacks a field is refused.", theme="input")
@pytest.mark.parametrize("field", ["id", "case_name", "timestamp", "test_args", "expires"])
def test_message_with_a_missing_field_is_refused(worker: Program, client: Client, case: Case, field: str) -> None:
    why = f"a message for case {case.name} has no valid execution: {field}: Field required"
    assert_refused(worker, why, execute, client, case, execution(case, **{field: ...}))


@pytest.mark.promise("The id of a test can be any text of up to 512 characters.", theme="input")
@pytest.mark.parametrize(
    "test_id",
    [
        "with spaces, at both ends ",
        "{order}:{42}",
        "Bestellung für 日本 \N{GRINNING FACE}",
        "%s %(name)s {0}",
        "../../etc/passwd",
        "nul\0 and\x1b[2J",
        "a\nb\r\nc",
        "x" * MAX_ID,
        "\N{GRINNING FACE}" * MAX_ID,
    ],
    ids=["spaces", "braces", "unicode", "formats", "path", "nul", "newlines", "long", "long unicode"],
)
def test_any_id_up_to_512_characters_is_accepted(client: Client, case: Case, test_id: str) -> None:
    case.trigger(test_id, "me")
    send(case, test_id, "me")
    assert report_of(case, test_id).state is State.PASS


def test_longer_id_is_refused_by_trigger_and_worker(worker: Program, client: Client, case: Case) -> None:
    too_long = "x" * 10_000
    with pytest.raises(InvalidPayload, match=r"the id 'xxx.* is 10000 characters, over the limit of 512"):
        case.trigger(too_long, "me")
    assert_refused(
        worker, "String should have at most 512 characters", execute, client, case, execution(case, id=too_long)
    )


def test_ten_mebibytes_are_delivered_if_max_payload_allows(
    client: Client, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        client.livecheck, "settings", client.livecheck.settings.model_copy(update={"max_payload": 2 * TEN_MEBIBYTES})
    )
    name, much = uuid4().hex, "x" * TEN_MEBIBYTES
    case.trigger(name, name, payload=much)
    send(case, name, name + much)
    assert report_of(case, name).state is State.PASS


def test_ten_mebibytes_are_refused_by_default(client: Client, case: Case) -> None:
    name, much = uuid4().hex, "x" * TEN_MEBIBYTES
    with pytest.raises(InvalidPayload, match="are 10485.* bytes, over the limit of 65536"):
        case.trigger(name, name, payload=much)
    case.trigger(name, name)
    send(case, name, much)
    report = report_of(case, name)
    assert report.state is State.FAIL
    assert "value is 10485762 bytes, over the limit of 65536 (livecheck_max_payload)" in report.error


@pytest.mark.promise("No id can forge a log line or control a terminal.", theme="input")
def test_control_characters_in_an_id_are_not_printed(
    worker: Program, client: Client, case: Case, shared_programs: Programs
) -> None:
    test_id = f"{uuid4().hex}{HOSTILE}\x9b31m\u3164"
    case.trigger(test_id, HOSTILE)
    send(case, test_id, "another")
    assert report_of(case, test_id).state is State.FAIL
    passing = f"{uuid4().hex}{HOSTILE}"
    case.trigger(passing, HOSTILE)
    send(case, passing, HOSTILE)
    assert report_of(case, passing).state is State.PASS
    worker.wait_for("PASS; logged:")
    commands = [
        shared_programs.start(f"livecheck -A lenient {command}", LIVECHECK_REDIS_URL=shared_programs.url)
        for command in ("reports", "reports --json", "status", "cases")
    ]
    for program in [*commands, worker]:
        if program is not worker:
            assert program.wait_exit() == 0
        for line in program.output().split("\n"):
            assert is_printable(line), line
            assert not line.startswith("FAKE")
    assert test_id[:20] in commands[0].output()
    assert json.loads(commands[1].output().splitlines()[-1])["test"]["id"] in {test_id, passing}
