"""What a type checker knows of cases: types of values, and a forgotten ``await``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

#: Each line has the error, or the type, that mypy finds in it.
CASES: Final = """
from dataclasses import dataclass

import livecheck_celery
from livecheck_celery import aio


@dataclass
class Order:
    side: str


class test_order(aio.Case):
    stored: aio.Signal[Order]
    sold: aio.Signal[str] = aio.Signal(times=1)

    async def run(self, side: str) -> None:
        order = await self.stored.wait(timeout=10)
        reveal_type(order)  # Order
        reveal_type(await self.sold.wait())  # str
        forgotten: Order = self.stored.wait()  # assignment
        self.stored.wait()  # unused-coroutine
        self.stored.send(order)
        await self.stored.send(order)
        self.stored.send("buy")  # arg-type
        self.get_url("http://shop/")  # unused-coroutine

    async def on_test_pass(self, runner: aio.TestRunner) -> None:
        super().on_test_pass(runner)  # unused-coroutine
        await super().on_test_pass(runner)

    def on_test_start(self, runner: aio.TestRunner) -> None:  # override
        pass


async def trigger(case: test_order) -> None:
    case.trigger("x")  # unused-coroutine
    reveal_type(await case.trigger("x"))  # TestExecution
    case.trigger.delay("x")


class test_sync(livecheck_celery.Case):
    stored: livecheck_celery.Signal[Order]

    def run(self, side: str) -> None:
        reveal_type(self.stored.wait(timeout=10))  # Order
        self.stored.wait()
"""


OWN: Final = """
from typing import Any

from celery import Celery

from livecheck_celery import BaseSignal, Case, LiveCheck, Signal, SignalEvent, TestReport, aio


class Priced(Signal[int]):
    def __init__(self, *args: Any, currency: str = "EUR", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.currency = currency


class Own(BaseSignal[str]):
    def send(self, value: str | None = None, *, key: Any = None, force: bool = False) -> None: ...

    def wait(self, *, key: Any = None, timeout: float | None = None) -> str:
        return self.decode(SignalEvent("own", "case", "o-1", 7))

    def resolve(self, key: Any, event: SignalEvent) -> None: ...


class AsyncOwn(BaseSignal[str]):
    async def send(self, value: str | None = None, *, key: Any = None, force: bool = False) -> None: ...

    async def wait(self, *, key: Any = None, timeout: float | None = None) -> str:
        return self.decode(SignalEvent("own", "case", "o-1", 7))

    async def resolve(self, key: Any, event: SignalEvent) -> None: ...


class Paid(Case):
    price = Priced(currency="USD")
    own: Own

    def run(self) -> None:
        reveal_type(self.price.wait())  # int
        reveal_type(self.price.clone(name="x", currency="GBP"))  # Priced
        reveal_type(self.own.wait())  # str


class Forwarding(LiveCheck):
    Case = Paid
    Signal = Priced

    def post_report(self, report: TestReport) -> None:
        super().post_report(report)


class AsyncForwarding(aio.LiveCheck):
    async def post_report(self, report: TestReport) -> None:
        await super().post_report(report)
        super().post_report(report)  # unused-coroutine


livecheck = Forwarding(Celery("shop"))
reveal_type(livecheck.add_case(Paid, name="a"))  # Paid
reveal_type(livecheck.add_case(Paid(app=livecheck, name="b", signals=[Own("own"), Priced("price")])))  # Paid
livecheck.add_case("c")  # call-overload
livecheck.case(name="d")(livecheck.Case)
Signal[int](nme="e")  # call-arg
"""


@pytest.mark.parametrize("code", [CASES, OWN], ids=["cases", "own signals"])
@pytest.mark.promise("A type checker knows the type of an awaited signal, and reports a forgotten await.", theme="aio")
def test_types_of_both_faces(tmp_path: Path, code: str) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "shop.py"
    file.write_text(code)
    command = f"-m mypy --strict --no-pretty --cache-dir {ROOT / '.mypy_cache'} {file}"
    done = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        if "error: " in line or "Revealed type" in line:
            what = line.rpartition("[")[2].strip("]") if "error: " in line else line.split('"')[1].rpartition(".")[2]
            found.setdefault(int(line.split(":")[1]), []).append(what)
    expected = {
        number: [line.partition("  # ")[2]] for number, line in enumerate(code.splitlines(), 1) if "  # " in line
    }
    assert found == expected, done.stdout + done.stderr
