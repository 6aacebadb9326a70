"""The guard that ends the processes of a supervisor that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from livecheck_celery.cli import process_guard

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def test_group_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_guard, "GRACE", 0.2)
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            process_guard.main([f"{child.pid}"])
            assert child.wait(10) == -signal.SIGKILL
        finally:
            child.kill()
