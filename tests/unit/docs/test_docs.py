"""Documentation speaks of what exists: settings, tests, links, and a first example that runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery

import livecheck_celery
from livecheck_celery import Case, LiveCheck, State
from livecheck_celery.cases.arguments import build
from livecheck_celery.config import CaseSettings, Settings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.promise("Every link and every test that a page names exists.", theme="docs")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_and_link_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`(tests/[\w/*.]+\.py)`", text))
    tests = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    linked = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    missing = [name for name in named if not list(ROOT.glob(name))]
    missing += [f"{file}::{test}" for file, test in tests if f"def {test}(" not in _text(ROOT / file)]
    missing += [link for link in linked if not (page.parent / link).exists()]
    assert not missing


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    first_columns = " ".join(re.findall(r"^\|([^|]+)\|", text, re.MULTILINE))
    names = re.findall(r"`(\w+)`", first_columns)
    documented = {f"url_error_delay{name}" if name.startswith("_") else name for name in names}
    assert documented == Settings.model_fields.keys() | CaseSettings.model_fields.keys()


@pytest.mark.promise("The first example of the README runs.", theme="docs")
def test_the_first_example_runs_and_is_25_lines(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    [example] = re.findall(r"```python\n# checks\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(example.strip().splitlines()) <= 25
    app = Celery("shop", broker=redis_url, set_as_current=False)
    monkeypatch.setattr(livecheck_celery, "LiveCheck", lambda: LiveCheck(app))
    module = ModuleType("checks")
    monkeypatch.setitem(sys.modules, "checks", module)
    exec(compile(example, "checks.py", "exec"), vars(module))
    case = module.test_order
    assert isinstance(case, Case)
    case.order_stored.send(module.Order("o-1", "sell"), key="o-1", force=True)
    case.app.runtime.outbox.flush()
    runner = case.execute(build(case, "o-1", (), {"side": "buy"}))
    assert runner.state is State.FAIL
    assert "asked to buy, stored as sell" in str(runner.error)
    case.app.close()
