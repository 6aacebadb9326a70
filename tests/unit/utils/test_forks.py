"""Renewal of objects after a fork, and times shared with forked children."""

from __future__ import annotations

import gc
import io
import os
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from livecheck_celery.utils.forks import EndForkedChildren, SharedMoment, at_exit_of_child, renew_after_fork


class Owner:
    def __init__(self) -> None:
        self.renewed_in: list[int] = []
        renew_after_fork(self)

    def after_fork(self) -> None:
        self.renewed_in.append(os.getpid())


def succeeds_in_child(check: Callable[[], bool]) -> bool:
    """Whether ``check()`` is true in a forked child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_object_is_renewed_in_the_child_only() -> None:
    owner = Owner()
    assert succeeds_in_child(lambda: owner.renewed_in == [os.getpid()])
    assert owner.renewed_in == []


def test_registered_object_is_not_kept_alive() -> None:
    owner = Owner()
    alive = weakref.ref(owner)
    del owner
    gc.collect()
    assert alive() is None


def test_moment_is_zero_until_set_and_shared_with_children() -> None:
    moment = SharedMoment()
    assert moment.get() == 0.0
    moment.set(12.5)
    assert succeeds_in_child(lambda: (moment.get() == 12.5, moment.set(99.25))[0])
    assert moment.get() == 99.25


class Child:
    """This process, as a child of the one that enters the block."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exits: list[int] = []
        monkeypatch.setattr(os, "_exit", self.exits.append)
        self._monkeypatch = monkeypatch

    def leave_by(self, error: BaseException | None) -> None:
        """Leave a block that the parent has entered."""
        block = EndForkedChildren()
        with self._monkeypatch.context() as patch:
            patch.setattr(os, "getpid", os.getppid)
            block.__enter__()
        block.__exit__(type(error), error, None)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    return Child(monkeypatch)


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (None, 0, ""),
        (SystemExit(), 0, ""),
        (SystemExit(7), 7, ""),
        (SystemExit("no"), 1, ""),
        (ValueError("wrong side"), 1, "ValueError: wrong side\n"),
    ],
    ids=["returns", "exits", "exits with 7", "exits with text", "raises"],
)
def test_forked_child_exits_at_the_end_of_the_block(
    capsys: pytest.CaptureFixture[str], child: Child, error: BaseException | None, code: int, printed: str
) -> None:
    child.leave_by(error)
    assert child.exits == [code]
    assert capsys.readouterr().err == printed


def test_forked_child_exits_although_its_output_is_closed(monkeypatch: pytest.MonkeyPatch, child: Child) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, closed)
    child.leave_by(ValueError("wrong side"))
    assert child.exits == [1]


def test_parent_leaves_the_block_as_any_other(child: Child) -> None:
    with pytest.raises(ValueError, match="wrong side"), EndForkedChildren():
        raise ValueError("wrong side")
    assert child.exits == []


@pytest.fixture
def finalizers(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What this process calls at its exit, as a child of `multiprocessing`."""
    finalizers: list[Callable[[], object]] = []
    process, util = ModuleType("multiprocessing.process"), ModuleType("multiprocessing.util")
    modules: Any = process, util
    modules[0].current_process = type("ForkProcess", (), {})
    modules[1].Finalize = lambda _, call, exitpriority: finalizers.append(call)
    monkeypatch.setitem(sys.modules, "multiprocessing.process", process)
    monkeypatch.setitem(sys.modules, "multiprocessing.util", util)
    return finalizers


def test_method_is_called_at_the_exit_of_a_child_while_its_object_lives(
    finalizers: list[Callable[[], object]],
) -> None:
    owner = Owner()
    at_exit_of_child(owner.after_fork)
    [finalize] = finalizers
    finalize()
    assert owner.renewed_in == [os.getpid()]
    alive = weakref.ref(owner)
    del owner
    gc.collect()
    assert alive() is None
    finalize()
