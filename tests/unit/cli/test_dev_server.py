"""Other commands find the server of a running ``dev`` of the same app in the same directory."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from livecheck_celery.cli.dev_server import URL_VARIABLES, announced, default_url, record_path, running_server


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    for variable in URL_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def url() -> Iterator[str]:
    """A server that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_server_is_found_while_dev_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running_server("shop") is None
    with announced("shop", url):
        assert running_server("shop") == url
        assert running_server("stock") is None, "another app"
        assert stat.S_IMODE(record_path("shop").parent.stat().st_mode) == 0o700
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert running_server("shop") is None, "another directory can hold another shop"
        monkeypatch.chdir(tmp_path)
    assert running_server("shop") is None
    assert not record_path("shop").parent.exists()


@pytest.mark.parametrize("record", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "url": 3}'])
def test_unreadable_record_is_ignored(record: str) -> None:
    record_path("shop").parent.mkdir(parents=True)
    record_path("shop").write_text(record)
    assert running_server("shop") is None


def test_record_of_a_dev_that_was_killed_is_ignored(url: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    record_path("shop").parent.mkdir(parents=True)
    record_path("shop").write_text(json.dumps({"pid": dead.pid, "url": url}))
    assert running_server("shop") is None
    record_path("shop").write_text(json.dumps({"pid": os.getpid(), "url": "redis://127.0.0.1:1/0"}))
    assert running_server("shop") is None, "its process id was used again; its server does not answer"


def test_later_dev_keeps_its_record(url: str) -> None:
    with announced("shop", "redis://127.0.0.1:1/0"):
        record_path("shop").write_text(json.dumps({"pid": os.getppid(), "url": url}))
    assert record_path("shop").exists()


def test_server_is_the_default_only_without_one_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with default_url("redis://a") as added:
        assert dict.fromkeys(URL_VARIABLES, "redis://a") == added
        assert os.environ["LIVECHECK_REDIS_URL"] == "redis://a"
    assert "LIVECHECK_REDIS_URL" not in os.environ
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://given")
    with default_url("redis://a") as added:
        assert added == {}
    assert os.environ["CELERY_BROKER_URL"] == "redis://given"
