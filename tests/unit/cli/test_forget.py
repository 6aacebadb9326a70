"""``forget``: a case that is gone."""

from __future__ import annotations

import inspect
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from livecheck_celery import State, cli
from livecheck_celery.cli.known_cases import complete_case
from livecheck_celery.store import Store
from livecheck_celery.store.keys import Keys
from tests.helpers.factories import make_signal, make_test
from tests.helpers.reading import CASE, play, run, run_a_worker


@pytest.mark.promise("`livecheck forget` removes a case that is gone, with all its keys.", theme="cases")
def test_forget_removes_a_case_and_all_its_keys(declared: Any, store: Store, redis_client: redis.Redis) -> None:
    store.registry.register("shop.test_gone", {"sources": {"sent": ["task", "shop.send"]}})
    store.registry.override("shop.test_gone", {"active": False})
    for number, state in enumerate([State.PASS, State.FAIL]):
        play(store, state, f"id-{number}", case_name="shop.test_gone")
    store.executions.record(make_test("open", "shop.test_gone"), expires_in=60)
    for key in ("open", "never"):
        store.signals.send(make_signal(key=key, case_name="shop.test_gone"), ttl=60)
    play(store, State.PASS)
    kept = set(redis_client.keys("*{" + CASE + "}*"))
    assert len(redis_client.keys("*{shop.test_gone}*")) >= 10
    result = run("forget", "test_gone", "--yes")
    assert (result.exit_code, result.stdout) == (0, "shop.test_gone: removed\n")
    assert redis_client.keys("*{shop.test_gone}*") == []
    assert store.registry.cases() == {}
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert (snapshot.overrides, snapshot.sources) == ({}, {})
    assert set(redis_client.keys("*{" + CASE + "}*")) == kept
    assert "test_gone" not in run("status").stdout
    assert run("forget", "test_gone", "--yes").exit_code == 2


def test_forget_knows_the_keys_of_every_kind(declared: Any, store: Store, redis_client: redis.Redis) -> None:
    store.registry.register(CASE, {})
    for key in (value for name, value in vars(Keys).items() if name != "of_case" and inspect.isfunction(value)):
        if list(inspect.signature(key).parameters) == ["self", "case_name"]:
            redis_client.set(key(store.keys, CASE), "of another type")
    assert len(redis_client.keys("*{" + CASE + "}*")) >= 8
    assert run("forget", CASE, stdin="y\n").exit_code == 0
    assert redis_client.keys("*{" + CASE + "}*") == []


def test_forget_asks_first(declared: Any, store: Store) -> None:
    play(store, State.PASS)
    for name in ("a", "b"):
        store.executions.record(make_test(name, CASE), expires_in=60)
    store.registry.register(CASE, {})
    refused = run("forget", CASE, stdin="n\n")
    assert refused.exit_code == 1
    assert f"Remove {CASE}, 1 finished test, 2 open tests and 1 report? [y/N]" in refused.output
    assert run("forget", CASE).exit_code == 1, "no answer"
    assert store.registry.cases().keys() == {CASE}
    assert run("forget", CASE, stdin="y\n").exit_code == 0
    assert store.registry.cases() == {}


def test_forget_refuses_a_case_that_a_running_worker_declares(declared: Any, store: Store) -> None:
    store.registry.register(CASE, {})
    run_a_worker(store, CASE)
    result = run("forget", "test_order", "--yes")
    assert result.exit_code == 2
    assert f"a running worker declares {CASE}: celery@here" in result.stderr
    assert store.registry.cases().keys() == {CASE}
    assert run("forget", "test_order", "--yes", "--force").exit_code == 0
    assert store.registry.cases() == {}


class Entries:
    """The entries in the database of django-celery-beat, as a manager of Django."""

    _meta = SimpleNamespace(label="django_celery_beat.PeriodicTask")

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.objects = self

    def filter(self, name: str) -> Any:
        return SimpleNamespace(delete=lambda: self._delete(name))

    def _delete(self, name: str) -> tuple[int, dict[str, int]]:
        deleted = self.names.count(name)
        self.names = [one for one in self.names if one != name]
        return deleted, {self._meta.label: deleted} if deleted else {}


@pytest.mark.parametrize("installed", [True, False])
def test_forget_removes_the_entry_of_the_case_from_the_database_of_beat(
    declared: Any, store: Store, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    entries = Entries("livecheck:shop.test_gone:frequency", f"livecheck:{CASE}:frequency", "livecheck:recover")
    site = SimpleNamespace(ready=True, is_installed=lambda _: installed, get_model=lambda *_: entries)
    monkeypatch.setitem(sys.modules, "django.apps", SimpleNamespace(apps=site))
    store.registry.register("shop.test_gone", {})
    lines = run("forget", "test_gone", "--yes").stdout.splitlines()
    assert lines[0] == "shop.test_gone: removed"
    removed = ["shop.test_gone: 1 entry removed from the database of django-celery-beat"]
    assert lines[1:] == (removed if installed else [])
    kept = [f"livecheck:{CASE}:frequency", "livecheck:recover"]
    assert entries.names == (kept if installed else ["livecheck:shop.test_gone:frequency", *kept])


def test_names_of_cases_are_completed(declared: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.registry.register("shop.test_other", {})
    ctx = cli.livecheck.make_context("livecheck", ["-A", "shop_app", "status"])
    param = cli.livecheck.params[0]
    assert [one.value for one in complete_case(ctx, param, "test_o")] == ["test_order", "test_other"]
    assert [one.value for one in complete_case(ctx, param, "shop.test_or")] == [CASE]

    def fail() -> None:
        raise OSError

    monkeypatch.setattr(store.registry, "cases", fail)
    assert complete_case(ctx, param, "") == []
