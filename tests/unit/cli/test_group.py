"""The command group: its commands, its errors, and how ``-A`` is resolved."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from celery import Celery
from celery.bin import celery as celery_main
from click.testing import Result

from livecheck_celery import LiveCheck, cli
from livecheck_celery.cli import discovery
from livecheck_celery.cli.dev_server import URL_VARIABLES
from livecheck_celery.store import Store
from tests.helpers.cli_runner import invoke
from tests.helpers.scripts import run_script


def run(*arguments: str) -> Result:
    return invoke(cli.livecheck, arguments)


@pytest.fixture
def livecheck(store: Store) -> LiveCheck:
    livecheck = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    livecheck.runtime.store = store

    @livecheck.case
    class test_order:
        pass

    return livecheck


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty module for -A."""
    module = ModuleType("shop_app")
    monkeypatch.setitem(sys.modules, "shop_app", module)
    return module


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: livecheck {name} ")
    assert "\\b" not in result.output
    assert "\n  Exit codes:\n" in result.output
    assert "\n  Examples:\n    " in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_group_help_lists_every_command() -> None:
    result = run("--help")
    commands = result.output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in commands] == list(cli.COMMANDS)
    assert not any(line.endswith("...") for line in commands)


@pytest.mark.parametrize("enabled", [True, False])
def test_objects_of_the_app_are_not_collected_again(
    livecheck: LiveCheck, shop: ModuleType, monkeypatch: pytest.MonkeyPatch, enabled: bool
) -> None:
    was_enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    seen = []
    monkeypatch.setattr(discovery, "_find", lambda *_: seen.append(gc.isenabled()) or [livecheck])
    (gc.enable if enabled else gc.disable)()
    try:
        result = run("-A", "shop_app", "cases")
        assert (seen, gc.isenabled()) == ([False], enabled), result.output
        assert gc.get_freeze_count() > frozen
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_version() -> None:
    assert run("--version").output.startswith("livecheck 0.")


@pytest.mark.parametrize("arguments", [["-A", "shop_app"], ["-Ashop_app"], ["--app=shop_app"], []], ids=str)
def test_celery_selects_the_app_and_its_dev_by_the_name_as_livecheck_does(
    livecheck: LiveCheck, shop: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    shop.app = livecheck.app
    arguments = [*arguments, "livecheck", "cases"]
    monkeypatch.setenv("APP", "shop_app")  # for no arguments
    monkeypatch.setattr(sys, "argv", ["celery", *arguments])
    names = []
    monkeypatch.setattr(discovery, "running_server", names.append)
    result = invoke(celery_main.celery, arguments)
    assert names == ["shop_app"], result.output
    assert "test_order" in result.output


def test_module_that_every_celery_command_imports_does_not_import_the_commands() -> None:
    code = (
        "import sys, livecheck_celery.cli;"
        "print(sorted(name for name in sys.modules if name.startswith('livecheck_celery.')))"
    )
    root = Path(cli.__file__).parents[2]
    assert run_script(code, cwd=root).stdout.strip() == "['livecheck_celery.cli']"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["stats"], "unknown command 'stats'", "did you mean status?"),
        (["frobnicate"], "unknown command 'frobnicate'", "commands: status, "),
        (["status", "-A", "shop"], "-A must be given before the command", "livecheck -A MODULE status"),
        (["status", "--jsn"], "No such option", "`livecheck status --help` lists arguments and options"),
        (
            ["-A", "no_such_module", "status"],
            "no module named 'no_such_module' (-A no_such_module)",
            "run the command in",
        ),
        (
            ["-A", "shop/checks.py", "status"],
            "-A 'shop/checks.py' is not the name of a module",
            "give its name, such as checks",
        ),
        (
            ["-A", "./shop", "status"],
            "-A './shop' is not the name of a module, or module:attribute",
            "such as shop.checks",
        ),
        (
            ["-A", "shop:", "status"],
            "-A 'shop:' is not the name of a module, or module:attribute",
            "such as shop.checks",
        ),
        (["-A", "json:nothing", "status"], "json has no attribute 'nothing'", "-A takes module:attribute"),
        (["-A", "json", "status"], "json defines neither a Celery app nor a LiveCheck", "give the module that does"),
    ],
)
def test_invalid_input_prints_an_error_and_a_hint(arguments: list[str], error: str, hint: str) -> None:
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
def test_module_that_fails_to_import_is_an_error(
    code: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_cases.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    result = run("-A", "broken_cases", "status")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: cannot import broken_cases: {error}")
    assert result.stderr.endswith("Hint: `python -c 'import broken_cases'` shows the traceback\n")


def test_invalid_setting_is_an_error_of_one_line(shop: ModuleType) -> None:
    shop.livecheck = LiveCheck(Celery("shop", set_as_current=False), redis_url="redis://fake", test_concurrency=0)
    result = run("-A", "shop_app", "status")
    assert result.exit_code == 2
    assert result.stderr == "Error: LiveCheck: test_concurrency: must be at least 1, not 0\n"


def test_celery_app_selects_the_livechecks_on_it(shop: ModuleType, livecheck: LiveCheck) -> None:
    shop.app = livecheck.app
    assert "test_order" in run("-A", "shop_app", "status").stdout


def test_livecheck_can_be_named_by_attribute(shop: ModuleType, livecheck: LiveCheck) -> None:
    shop.checks = livecheck
    assert "test_order" in run("-A", "shop_app:checks", "status").stdout


@pytest.mark.parametrize("other", ["not a Celery app", None])
def test_livecheck_is_found_in_a_module_without_a_celery_app(
    shop: ModuleType, livecheck: LiveCheck, other: str | None
) -> None:
    shop.checks = livecheck
    if other:
        shop.app = other  # for example a web application
    assert "test_order" in run("-A", "shop_app", "status").stdout


def test_lazy_objects_of_the_module_are_not_evaluated(shop: ModuleType, livecheck: LiveCheck) -> None:
    class Lazy:
        @property
        def __class__(self) -> type:  # as Django's and Werkzeug's
            raise AssertionError("evaluated")

    shop.settings, shop.checks = Lazy(), livecheck
    result = run("-A", "shop_app", "cases")
    assert result.exit_code == 0, result.output
    assert "test_order" in result.stdout


def test_livechecks_on_one_app_are_shown_together_without_duplicates(
    shop: ModuleType, livecheck: LiveCheck, store: Store
) -> None:
    second = LiveCheck(livecheck.app, redis_url="redis://fake:6379/0")
    second.runtime.store = store

    @second.case
    class test_payment:
        pass

    store.registry.register(second.cases.popitem()[0], {"signals": []})
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    shop.app = livecheck.app
    lines = run("-A", "shop_app", "status").stdout.splitlines()
    assert [line.split()[0].rpartition(".")[2] for line in lines] == ["CASE", "test_order", "test_payment"]


def test_modules_of_the_app_are_imported(
    shop: ModuleType, livecheck: LiveCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_cases.py").write_text("import shop_app\nshop_app.loaded = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    livecheck.app.conf.imports = ("late_cases",)
    shop.app = livecheck.app
    assert run("-A", "shop_app", "cases").exit_code == 0
    assert shop.loaded


def test_failing_import_of_the_app_is_an_error_of_one_line(shop: ModuleType, livecheck: LiveCheck) -> None:
    livecheck.app.conf.imports = ("no_such_cases",)
    shop.app = livecheck.app
    result = run("-A", "shop_app", "cases")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "Error: cannot import the modules of the Celery app: ModuleNotFoundError: No module"
    )


def test_error_of_livecheck_in_a_module_is_shown_as_it_is(
    shop: ModuleType, livecheck: LiveCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "refusing_cases.py").write_text(
        "from livecheck_celery import ConfigurationError\nraise ConfigurationError('no url for test_order')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    livecheck.app.conf.imports = ("refusing_cases",)
    shop.app = livecheck.app
    for name in ("refusing_cases", "shop_app"):
        assert run("-A", name, "cases").stderr == "Error: no url for test_order\n"


def test_app_of_a_module_is_the_default_without_a_name(
    livecheck: LiveCheck, shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.app = livecheck.app
    monkeypatch.setitem(sys.modules, "livecheck_celery.worker", shop)
    assert "test_order" in run("cases").stdout


def test_name_of_the_app_is_known_to_a_celery_that_replaces_it_with_the_app(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["celery", "-A", "shop_app", "livecheck", "dev"])
    ctx = click.Context(celery_main.celery)
    ctx.params["app"] = livecheck.app
    assert discovery.app_name(ctx) == "shop_app"


def test_app_without_a_server_has_that_of_a_running_dev(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its settings were read before, as by `celery`, which imports the app itself."""
    for variable in URL_VARIABLES:
        monkeypatch.setenv(variable, "")  # so that what the command sets is removed
    shop.checks = LiveCheck(Celery("shop", set_as_current=False))
    before = shop.checks.settings.redis_url
    url = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(discovery, "running_server", lambda name: url if name == "shop_app" else None)
    [found] = discovery.find_livechecks(context("shop_app"))
    assert (found, found.settings.redis_url) == (shop.checks, url)
    assert before != url
    assert os.environ["LIVECHECK_BROKER_URL"] == url, "for settings that are read later"


def test_app_that_names_a_server_keeps_it_while_a_dev_runs(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in URL_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    shop.checks = LiveCheck(Celery("shop", set_as_current=False), redis_url="redis://shop:6379/0")
    monkeypatch.setattr(discovery, "running_server", lambda _: "redis://127.0.0.1:1/0")
    [found] = discovery.find_livechecks(context("shop_app"))
    assert found.settings.redis_url == "redis://shop:6379/0"
    assert not any(map(os.environ.get, URL_VARIABLES))


def context(name: str) -> click.Context:
    return cli.livecheck.make_context("livecheck", ["-A", name, "status"])


def test_console_script_finds_modules_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["livecheck", "--version"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert (exited.value.code, sys.path[0]) == (0, str(tmp_path))
    assert capsys.readouterr().out.startswith("livecheck 0.")


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_environment_can_refuse_colours(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    colours: list[bool | None] = []

    @click.command()
    @click.pass_context
    def show(ctx: click.Context) -> None:
        colours.append(ctx.find_root().color)

    monkeypatch.setattr(cli.CommandGroup, "get_command", lambda *_: show)
    monkeypatch.setenv(variable, value)
    assert run("status").exit_code == 0
    assert colours == [False]
