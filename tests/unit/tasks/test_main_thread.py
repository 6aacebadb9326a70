"""Another thread finds out where a worker's thread is, and has it run a function."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

from livecheck_celery.tasks.main_thread import MainThread
from tests.helpers.waiting import wait_until


def run_gevent(code: str) -> str:
    """Run ``code`` in a program that gevent has patched, with `in_native_thread`; return what it prints."""
    before = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent, threading, time
        from livecheck_celery.tasks.main_thread import MainThread
        from livecheck_celery.utils.native import native

        main, waiting = MainThread(), threading.Event()

        def in_native_thread(function):
            native("_thread", "start_new_thread")(function, ())

        def work():
            waiting.wait(60.0)

        def block():
            while not seen:
                pass
    """
    program = textwrap.dedent(before) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_function_runs_in_the_loop_of_the_worker() -> None:
    """In another loop, waiting for what the worker waits for is an InvalidThreadUseError in one of them."""
    code = """
        def end():
            main.run(lambda: (waiting.wait(0.1), print(threading.get_native_id() == worker)), 10.0)
            waiting.set()
        worker = threading.get_native_id()
        in_native_thread(end)
        work()
    """
    assert run_gevent(code) == "True\n"


def test_blocked_loop_delays_nothing() -> None:
    code = """
        seen = []
        def end():
            main.run(lambda: print("was run"), 0.1)
            seen.append(main.place())
        in_native_thread(end)
        block()
        print(*seen)
    """
    lines = run_gevent(code).splitlines()
    assert lines[0].startswith("<string>:")
    assert lines[0].endswith(" in block()")


def test_place_of_a_waiting_greenlet_is_where_it_waits() -> None:
    code = """
        def end():
            while not "work" in (place := main.place()):
                native("time", "sleep")(0.01)
            print(place)
            main.run(waiting.set, 10.0)
        in_native_thread(end)
        work()
    """
    assert run_gevent(code).rstrip().endswith(" in work()")


def test_place_in_a_thread_is_the_line_that_waits_in_the_standard_library() -> None:
    go, made = threading.Event(), []

    def work() -> None:
        made.append(MainThread())
        go.wait()

    thread = threading.Thread(target=work)
    thread.start()
    main = wait_until(lambda: made and made[0])
    wait_until(lambda: "in work()" in main.place(), what="the thread's wait")
    assert f"{__file__}:" in main.place()
    go.set()
    thread.join()
    assert main.place() == "an unknown place"


def test_function_that_raises_or_does_not_return_is_left() -> None:
    main, go = MainThread(), threading.Event()
    main.run(lambda: 1 / 0, 10.0)
    began = time.monotonic()
    main.run(go.wait, 0.1)
    assert time.monotonic() - began < 5.0
    go.set()
