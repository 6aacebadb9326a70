"""``livecheck demo`` as a user types it: it passes, finds each breakage, and leaves nothing behind."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import Typed, typed
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")


def nothing_is_left(demo: Typed, directory: Path) -> None:
    wait_until(lambda: not demo.processes(), what=f"nothing is left of {demo.processes()}")
    assert list(directory.iterdir()) == []


@pytest.mark.promise("The demo passes, and leaves nothing running.", theme="tools")
def test_it_passes_with_real_processes_that_are_gone_afterwards(tmp_path: Path) -> None:
    with typed("livecheck", "demo", "--duration", "12", cwd=tmp_path) as demo:
        demo.says("orders placed")
        commands = " ".join(demo.processes().values())
        for part in ("valkey-server", "orders.web", "orders.tasks", "livecheck_celery worker", "livecheck_celery beat"):
            assert part in commands
        assert demo.ends() == 0, demo.output
        counted = re.search(r"^(\d+) of \1 tests passed\.$", demo.output, re.MULTILINE)
        assert counted, demo.output
        assert int(counted[1]) >= 10
        nothing_is_left(demo, tmp_path)


@pytest.mark.promise("Each of the five breakages of the demo is found and named.", theme="tools")
@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        ("cache", r"the contract on order_indexed: the index entry differs from the database row in price"),
        ("side", r"the contract on order_stored: a (buy|sell) order was stored as a (buy|sell) order"),
        ("lost", r"signal order_executed \(4 of 4\) did not arrive within 3 s"),
        ("slow", r"signal order_indexed \(3 of 4\) did not arrive within 3 s"),
        ("web", r"the suite: POST http://127\.0\.0\.1:\d+/order/init/(buy|sell)/: 503"),
    ],
    ids=["cache", "side", "lost", "slow", "web"],
)
def test_each_breakage_is_found_and_named(breakage: str, sentence: str, tmp_path: Path) -> None:
    with typed("livecheck", "demo", "--duration", "7", "--break", breakage, cwd=tmp_path) as demo:
        assert demo.ends() == 1, demo.output
        assert re.search(rf"^test_order broke: {sentence}", demo.output, re.MULTILINE), demo.output
        nothing_is_left(demo, tmp_path)


def test_ctrl_c_sums_up_and_leaves_nothing(tmp_path: Path) -> None:
    with typed("livecheck", "demo", cwd=tmp_path) as demo:
        demo.says("test_order PASS: PASS")
        demo.press_ctrl_c()
        assert demo.ends() == 0, demo.output
        assert "tests passed." in demo.output
        nothing_is_left(demo, tmp_path)


def test_sigterm_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with typed("livecheck", "demo", cwd=tmp_path) as demo:
        demo.says("Starting")
        wait_until(lambda: "orders.web" in " ".join(demo.processes().values()))
        demo.process.terminate()
        assert demo.ends() == 128 + signal.SIGTERM, demo.output
        assert "Traceback" not in demo.output
        nothing_is_left(demo, tmp_path)


def test_a_part_that_dies_is_named_and_the_others_end(tmp_path: Path) -> None:
    with typed("livecheck", "demo", cwd=tmp_path) as demo:
        demo.says("orders placed")
        os.kill(demo.pid_of("orders.web"), signal.SIGKILL)
        assert demo.ends() == 1, demo.output
        assert "Error: web app was ended by SIGKILL" in demo.output
        assert "Traceback" not in demo.output
        nothing_is_left(demo, tmp_path)


def test_no_process_outlives_a_demo_that_was_killed(tmp_path: Path) -> None:
    with typed("livecheck", "demo", cwd=tmp_path) as demo:
        demo.says("orders placed")
        assert len(demo.processes()) > 5
        demo.process.kill()
        wait_until(lambda: not demo.processes(), timeout=20, what="nothing is left")
