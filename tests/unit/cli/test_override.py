"""Overrides from the command line."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from livecheck_celery.store import Store
from tests.helpers.reading import CASE, run
from tests.helpers.waiting import wait_until


def test_override_applies_until_it_is_cleared(declared: Any, store: Store) -> None:
    result = run("override", "test_order", "--inactive", "--probability", "0.25")
    assert (result.exit_code, result.stdout) == (
        0,
        f"{CASE}: active is False, probability is 0.25; takes effect in every process within 5 s\n",
    )
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {CASE: {"active": False, "probability": 0.25}}
    shown = run("cases").stdout
    assert re.search(r"probability +0\.25 \(overridden\)", shown)
    assert re.search(r"active +False \(overridden\)", shown)
    [case] = json.loads(run("status", "--json").stdout)["cases"]
    assert (case["active"], case["probability"]) == (False, 0.25)

    assert "override removed" in run("override", "test_order", "--clear").stdout
    assert re.search(r"probability +0\.005$", run("cases").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((CASE, "--inactive", "--until", "yesterday"), "--until 'yesterday' is not in the future"),
        ((CASE, "--inactive", "--until", "2020-01-01"), "--until '2020-01-01' is not in the future"),
        ((CASE, "--inactive", "--until", "0s"), "--until '0s' is not in the future"),
        ((CASE,), "give --active, --inactive or --probability, or else --clear or --sign-again"),
        ((CASE, "--clear", "--active"), "give --active, --inactive or --probability, or else --clear"),
        ((CASE, "--probability", "2"), f"case {CASE}: probability: must be at most 1, not 2"),
        (("test_ordre", "--active"), f"unknown case 'test_ordre' Hint: did you mean {CASE}?"),
    ],
)
def test_invalid_override_is_refused(declared: Any, options: tuple[str, ...], problem: str) -> None:
    result = run("override", *options)
    assert result.exit_code == 2
    assert problem in result.stderr.replace("\n", " ")


def test_override_of_another_option_survives(declared: Any, store: Store) -> None:
    run("override", "test_order", "--probability", "0.25", "--by", "alice", "--reason", "too much load")
    result = run("override", "test_order", "--inactive", "--until", "2h", "--by", "bob")
    assert result.stdout.splitlines()[1] == f"{CASE}: still overridden: probability is 0.25"
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {CASE: {"active": False, "probability": 0.25}}
    active, probability = snapshot.notes[CASE]["active"], snapshot.notes[CASE]["probability"]
    assert (active.by, probability.by, probability.reason) == ("bob", "alice", "too much load")
    assert probability.expires_at is None
    assert active.expires_at == pytest.approx(store.time() + 7200, abs=5)
    shown = run("status").stdout
    assert "inactive (overridden)" in shown
    assert re.search(rf"{CASE}: active is overridden with False, by bob, \d s ago, until 2\d{{3}}-", shown)
    assert re.search(rf"{CASE}: probability is overridden with 0.25, by alice, \d s ago: too much load", shown)
    assert "by alice" in run("cases").stdout


@pytest.mark.promise("An override with an end expires by itself.", theme="cases")
def test_override_expires_by_the_clock_of_redis(declared: Any, store: Store) -> None:
    run("override", "test_order", "--probability", "0.25", "--until", "300ms")
    run("override", "test_order", "--inactive")
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {CASE: {"active": False, "probability": 0.25}}
    later = wait_until(lambda: store.registry.snapshot(snapshot.revision), what="a new revision")
    assert later.overrides == {CASE: {"active": False}}
    assert later.notes[CASE].keys() == {"active"}
    assert store.registry.snapshot(later.revision) is None
    assert store.client.hget(store.keys.shared, "next_expiry") is None


def test_override_with_the_earliest_end_expires_first(store: Store) -> None:
    store.registry.override("a", {"active": False}, expires_in=600)
    store.registry.override("b", {"active": False}, expires_in=0.05)
    store.registry.override("c", {"active": False})
    found = wait_until(lambda: (each := store.registry.snapshot()) and "b" not in each.overrides and each)
    assert found.overrides == {"a": {"active": False}, "c": {"active": False}}
    assert float(store.client.hget(store.keys.shared, "next_expiry")) == pytest.approx(store.time() + 600, abs=5)


def test_overrides_are_signed_again(declared: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no secret_key" in run("override", "test_order", "--sign-again").stderr.replace("\n", " ")
