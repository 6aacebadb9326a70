"""Django with ATOMIC_REQUESTS on SQLite: what is queued in a block for after the commit, or streamed, is in the test.

Each test runs a Django project of its own in another process, since Django can be configured only once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.scripts import run_script

PROJECT = """
import asyncio, importlib.util, json, pickle, sys, warnings
from collections import defaultdict
import django
from celery import Celery
from celery.signals import before_task_publish
from django.conf import settings

redis_url, database, middleware = sys.argv[1:]
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="django's", LOGGING_CONFIG=None,
    MIDDLEWARE=["livecheck_celery.integrations.django.LiveCheckMiddleware"] if middleware == "middleware" else [],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database, "ATOMIC_REQUESTS": True}},
)
django.setup()
from django.core.handlers.asgi import ASGIHandler
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.test import Client
from django.urls import path
from livecheck_celery import LiveCheck
from livecheck_celery.context import current_tests
from tests.helpers.web import request_asgi

has_django_task = importlib.util.find_spec("celery.contrib.django") is not None  # since Celery 5.4
task_class = "celery.contrib.django.task:DjangoTask" if has_django_task else None
app = Celery("shop", broker=redis_url, task_cls=task_class)
livecheck = LiveCheck(app, redis_url=redis_url)
case = livecheck.add_case(livecheck.Case, name="shop.test_order", probability=1.0)
seen = defaultdict(list)


def note(place):
    seen[place].append(",".join(test.id for test in current_tests()))


@before_task_publish.connect
def published(sender, headers, **_):
    if sender == "orders.ship":
        seen["task"].append(headers.get("LiveCheck-Test-Id"))


@app.task(name="orders.ship", shared=False)
def ship(): ...


def store(order):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [order])


def commit(request):
    for order in ("o-1", "o-2"):
        with case.maybe_trigger(order):
            store(order)
            transaction.on_commit(lambda order=order: note(order))
            transaction.on_commit(lambda order=order: note("robust " + order), robust=True)
            transaction.on_commit(lambda: 1 / 0, robust=True)
            if has_django_task:
                ship.delay_on_commit()
            else:
                transaction.on_commit(ship.delay)
    transaction.on_commit(lambda: note("untested"))
    assert not seen
    return HttpResponse()


def roll_back(request):
    with case.maybe_trigger("o-3"):
        store("o-3")
        transaction.on_commit(lambda: note("o-3"))
    raise ValueError


def parts():
    for _ in range(2):
        note("part")
        yield "part"


def stream(request):
    with case.maybe_trigger("o-4"):
        response = StreamingHttpResponse(parts())
    note("between")
    return response


async def async_parts():
    for part in parts():
        yield part


@transaction.non_atomic_requests
async def async_stream(request):
    async with case.maybe_trigger("o-5"):
        return StreamingHttpResponse(async_parts())


def cache(response):
    note(pickle.loads(pickle.dumps(response)).content.decode())


def template(request):
    with case.maybe_trigger("o-7"):
        template = engines["django"].from_string("{{ x }}")
        response = TemplateResponse(request, template, {"x": lambda: note("x") or "cached"})
        response.add_post_render_callback(cache)
    return response


def held():
    with case.maybe_trigger("o-6"):
        for part in parts():
            yield part


urlpatterns = [
    path("async-stream/", async_stream),
    path("template/", template),
    path("held-stream/", lambda request: StreamingHttpResponse(held())),
    path("commit/", commit), path("roll-back/", roll_back), path("stream/", stream),
]
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (id)")

client = Client(raise_request_exception=False)
statuses = [client.get(f"/{name}/").status_code for name in ("commit", "roll-back", "template")]
response = client.get("/stream/")
body = b"".join(response.streaming_content).decode()
response.close()
seen["stream"] = seen.pop("part")
warnings.simplefilter("ignore")  # a sync generator under ASGI
for name in ("async-stream", "held-stream"):
    assert asyncio.run(request_asgi(ASGIHandler(), f"/{name}/")) == (200, b"partpart")
    seen[name] = seen.pop("part")
note("after")
transaction.on_commit(lambda: note("later"))
with connection.cursor() as cursor:
    stored = [row[0] for row in cursor.execute("SELECT id FROM orders")]
livecheck.close()
from django.db.backends.base.base import BaseDatabaseWrapper
print(json.dumps({
    "seen": seen, "statuses": statuses, "body": body, "stored": stored,
    "restored": not any(
        hasattr(method, "__wrapped__") for method in (BaseDatabaseWrapper.on_commit, SimpleTemplateResponse.render)
    ),
}))
"""


def run(redis_url: str, directory: Path, middleware: str) -> dict[str, Any]:
    arguments = (redis_url, str(directory / "shop.sqlite3"), middleware)
    done = run_script(PROJECT, *arguments, env={"PYTHONPATH": str(Path(__file__).parents[3])})
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@pytest.mark.promise(
    "Callbacks that Django runs after the commit, and tasks that they send, are part of the test in whose block they "
    "were registered.",
    theme="propagation",
)
@pytest.mark.parametrize("middleware", ["middleware", "bare"])
def test_work_after_the_commit_is_part_of_the_test_in_whose_block_it_was_queued(
    redis_url: str, tmp_path: Path, middleware: str
) -> None:
    outcome = run(redis_url, tmp_path, middleware)
    assert outcome["statuses"] == [200, 500, 200]
    assert outcome["stored"] == ["o-1", "o-2"]
    assert outcome["body"] == "partpart"
    assert outcome["restored"]
    seen = outcome["seen"]
    with_middleware = middleware == "middleware"
    assert seen.pop("stream") == (["o-4"] * 2 if with_middleware else [""] * 2)
    assert seen.pop("async-stream") == (["o-5"] * 2 if with_middleware else [""] * 2)
    assert seen.pop("held-stream") == ["o-6"] * 2
    assert seen == {
        "o-1": ["o-1"],
        "robust o-1": ["o-1"],
        "o-2": ["o-2"],
        "robust o-2": ["o-2"],
        "task": ["o-1", "o-2"],
        "untested": [""],
        "x": ["o-7"],
        "cached": ["o-7"],
        "between": [""],
        "after": [""],
        "later": [""],
    }
