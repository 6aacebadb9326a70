"""A Django site, shared by all tests of a process: Django can be configured only once."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.db import models
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from livecheck_celery.context import current_test
from tests.helpers.web import OTHER, trigger

MIDDLEWARE = "livecheck_celery.integrations.django.LiveCheckMiddleware"

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        SECRET_KEY="django's",
        MIDDLEWARE=[MIDDLEWARE],
        DATABASES={
            name: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for name in ("default", "archive")
        },
    )
    django.setup()

#: What the views and the middleware recorded: their name, thread and current test.
seen: list[tuple[str, int, Any]] = []


def record(who: str) -> None:
    seen.append((who, threading.get_ident(), current_test()))


class Order(models.Model):
    class Meta:
        app_label = "shop"

    number = models.UUIDField(primary_key=True)
    customer = models.ForeignKey("Customer", models.CASCADE, related_name="orders")
    price = models.DecimalField(max_digits=8, decimal_places=2)
    placed_at = models.DateTimeField()
    photo = models.FileField()
    signature = models.BinaryField()
    extra = models.JSONField(default=dict)
    ratio = models.FloatField(default=0.0)


class Customer(models.Model):
    class Meta:
        app_label = "shop"

    name = models.CharField(max_length=20, default="")
    password = models.CharField(max_length=20, default="hash")


def store_customer(request: HttpRequest, outcome: str) -> HttpResponse:
    trigger(OTHER)
    Customer.objects.create(name="in a view")
    if outcome == "fails":
        raise ValueError("no such side")
    return HttpResponse("stored", status=201)


def sync_view(request: HttpRequest) -> HttpResponse:
    record("view")
    trigger(OTHER)
    return HttpResponse("stored", status=201)


async def async_view(request: HttpRequest) -> HttpResponse:
    record("view")
    trigger(OTHER)
    return HttpResponse("stored", status=201)


def parts() -> Iterator[str]:
    for part in ("one", "two"):
        record(part)
        yield part


async def async_parts() -> AsyncIterator[str]:
    for part in parts():
        yield part
    trigger(OTHER)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(parts())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(async_parts())


def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    def broken() -> Iterator[str]:
        yield "one"
        raise ValueError("no such side")

    return StreamingHttpResponse(broken())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))  # noqa: PTH123 - the response closes it


def broken(request: HttpRequest) -> HttpResponse:
    record("view")
    raise ValueError("no such side")


async def async_broken(request: HttpRequest) -> HttpResponse:
    record("view")
    raise ValueError("no such side")


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("customer/<str:outcome>/", store_customer),
    path("stream/", stream),
    path("async-stream/", async_stream),
    path("broken-stream/", broken_stream),
    path("file/", file),
    path("broken/", broken),
    path("async-broken/", async_broken),
]
