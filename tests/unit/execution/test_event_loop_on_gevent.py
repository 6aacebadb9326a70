"""Event loops on gevent, where all greenlets are in one thread of the system, which runs one loop of asyncio."""

from __future__ import annotations

import textwrap

import pytest

from tests.helpers.scripts import run_script

_BEFORE = """
    import gevent.monkey
    gevent.monkey.patch_all()
    import asyncio, gevent, gevent.event, time
    from livecheck_celery.execution import loop_watch
    from livecheck_celery.execution.event_loop import EventLoop

    async def answer(value, seconds=0.0):
        await asyncio.sleep(seconds)
        return value
"""


def run_gevent(code: str) -> str:
    """Run ``code`` in a program that gevent has patched, for 30 s at most; return what it prints."""
    body = textwrap.indent(textwrap.dedent(code), "    ")
    return run_script(f"{textwrap.dedent(_BEFORE)}\nwith gevent.Timeout(30):\n{body}").stdout


@pytest.mark.promise("On gevent, several LiveChecks of a process run coroutines, and end.", theme="aio")
def test_two_event_loops_run_coroutines_at_the_same_time() -> None:
    code = """
        one, other = EventLoop(), EventLoop()
        waiting = one.start(answer("one", 0.2), "test")
        print(other.finish(answer("other")), waiting.result())
        one.close()
        print(other.finish(answer("after close")))
        other.close()
        print(one.finish(answer("again")))
        one.close()
    """
    assert run_gevent(code) == "other one\nafter close\nagain\n"


def test_loop_of_the_application_is_not_disturbed() -> None:
    """A loop that cannot begin must let other greenlets run meanwhile."""
    code = """
        loop, began = EventLoop(), gevent.event.Event()

        async def application():
            began.set()
            return await answer("application", 0.2)

        running = gevent.spawn(asyncio.run, application())
        began.wait()
        print(loop.finish(answer("test")), running.get())
        loop.close()
    """
    assert run_gevent(code) == "test application\n"


def test_blocked_loop_is_not_replaced() -> None:
    code = """
        loop_watch.REPLACED_AFTER = 0.2
        loop = EventLoop()

        async def block():
            time.sleep(1.5)
            return "blocked"

        blocking = loop.start(block(), "test")
        time.sleep(1.0)  # after which another loop would be used
        print(loop.finish(answer("next")), blocking.result())
        loop.close()
    """
    assert run_gevent(code) == "next blocked\n"
