"""Cases on the default app, for workers and beats that name this module."""

import asyncio
import sys
import time

from livecheck_celery import Case, LiveCheck, Signal, aio, current_execution, current_test

livecheck = LiveCheck()


@livecheck.case(warn_stalled_after="1h")
class test_plain(Case):
    """Checks in ``def run`` that all current tests and executions agree, before and after waiting."""

    go: Signal[str]

    def run(self, me: str, within: float = 30.0) -> None:
        check_context(self, me)
        got = self.go.wait(timeout=within)
        check_context(self, me)
        assert got == me, f"test {me} got the signal of test {got}"


@livecheck.case(warn_stalled_after="1h")
class test_async(aio.Case):
    """As `test_plain`, in ``async def run``."""

    go: aio.Signal[str]

    async def run(self, me: str, within: float = 30.0) -> None:
        check_context(self, me)
        got = await self.go.wait(timeout=within)
        check_context(self, me)
        assert got == me, f"test {me} got the signal of test {got}"


@livecheck.case(warn_stalled_after="1h", max_runtime=0.5)
class test_stubborn(Case):
    """Runs for longer than ``max_runtime``, and cannot be interrupted."""

    def run(self) -> None:
        time.sleep(3.0)  # outlasts max_runtime, then returns by itself


def end(how: str) -> None:
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    sys.exit("the script ends")


@livecheck.case(warn_stalled_after="1h")
class test_ending(Case):
    """Ends as a script does."""

    def run(self, how: str) -> None:
        end(how)


@livecheck.case(warn_stalled_after="1h")
class test_ending_async(aio.Case):
    """Ends as a script does, in a task of its own."""

    async def run(self, how: str) -> None:
        async def task() -> None:
            end(how)

        await asyncio.create_task(task())


@livecheck.case(frequency=1.0, warn_stalled_after="1h")
class test_faked(Case):
    """Is triggered by fake requests only."""

    asked: Signal[bool]

    def run(self) -> None:
        assert self.current_test.synthetic
        assert self.asked.wait(timeout=5.0), "the request was not marked as fake"

    def make_fake_request(self) -> None:
        with self.maybe_trigger() as test:
            self.asked.send(test.synthetic and current_test() is test)


def check_context(case: Case | aio.Case, me: str) -> None:
    for test in (current_test(), case.current_test, livecheck.current_test, current_execution().test):
        assert test.id == me, f"the context of test {me} has test {test}"
    for execution in (current_execution(), case.current_execution, livecheck.current_execution):
        assert execution.case is case
        assert execution.test.test_args == [me]
