"""A terminal for the commands, and a module for ``-A``."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from rich.console import Console

from livecheck_celery import LiveCheck, Signal
from livecheck_celery.cli import console
from livecheck_celery.store import Store
from tests.helpers.reading import CASE
from tests.helpers.terminals import Screen


@pytest.fixture(autouse=True)
def objects_are_collected() -> Iterator[None]:
    """A command keeps the objects of its process, and has fewer collections."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def livecheck(store: Store, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    """The instance that ``-A shop_app`` selects; it has no cases."""
    livecheck = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    livecheck.runtime.store = store
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    module = ModuleType("shop_app")
    module.app = livecheck.app
    monkeypatch.setitem(sys.modules, "shop_app", module)
    return livecheck


@pytest.fixture
def declared(livecheck: LiveCheck) -> Any:
    """Declare `CASE`."""

    @livecheck.case(name=CASE, probability=0.005, frequency=90, test_expires="1h")
    class test_order:
        stored: Signal[str]
        sent: Signal[int]

    return test_order


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The terminal that the commands print to; its width is COLUMNS."""
    screen = Screen()

    def open_console(**options: Any) -> Console:
        return Console(file=screen, force_terminal=True, color_system="standard", **options)

    monkeypatch.setattr(console, "Console", open_console)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen
