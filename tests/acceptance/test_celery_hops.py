"""The current test is carried through Celery tasks on real workers, and never to other tasks."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain, chord, group

from livecheck_celery.blocks import Work
from livecheck_celery.context import fake_request, under_test
from livecheck_celery.propagation import celery as livecheck_signals
from tests.helpers.factories import make_test
from tests.helpers.marks import make_mark
from tests.helpers.programs import REPOSITORY, Program
from tests.helpers.waiting import wait_until

#: Seconds in which a worker starts, also where its seconds of imports get a tenth of a processor.
START = 60.0
SLOTS = {"solo": 1, "threads": 2, "prefork": 2, "gevent": 2}
#: Pools, and tracing tools beside LiveCheck that put headers of their own into the same messages.
WORKERS = {**{pool: (pool, "") for pool in SLOTS}, "sentry": ("threads", "sentry"), "otel": ("solo", "opentelemetry")}


class Hops:
    """A worker of the app in apps/hops.py, and the notes of its tasks."""

    def __init__(self, url: str, pool: str, tracer: str) -> None:
        self.slots = SLOTS[pool]
        self.environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "apps"), str(REPOSITORY)]),
            "HOPS_URL": url,
            "HOPS_TRACER": tracer,
        }
        self.app = Celery("sender", broker=url, set_as_current=False)
        self.client = redis.Redis.from_url(url, decode_responses=True)
        self.run = ""

    def task(self, name: str, **kwargs: object):
        return self.app.signature(f"hops.{name}", kwargs={"run": self.run, **kwargs}, immutable=True)

    def note(self, who: str):
        return self.task("note", who=who)

    def notes(self, count: int, within: float = 30.0) -> list[dict[str, Any]]:
        key = f"hops:{self.run}"
        wait_until(lambda: self.client.llen(key) >= count, within, f"{count} notes: {self.client.lrange(key, 0, -1)}")
        entries = [json.loads(entry) for entry in self.client.lrange(key, 0, -1)]
        assert len(entries) == count
        return entries

    def tests(self, count: int) -> dict[str | None, str | None]:
        """Return the test of each task, by task; fail if a task found a test of another one in its thread."""
        entries = self.notes(count)
        assert len({entry["who"] for entry in entries}) == count
        assert {entry["found"] for entry in entries} == {None}
        return {entry["who"]: entry["test"] for entry in entries}

    def close(self) -> None:
        self.app.close()
        self.client.close()


@pytest.fixture(scope="module", params=WORKERS)
def worker(request: pytest.FixtureRequest, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hops]:
    livecheck_signals.connect()
    pool, tracer = WORKERS[request.param]
    hops = Hops(valkey_url, pool, tracer)
    hops.client.flushall()
    directory = tmp_path_factory.mktemp("hops")
    options = f"-A hops worker -P {pool} -c {hops.slots} --without-gossip --without-mingle -l WARNING"
    program = Program(
        f"{sys.executable} -m celery {options}", cwd=directory, env=hops.environ, log=directory / "worker.log"
    )
    try:
        hops.run = "start"
        hops.note("first").apply_async()
        hops.notes(1, within=START)
        yield hops
    finally:
        program.end()
        hops.close()


@pytest.fixture
def hops(worker: Hops) -> Hops:
    worker.run = uuid4().hex
    return worker


@pytest.mark.promise(
    "A test follows the work through Celery: children, retries, chains, groups, chords and links, on every pool.",
    theme="propagation",
)
def test_child_tasks_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        hops.task("parent", depth=3).delay()
    assert hops.tests(4) == {"depth 3": "a", "depth 2": "a", "depth 1": "a", "depth 0": "a"}


SENDER = """
import sys
import hops
from livecheck_celery.context import under_test
from tests.helpers.factories import make_test

def send():
    with under_test(make_test("a")):
        hops.parent.delay(run=sys.argv[1], depth=1)
        hops.retrying.apply_async(kwargs={"run": sys.argv[1]}, headers={"headers": {"x-trace": "1"}, "x-trace": "1"})

if hops.tracers.TRACER == "sentry":
    import sentry_sdk
    with sentry_sdk.start_transaction(name="request"):
        send()
else:
    from opentelemetry import trace
    with trace.get_tracer("shop").start_as_current_span("request"):
        send()
"""


@pytest.mark.promise(
    "A test follows Celery tasks beside other tracing tools, such as Sentry's and OpenTelemetry's.", theme="propagation"
)
def test_tasks_sent_in_a_traced_request_carry_the_test(hops: Hops) -> None:
    subprocess.run([sys.executable, "-c", SENDER, hops.run], env=hops.environ, check=True, timeout=60)
    assert hops.tests(5) == dict.fromkeys(["depth 1", "depth 0", "try 0", "try 1", "try 2"], "a")
    traced = {"request", "hops.parent"} if hops.environ["HOPS_TRACER"] else set()
    wait_until(lambda: hops.client.hgetall("hops:traced").keys() >= traced, 10, "traces")


def test_task_sent_outside_a_test_has_no_test(hops: Hops) -> None:
    hops.task("parent", depth=1).delay()
    assert hops.tests(2) == {"depth 1": None, "depth 0": None}


@pytest.mark.parametrize("name", ["retrying", "autoretrying"])
def test_retries_carry_the_test(hops: Hops, name: str) -> None:
    with under_test(make_test("a")):
        hops.task(name).delay()
    assert hops.tests(3) == {"try 0": "a", "try 1": "a", "try 2": "a"}


def test_chains_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        chain(hops.note("one"), hops.note("two"), hops.note("three"))()
    assert hops.tests(3) == {"one": "a", "two": "a", "three": "a"}


def test_groups_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        group(hops.note("one"), hops.note("two"), hops.note("three"))()
    assert hops.tests(3) == {"one": "a", "two": "a", "three": "a"}


def test_chords_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        hops.task("send", canvas=chord([hops.note("one"), hops.note("two")], hops.note("body"))).delay()
    assert hops.tests(3) == {"one": "a", "two": "a", "body": "a"}


def test_group_inside_a_chain_carries_the_test(hops: Hops) -> None:
    middle = group(hops.note("two"), hops.note("three"))
    with under_test(make_test("a")):
        hops.task("send", canvas=chain(hops.note("one"), middle, hops.note("four"), hops.note("five"))).delay()
    assert hops.tests(5) == dict.fromkeys(["one", "two", "three", "four", "five"], "a")


def test_links_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        hops.note("one").apply_async(link=[hops.note("two"), hops.note("three")])
    assert hops.tests(3) == {"one": "a", "two": "a", "three": "a"}


def test_error_links_carry_the_test(hops: Hops) -> None:
    called = hops.app.signature("hops.error_called")
    sent = hops.app.signature("hops.error_sent", kwargs={"run": hops.run})
    with under_test(make_test("a")):
        hops.task("failing").apply_async(link_error=[called, sent])
    assert hops.tests(3) == {"failing": "a", "error called": "a", "error sent": "a"}


def test_error_links_of_a_chord_carry_the_test(hops: Hops) -> None:
    body = hops.note("body").on_error(hops.app.signature("hops.error_sent", kwargs={"run": hops.run}))
    with under_test(make_test("a")):
        hops.task("send", canvas=chord([hops.note("one"), hops.task("failing")], body)).delay()
    assert hops.tests(3) == {"one": "a", "failing": "a", "error sent": "a"}


def test_replaced_tasks_carry_the_test(hops: Hops) -> None:
    with under_test(make_test("a")):
        hops.task("replaced").delay()
    assert hops.tests(2) == {"replaced": "a", "replacement": "a"}


def test_nested_tests_are_carried_together(hops: Hops) -> None:
    with under_test(make_test("a", "shop.test_order")), under_test(make_test("b", "shop.test_stock")):
        hops.task("parent", depth=1).delay()
        hops.task("retrying").delay()
    assert [entry["all"] for entry in hops.notes(5)] == [["b", "a"]] * 5


def test_fake_request_without_a_test_stays_marked(hops: Hops) -> None:
    with fake_request("shop.test_order"):
        hops.task("parent", depth=2).delay()
    assert [(entry["test"], entry["fake"]) for entry in hops.notes(3)] == [(None, "shop.test_order")] * 3


@pytest.mark.promise(
    "A message that waited in a queue longer than the mark of its fake request is synthetic, and all that it causes.",
    theme="propagation",
)
def test_everything_that_an_old_message_causes_is_synthetic(hops: Hops) -> None:
    error_links = [hops.app.signature("hops.error_sent", kwargs={"run": hops.run})]
    expired = make_test("a", expires=datetime.now(UTC) - timedelta(seconds=1))
    with Work((), make_mark(since=datetime.now(UTC) - timedelta(days=365))):
        hops.task("parent", depth=1).delay()
        hops.task("retrying").apply_async(headers={"headers": {"x-trace": "1"}, "x-trace": "1"})
        chain(hops.note("chain 1"), hops.note("chain 2"))()
        group(hops.note("group 1"), hops.note("group 2"))()
        hops.task("send", canvas=chord([hops.note("header 1"), hops.note("header 2")], hops.note("body"))).delay()
        hops.note("linking").apply_async(link=hops.note("linked"))
        hops.task("failing").apply_async(link_error=error_links)
        hops.task("replaced").delay()
        hops.task("eager").delay()
        with under_test(expired):
            hops.note("expired").apply_async()
    notes = hops.notes(2 + 3 + 2 + 2 + 3 + 2 + 2 + 2 + 10 + 1)
    assert [note for note in notes if note["fake"] != "shop.test_order" or note["test"] is not None] == []


def test_expired_test_is_not_carried(hops: Hops) -> None:
    with under_test(make_test("a", expires=datetime.now(UTC) - timedelta(seconds=1))):
        hops.task("parent", depth=1).delay()
    assert hops.tests(2) == {"depth 1": None, "depth 0": None}


@pytest.mark.parametrize(
    "headers", [{"LiveCheck-Test-Id": "a"}, {"LiveCheck-Test-Id": None, "LiveCheck-Test-Name": []}]
)
def test_malformed_headers_are_ignored(hops: Hops, headers: dict[str, object]) -> None:
    hops.note("one").apply_async(headers=headers)
    assert hops.tests(1) == {"one": None}


def test_headers_set_by_the_caller_are_read(hops: Hops) -> None:
    hops.note("one").apply_async(headers=make_test("a").as_headers())
    assert hops.tests(1) == {"one": "a"}


def test_concurrent_tests_do_not_mix(hops: Hops) -> None:
    names = [f"test {number}" for number in range(hops.slots)]
    for name in names:
        with under_test(make_test(name)):
            hops.task("meeting", who=name, size=hops.slots).delay()
    expected = {name: name for name in names} | {f"child of {name}": name for name in names}
    assert hops.tests(2 * hops.slots) == expected


@pytest.mark.parametrize("how", ["return", "raise", "ignore", "reject", "retry"])
def test_next_task_in_a_slot_has_no_test(hops: Hops, how: str) -> None:
    with under_test(make_test("a")):
        for _ in range(hops.slots):
            hops.task("ending", how=how, size=hops.slots).delay()
    ended = hops.notes(hops.slots * (2 if how == "retry" else 1))
    assert Counter(entry["test"] for entry in ended) == {"a": len(ended)}
    hops.run = uuid4().hex
    for number in range(hops.slots):
        hops.task("meeting", who=str(number), size=hops.slots).delay()
    assert set(hops.tests(2 * hops.slots).values()) == {None}


def test_eager_tasks_have_the_test_of_their_caller(hops: Hops) -> None:
    with under_test(make_test("a")):
        hops.task("eager").delay()
    entries = hops.notes(9 + 1)
    assert Counter((entry["who"], entry["test"]) for entry in entries) == {
        ("before", "a"): 1,
        ("inside", "a"): 1,
        ("failing", "a"): 1,
        ("ignore", "a"): 1,
        ("reject", "a"): 1,
        ("retry", "a"): 2,
        ("own", None): 1,
        ("child of own", None): 1,
        ("after", "a"): 1,
    }


def test_tasks_of_livecheck_carry_no_test(hops: Hops) -> None:
    own = hops.app.signature("livecheck.own", kwargs={"run": hops.run})
    with under_test(make_test("a")):
        own.apply_async(headers={"LiveCheck-Test-Id": "b", "Other": "kept"})
    assert hops.tests(2) == {"own": None, "child of own": None}
    headers = json.loads(hops.client.lindex(f"hops:{hops.run}:own", 0))
    assert headers == ["Other"]
