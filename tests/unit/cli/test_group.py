"""The group: its commands, its errors, and how the app is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery
from click.testing import CliRunner, Result

from livecheck_celery import LiveCheck, cli
from livecheck_celery.store import Store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.livecheck, arguments)


@pytest.fixture
def suite(store: Store) -> LiveCheck:
    suite = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    suite.runtime.store = store

    @suite.case
    class test_order:
        pass

    return suite


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty module that -A can name."""
    module = ModuleType("shop_app")
    monkeypatch.setitem(sys.modules, "shop_app", module)
    return module


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: livecheck {name} ")
    assert "\\b" not in result.output


def test_the_group_lists_every_command() -> None:
    result = run("--help")
    listed = [line.split()[0] for line in result.output.partition("Commands:\n")[2].splitlines()]
    assert listed == list(cli.COMMANDS)


def test_version() -> None:
    assert run("--version").output.startswith("livecheck 0.")


def test_the_module_that_celery_imports_each_time_imports_no_command() -> None:
    code = (
        "import sys, livecheck_celery; before = set(sys.modules);"
        "import livecheck_celery.cli; print(sorted(set(sys.modules) - before))"
    )
    root = Path(cli.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['livecheck_celery.cli']"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["stats"], "no command named 'stats'", "did you mean status?"),
        (["frobnicate"], "no command named 'frobnicate'", "commands are: status, "),
        (["status", "-A", "shop"], "-A goes before the command", "livecheck -A module status"),
        (["status", "--jsn"], "No such option", "`livecheck status --help` explains it"),
        (["-A", "no_such_module", "status"], "no module named 'no_such_module'", "is it in this directory?"),
        (["-A", "json:nothing", "status"], "json has no attribute 'nothing'", "-A takes module:attribute"),
        (["-A", "json", "status"], "json holds neither a Celery app nor a LiveCheck", "name the module that does"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(arguments: list[str], error: str, hint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"Error: {error}")
    assert lines[1].startswith(f"Hint: {hint}")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("{}.missing", "AttributeError: 'dict' object has no attribute 'missing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = = 1", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported(
    code: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_cases.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    result = run("-A", "broken_cases", "status")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: cannot import broken_cases: {error}")
    assert result.stderr.endswith("Hint: `python -c 'import broken_cases'` shows where\n")


def test_a_setting_that_is_wrong_is_an_error_of_one_line(shop: ModuleType) -> None:
    shop.livecheck = LiveCheck(Celery("shop", set_as_current=False), redis_url="redis://fake", test_concurrency=0)
    result = run("-A", "shop_app", "status")
    assert result.exit_code == 2
    assert result.stderr == "Error: LiveCheck: test_concurrency: Input should be greater than or equal to 1\n"


def test_a_celery_app_stands_for_the_livechecks_made_on_it(shop: ModuleType, suite: LiveCheck) -> None:
    shop.app = suite.app
    assert "test_order" in run("-A", "shop_app", "status").stdout


def test_a_livecheck_stands_for_itself(shop: ModuleType, suite: LiveCheck) -> None:
    shop.checks = suite
    assert "test_order" in run("-A", "shop_app:checks", "status").stdout


@pytest.mark.parametrize("other", ["not a Celery app", None])
def test_a_livecheck_is_found_in_its_module(shop: ModuleType, suite: LiveCheck, other: str | None) -> None:
    shop.checks = suite
    if other:
        shop.app = other  # a web application, say
    assert "test_order" in run("-A", "shop_app", "status").stdout


def test_livechecks_on_one_app_are_shown_together_and_once(shop: ModuleType, suite: LiveCheck, store: Store) -> None:
    second = LiveCheck(suite.app, redis_url="redis://fake:6379/0")
    second.runtime.store = store

    @second.case
    class test_payment:
        pass

    store.registry.register(second.cases.popitem()[0], {"signals": []})
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    shop.app = suite.app
    lines = run("-A", "shop_app", "status").stdout.splitlines()
    assert [line.split()[0].rpartition(".")[2] for line in lines] == ["CASE", "test_order", "test_payment"]


def test_the_modules_that_the_app_imports_are_loaded(
    shop: ModuleType, suite: LiveCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_cases.py").write_text("import shop_app\nshop_app.loaded = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    suite.app.conf.imports = ("late_cases",)
    shop.app = suite.app
    assert run("-A", "shop_app", "cases").exit_code == 0
    assert shop.loaded


def test_an_import_of_the_app_that_fails_is_an_error_of_one_line(shop: ModuleType, suite: LiveCheck) -> None:
    suite.app.conf.imports = ("no_such_cases",)
    shop.app = suite.app
    result = run("-A", "shop_app", "cases")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: cannot load the modules the app names: ModuleNotFoundError: No module")
