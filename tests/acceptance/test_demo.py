"""``livecheck demo``: it passes, finds each breakage, and leaves no process or file behind."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import Command, run_command
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def assert_cleaned_up(demo: Command, directory: Path) -> None:
    wait_until(lambda: not demo.processes(), what=f"the exit of {demo.processes()}")
    assert list(directory.iterdir()) == []


@pytest.mark.promise("The demo passes, and leaves nothing running.", theme="tools")
def test_demo_passes_and_ends_its_processes(tmp_path: Path) -> None:
    with run_command("livecheck", "demo", "--duration", "12", cwd=tmp_path) as demo:
        demo.wait_for("orders placed")
        commands = " ".join(demo.processes().values())
        for part in ("valkey-server", "orders.web", "orders.tasks", "livecheck_celery worker", "livecheck_celery beat"):
            assert part in commands
        assert demo.wait_exit() == 0, demo.output
        counted = re.search(r"^(\d+) of \1 tests passed\.$", demo.output, re.MULTILINE)
        assert counted, demo.output
        assert int(counted[1]) >= 10
        assert_cleaned_up(demo, tmp_path)


@pytest.mark.promise("Each of the five breakages of the demo is found and named.", theme="tools")
@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        ("cache", r"order_indexed: the index entry differs from the database row in price"),
        ("side", r"order_stored: a (buy|sell) order was stored as a (buy|sell) order"),
        ("lost", r"order_executed: signal order_executed \(4 of 4\) did not arrive within 3 s"),
        ("slow", r"order_indexed: signal order_indexed \(3 of 4\) did not arrive within 3 s"),
        ("web", r"the suite: POST http://127\.0\.0\.1:\d+/order/init/(buy|sell)/: 503"),
    ],
    ids=["cache", "side", "lost", "slow", "web"],
)
def test_breakage_is_found_and_located(breakage: str, sentence: str, tmp_path: Path) -> None:
    with run_command("livecheck", "demo", "--duration", "7", "--break", breakage, cwd=tmp_path) as demo:
        assert demo.wait_exit() == 1, demo.output
        assert re.search(rf"^test_order first failed at {sentence}", demo.output, re.MULTILINE), demo.output
        assert_cleaned_up(demo, tmp_path)


def test_ctrl_c_prints_the_summary_and_cleans_up(tmp_path: Path) -> None:
    with run_command("livecheck", "demo", cwd=tmp_path) as demo:
        demo.wait_for("test_order PASS: PASS")
        demo.press_ctrl_c()
        assert demo.wait_exit() == 0, demo.output
        assert "tests passed." in demo.output
        assert_cleaned_up(demo, tmp_path)


def test_sigterm_at_startup_cleans_up(tmp_path: Path) -> None:
    with run_command("livecheck", "demo", cwd=tmp_path) as demo:
        demo.wait_for("Starting")
        wait_until(lambda: "orders.web" in " ".join(demo.processes().values()))
        demo.process.terminate()
        assert demo.wait_exit() == 128 + signal.SIGTERM, demo.output
        assert "Traceback" not in demo.output
        assert_cleaned_up(demo, tmp_path)


def test_killed_process_is_named_and_the_others_exit(tmp_path: Path) -> None:
    with run_command("livecheck", "demo", cwd=tmp_path) as demo:
        demo.wait_for("orders placed")
        os.kill(demo.pid_of("orders.web"), signal.SIGKILL)
        assert demo.wait_exit() == 1, demo.output
        assert "Error: web app was killed by SIGKILL" in demo.output
        assert "Traceback" not in demo.output
        assert_cleaned_up(demo, tmp_path)


def test_processes_exit_if_the_demo_is_killed(tmp_path: Path) -> None:
    with run_command("livecheck", "demo", cwd=tmp_path) as demo:
        demo.wait_for("orders placed")
        assert len(demo.processes()) > 5
        demo.process.kill()
        wait_until(lambda: not demo.processes(), timeout=20, what="all processes to exit")
