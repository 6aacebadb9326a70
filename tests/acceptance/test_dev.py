"""``livecheck dev`` for the cases of a module."""

import sys
from pathlib import Path

import pytest
import redis

from tests.helpers.commands import run_command
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CASE = """
@livecheck.case(frequency=0.5, test_expires=30)
class test_greeting(Case):
    greeted: Signal[str]

    def run(self):
        assert self.greeted.wait(timeout=5) == "hello"

    def make_fake_request(self):
        with self.maybe_trigger():
            self.greeted.send("hello")
"""
DEFAULT_APP = f"""
from livecheck_celery import Case, LiveCheck, Signal
livecheck = LiveCheck()
{CASE}
"""
HOST_APP = f"""
from celery import Celery
from livecheck_celery import Case, LiveCheck, Signal
app = Celery("shop")
livecheck = LiveCheck(app)
{CASE}
"""
EMBEDDED = "starting an embedded Valkey"


@pytest.mark.promise("`livecheck dev` runs cases on an embedded Valkey, and leaves nothing running.", theme="tools")
@pytest.mark.parametrize("source", [DEFAULT_APP, HOST_APP])
@pytest.mark.parametrize("command", ["livecheck dev -A shop_checks", "livecheck -A shop_checks dev"])
def test_cases_run_on_an_embedded_valkey_until_ctrl_c(source: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "shop_checks.py").write_text(source)
    with run_command(*command.split(), cwd=tmp_path) as dev:
        dev.wait_for("PASS in")
        assert EMBEDDED in dev.output
        assert "worker | " in dev.output
        assert "  beat | " in dev.output
        dev.press_ctrl_c()
        assert dev.wait_exit() == 0, dev.output
        wait_until(lambda: not dev.processes(), what=f"the exit of {dev.processes()}")
        assert {path.name for path in tmp_path.iterdir()} <= {"shop_checks.py", "__pycache__"}


def test_redis_in_the_environment_is_used(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "shop_checks.py").write_text(DEFAULT_APP)
    env = {"LIVECHECK_BROKER_URL": redis_url}
    with run_command("livecheck", "dev", "-A", "shop_checks", cwd=tmp_path, env=env) as dev:
        dev.wait_for("PASS in")
        assert EMBEDDED not in dev.output
        assert redis_client.hkeys("livecheck:{cases}:settings") == ["shop_checks.test_greeting"]
        assert "valkey-server" not in " ".join(dev.processes().values())


def test_redis_in_the_celery_configuration_is_used(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    host = HOST_APP.replace('Celery("shop")', f'Celery("shop", broker="{redis_url}")')
    (tmp_path / "shop_checks.py").write_text(host)
    with run_command("livecheck", "dev", "-A", "shop_checks", cwd=tmp_path) as dev:
        dev.wait_for("PASS in")
        assert EMBEDDED not in dev.output
        assert redis_client.hkeys("livecheck:{cases}:settings") == ["shop_checks.test_greeting"]


def test_missing_module_is_an_error(tmp_path: Path) -> None:
    with run_command("livecheck", "dev", "-A", "nowhere", cwd=tmp_path) as dev:
        assert dev.wait_exit() == 2
        assert "no module named 'nowhere'" in dev.output
        assert "Traceback" not in dev.output
