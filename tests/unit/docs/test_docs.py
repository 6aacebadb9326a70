"""Documentation: names and links exist, generated pages are up to date, and the first example runs."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from celery import Celery

import livecheck_celery
from livecheck_celery import Case, LiveCheck, State, errors
from livecheck_celery.cases.arguments import build
from tools import docs

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
API = (ROOT / "docs" / "api.md").read_text()


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


@pytest.mark.promise("The pages of settings, promises and the Python API are generated from the code.", theme="docs")
@pytest.mark.parametrize("name", docs.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs.PAGES[name](ROOT), "run: python -m tools.docs"


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [
        page for section in SITE["nav"] for pages in section.values() for entry in pages for page in entry.values()
    ]
    made = [name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md")]
    assert sorted(listed) == sorted([*made, *(page.name for page in (ROOT / "docs").glob("*.md"))])


def test_the_repository_has_the_same_name_everywhere() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert SITE["repo_url"] == urls["Repository"]
    assert {url.removeprefix(urls["Repository"])[:1] for url in urls.values()} == {"", "/"}
    elsewhere = {
        f"{page.name}: {url}"
        for page in PAGES
        for url in re.findall(r"https://github\.com/[\w.-]+/[\w-]+", page.read_text())
        if "livecheck" in url and url != urls["Repository"]
    }
    assert not elsewhere


def test_the_api_reference_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: livecheck_celery\.(\w+)$", API, re.MULTILINE))
    errors_module = {name for name in vars(errors) if not name.startswith("_")}
    assert set(livecheck_celery.__all__) - shown - errors_module == set()
    assert "`livecheck_celery.app`" in API


def test_the_members_that_the_api_reference_lists_exist() -> None:
    listed = re.findall(r"^::: ([\w.]+)\n    options:\n      members: \[(.*)\]$", API, re.MULTILINE)
    assert listed
    for path, members in listed:
        module, _, name = path.rpartition(".")
        owner = getattr(import_module(module), name)
        assert [member for member in members.split(", ") if not hasattr(owner, member)] == []


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
    runner = case.execute_here(build(case, "o-1", (), {"side": "buy"}))
    assert runner.state is State.FAIL
    assert "asked to buy, stored as sell" in str(runner.error)
    case.app.close()
