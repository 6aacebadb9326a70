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


@pytest.mark.promise("A type checker knows the type of an awaited signal, and reports a forgotten await.", theme="aio")
def test_types_of_both_faces(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "shop.py"
    file.write_text(CASES)
    command = f"-m mypy --strict --no-pretty --cache-dir {ROOT / '.mypy_cache'} {file}"
    done = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        if "error: " in line or "Revealed type" in line:
            what = line.rpartition("[")[2].strip("]") if "error: " in line else line.split('"')[1].rpartition(".")[2]
            found.setdefault(int(line.split(":")[1]), []).append(what)
    expected = {
        number: [line.partition("  # ")[2]] for number, line in enumerate(CASES.splitlines(), 1) if "  # " in line
    }
    assert found == expected, done.stdout + done.stderr
