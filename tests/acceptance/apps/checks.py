"""Cases on the package's own app, for whoever names this module."""

import time

from livecheck_celery import Case, LiveCheck, Signal, current_execution, current_test

livecheck = LiveCheck()


@livecheck.case(warn_stalled_after="1h")
class test_plain(Case):
    """``def run``: everything that tells which test this is agrees, before and after it has waited."""

    go: Signal[str]

    def run(self, me: str, within: float = 30.0) -> None:
        look(self, me)
        got = self.go.wait(timeout=within)
        look(self, me)
        assert got == me, f"test {me} got the signal of test {got}"


@livecheck.case(warn_stalled_after="1h")
class test_async(Case):
    """``async def run``, the same."""

    go: Signal[str]

    async def run(self, me: str, within: float = 30.0) -> None:
        look(self, me)
        got = await self.go.wait_async(timeout=within)
        look(self, me)
        assert got == me, f"test {me} got the signal of test {got}"


@livecheck.case(warn_stalled_after="1h", max_runtime=0.5)
class test_stubborn(Case):
    """Goes on after its time, and waits for nothing that could be interrupted."""

    def run(self) -> None:
        time.sleep(3.0)


@livecheck.case(frequency=1.0, warn_stalled_after="1h")
class test_faked(Case):
    """Triggered by fake requests only."""

    asked: Signal[bool]

    def run(self) -> None:
        assert self.current_test.synthetic
        assert self.asked.wait(timeout=5.0), "the request was not marked as a fake one"

    def make_fake_request(self) -> None:
        with self.maybe_trigger() as test:
            self.asked.send(test.synthetic and current_test() is test)


def look(case: Case, me: str) -> None:
    for test in (current_test(), case.current_test, livecheck.current_test, current_execution().test):
        assert test.id == me, f"test {me} was told it is {test}"
    for execution in (current_execution(), case.current_execution, livecheck.current_execution):
        assert execution.case is case
        assert execution.test.test_args == [me]
