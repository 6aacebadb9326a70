"""Overrides that are signed again, so that an older key can be removed."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery.store import Store
from tests.helpers.factories import CASE, make_settings

OLD, NEW, FOREIGN = "o" * 32, "n" * 32, "f" * 32


def registry(redis_url: str, *keys: str) -> Any:
    return Store(make_settings(redis_url, secret_key=keys)).registry


@pytest.fixture
def overridden(redis_url: str) -> str:
    """The URL of a Redis with overrides of two cases."""
    registry(redis_url, OLD).override(CASE, {"active": False}, by="alice", reason="load", expires_in=600)
    registry(redis_url, OLD).override(CASE, {"probability": 0.25}, merge=True, by="bob")
    registry(redis_url, OLD).override("shop.test_other", {"active": False})
    return redis_url


def test_override_signed_again_is_valid_without_the_older_key(overridden: str) -> None:
    before = registry(overridden, OLD).snapshot()
    both = registry(overridden, NEW, OLD)
    assert both.sign_again(CASE) == ["active", "probability"]
    after = registry(overridden, NEW).snapshot()
    assert after.overrides == {CASE: {"active": False, "probability": 0.25}}
    assert after.notes[CASE] == before.notes[CASE], "author, reason and end are the same"
    assert after.revision != before.revision, "other processes read them again"
    assert list(after.refused) == ["override:active:shop.test_other"]


def test_override_that_no_key_has_signed_is_not_signed_again(overridden: str) -> None:
    registry(overridden, FOREIGN).override(CASE, {"probability": 1.0}, merge=True)
    assert registry(overridden, NEW, OLD).sign_again(CASE) == ["active"]
    assert registry(overridden, NEW, OLD).snapshot().overrides[CASE] == {"active": False}
    assert registry(overridden, NEW, OLD).sign_again("shop.unknown") == []
