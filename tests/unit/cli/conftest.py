"""A terminal for the commands."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from livecheck_celery.cli import console
from tests.helpers.terminals import Screen


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The terminal that the commands print to; its width is COLUMNS."""
    screen = Screen()

    def open_console(**options: Any) -> Console:
        return Console(file=screen, force_terminal=True, color_system="standard", **options)

    monkeypatch.setattr(console, "Console", open_console)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen
