from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from celery import Celery

from livecheck_celery import LiveCheck
from livecheck_celery.utils.lazy import lazy
from tests.helpers.waiting import at_once


class Slow:
    def __init__(self) -> None:
        self.made = 0

    @lazy
    def thing(self) -> object:
        """Made slowly, so that all who ask at the same moment meet."""
        self.made += 1
        threading.Event().wait(0.05)
        return object()


def test_it_is_made_once_however_many_ask_at_the_same_moment() -> None:
    slow = Slow()
    assert len(set(at_once(20, lambda _: slow.thing))) == 1
    assert slow.made == 1


@pytest.mark.promise("Each part of a LiveCheck is created once, however many threads use it first.", theme="verdicts")
@pytest.mark.parametrize("name", ["settings", "runtime", "gate"])
def test_each_part_of_a_livecheck_is_there_once(name: str) -> None:
    for _ in range(20):
        livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))
        assert len({id(part) for part in at_once(20, lambda _, lc=livecheck: getattr(lc, name))}) == 1  # type: ignore[misc]


def test_a_child_is_not_locked_out_by_a_thread_it_does_not_have() -> None:
    slow = Slow()
    maker = threading.Thread(target=lambda: slow.thing)
    maker.start()
    child = os.fork()
    if child == 0:
        fresh = Slow()
        _ = fresh.thing
        os._exit(0 if fresh.made == 1 else 1)
    maker.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_packages_own_app_is_there_once(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from livecheck_celery.default_app import default_app\n"
        "barrier, apps = threading.Barrier(20), []\n"
        "def ask(): barrier.wait(); apps.append(default_app())\n"
        "threads = [threading.Thread(target=ask) for _ in range(20)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(apps), len({id(app) for app in apps}))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["20", "1"]
