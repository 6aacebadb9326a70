"""The app of a host whose tasks record their current test."""

import json
import os
import threading
import time

import redis
from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.signals import task_prerun

from livecheck_celery.context import current_test, current_tests
from livecheck_celery.propagation import celery as livecheck_signals
from tests.acceptance.apps import tracers
from tests.helpers.marks import synthetic_case

URL = os.environ["HOPS_URL"]
BARRIER_TIMEOUT = 20.0

app = Celery("hops", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_hijack_root_logger = False
store = redis.Redis.from_url(URL, decode_responses=True)
tracers.start(store)
found_by_task: dict[str, str | None] = {}


def test_id() -> str | None:
    test = current_test()
    return test and test.id


# Connected before LiveCheck's receivers, so that it sees the context that the previous task left in this thread.
@task_prerun.connect
def record_context(task_id, **_):
    found_by_task[task_id] = test_id() or synthetic_case()


livecheck_signals.connect()
livecheck_signals.connect()


def record(request, run, who):
    entry = {
        "who": who,
        "test": test_id(),
        "all": [test.id for test in current_tests()],
        "fake": synthetic_case(),
        "found": found_by_task.get(request.id),
    }
    store.rpush(f"hops:{run}", json.dumps(entry))
    store.expire(f"hops:{run}", 600)


def meet(run, size):
    """Wait until ``size`` tasks run this, so that each slot of the worker has one."""
    key = f"hops:{run}:met"
    store.incr(key)
    store.expire(key, 600)
    deadline = time.monotonic() + BARRIER_TIMEOUT
    while int(store.get(key)) % size and time.monotonic() < deadline:
        threading.Event().wait(0.01)


@app.task(bind=True, name="hops.note")
def note(self, *_, run, who):
    record(self.request, run, who)
    return who


@app.task(bind=True, name="hops.parent")
def parent(self, *_, run, depth):
    record(self.request, run, f"depth {depth}")
    if depth:
        parent.delay(run=run, depth=depth - 1)


@app.task(name="hops.send")
def send(*, run, canvas):
    """Send a canvas that needs a process with a result backend."""
    app.signature(canvas).delay()


@app.task(bind=True, name="hops.retrying")
def retrying(self, *, run):
    record(self.request, run, f"try {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0)


@app.task(bind=True, name="hops.autoretrying", autoretry_for=(ValueError,), retry_kwargs={"countdown": 0})
def autoretrying(self, *, run):
    record(self.request, run, f"try {self.request.retries}")
    if self.request.retries < 2:
        raise ValueError


@app.task(bind=True, name="hops.failing")
def failing(self, *_, run):
    record(self.request, run, "failing")
    raise ValueError(run)


@app.task(name="hops.error_called")
def error_called(request, exc, traceback):
    record(request, str(exc), "error called")


@app.task(bind=True, name="hops.error_sent")
def error_sent(self, failed_id, run):
    record(self.request, run, "error sent")


@app.task(bind=True, name="hops.replaced")
def replaced(self, *, run):
    record(self.request, run, "replaced")
    raise self.replace(note.si(run=run, who="replacement"))


@app.task(bind=True, name="hops.meeting")
def meeting(self, *, run, who, size):
    meet(run, size)
    record(self.request, run, who)
    note.delay(run=run, who=f"child of {who}")


@app.task(bind=True, name="hops.ending")
def ending(self, *, run, how, size):
    if not self.request.retries:
        meet(run, size)
    record(self.request, run, how)
    if how == "raise":
        raise ValueError
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject(requeue=False)
    if how == "retry" and not self.request.retries:
        raise self.retry(countdown=0)


@app.task(bind=True, name="hops.eager")
def eager(self, *, run):
    record(self.request, run, "before")
    note.apply(kwargs={"run": run, "who": "inside"})
    failing.apply(kwargs={"run": run})
    for how in ("ignore", "reject", "retry"):
        ending.apply(kwargs={"run": run, "how": how, "size": 1})
    own.apply(kwargs={"run": run})
    record(self.request, run, "after")


@app.task(bind=True, name="livecheck.own")
def own(self, *, run):
    record(self.request, run, "own")
    store.rpush(f"hops:{run}:own", json.dumps(sorted(self.request.headers or {})))
    store.expire(f"hops:{run}:own", 600)
    note.delay(run=run, who="child of own")
