"""Which automatic signals a process sends, whatever the shared configuration in Redis says."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery.config import Settings
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.allowed_sources import AllowedSources
from livecheck_celery.propagation.sources import Source, SourceIndex
from tests.helpers.factories import make_settings

SAVED = "django.db.models.signals.post_save"
DEFAULT = Settings.model_fields["allow_sources"].default


def cases_with(*sources: Source) -> dict[str, Any]:
    signals = {str(number): SimpleNamespace(source=source) for number, source in enumerate(sources)}
    return {"c": SimpleNamespace(signals={**signals, "plain": SimpleNamespace(source=None)})}


@pytest.mark.parametrize(
    ("patterns", "source", "is_allowed"),
    [
        (DEFAULT, Source("task", "orders.store"), True),
        (DEFAULT, Source("request", "POST /order/{id}/"), True),
        (DEFAULT, Source("django", f"{SAVED} shop.Order"), False),
        (DEFAULT, Source("span", "charge"), False),
        (DEFAULT, Source("other", "x"), False),
        ((), Source("task", "orders.store"), False),
        (["task:orders.*"], Source("task", "orders.store"), True),
        (["task:orders.*"], Source("task", "users.store"), False),
        (["task:*"], Source("task", "a\nb"), True),
        (["task:orders.[a]*"], Source("task", "orders.a1"), False),
        ([f"django:{SAVED} shop.Order"], Source("django", f"{SAVED} shop.Order"), True),
        ([f"django:{SAVED} shop.Order"], Source("django", f"{SAVED} shop.Order id,password"), False),
        ([f"django:{SAVED} shop.*"], Source("django", f"{SAVED} shop.Order id,status"), True),
        ([f"django:{SAVED} shop.*"], Source("django", f"{SAVED} auth.User"), False),
        (["django:*"], Source("django", f"{SAVED} auth.User"), True),
        (["django:*", f"django:{SAVED}*", f"django:{SAVED} *"], Source("django", SAVED), False),
        (["django:*", f"django:{SAVED}*", f"django:{SAVED} *"], Source("django", f"{SAVED} * password"), False),
        (["django:*"], Source("django", f"{SAVED}  auth.User"), False),
        ([f"django:{SAVED}"], Source("django", SAVED), True),
        ([f"django:{SAVED} * id"], Source("django", f"{SAVED} * id"), True),
        (["span:charge*"], Source("span", "charge card"), True),
    ],
)
def test_pattern_allows_a_source(patterns: list[str], source: Source, is_allowed: bool) -> None:
    assert AllowedSources(patterns, {})(source) is is_allowed


def test_sources_of_the_cases_of_the_process_are_allowed() -> None:
    cases: dict[str, Any] = {}
    allowed, every = AllowedSources((), cases), Source("django", SAVED)
    assert not allowed(every)
    cases.update(cases_with(every, Source("span", "charge")))
    assert allowed(every)
    assert allowed(Source("span", "charge"))
    assert not allowed(Source("span", "other"))


def test_index_leaves_out_what_is_not_allowed_and_keeps_the_rest() -> None:
    wired = {"c": {"a": ("task", "orders.store"), "b": ("django", SAVED), "r": ("request", "GET /{id}/")}}
    index = SourceIndex(wired, AllowedSources(["task:*"], {}))
    assert index.refused == {Source("django", SAVED), Source("request", "GET /{id}/")}
    assert index.names("django") == set()
    assert len(index.targets(Source("task", "orders.store"))) == 1
    assert not index.targets(Source("request", "GET /7/"))


@pytest.mark.parametrize("pattern", ["orders.store", "task:", "*", "model:shop.Order", ":x"])
def test_pattern_without_a_known_kind_or_a_name_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="must be task:NAME, request:METHOD PATH"):
        Settings.resolve("LiveCheck", (), {"redis_url": "r", "broker_url": "r", "allow_sources": [pattern]})


def test_patterns_are_a_list_or_text_with_commas() -> None:
    settings = make_settings("redis://r", allow_sources="task:a, span:*")
    assert settings.allow_sources == ("task:a", "span:*")


def test_no_source_is_matched_slowly() -> None:
    allowed, source = AllowedSources(["task:" + "*a" * 20 + "b"], {}), Source("task", "a" * 10_000)
    started = time.perf_counter()
    assert not allowed(source)
    assert time.perf_counter() - started < 0.5  # with backtracking, it takes years
