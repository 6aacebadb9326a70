"""``livecheck dev`` as a user types it, for cases of one's own."""

import sys
from pathlib import Path

import pytest
import redis

from tests.helpers.commands import typed
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")

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
OF_ITS_OWN = f"""
from livecheck_celery import Case, LiveCheck, Signal
livecheck = LiveCheck()
{CASE}
"""
ON_A_HOST = f"""
from celery import Celery
from livecheck_celery import Case, LiveCheck, Signal
app = Celery("shop")
livecheck = LiveCheck(app)
{CASE}
"""
EMBEDDED = "this is an embedded Valkey"


@pytest.mark.promise("`livecheck dev` runs cases on an embedded Valkey, and leaves nothing running.", theme="tools")
@pytest.mark.parametrize("source", [OF_ITS_OWN, ON_A_HOST])
@pytest.mark.parametrize("command", ["livecheck dev -A shop_checks", "livecheck -A shop_checks dev"])
def test_cases_run_on_an_embedded_valkey_until_ctrl_c(source: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "shop_checks.py").write_text(source)
    with typed(*command.split(), cwd=tmp_path) as dev:
        dev.says("PASS in")
        assert EMBEDDED in dev.output
        assert "worker | " in dev.output
        assert "  beat | " in dev.output
        dev.press_ctrl_c()
        assert dev.ends() == 0, dev.output
        wait_until(lambda: not dev.processes(), what=f"nothing is left of {dev.processes()}")
        assert {path.name for path in tmp_path.iterdir()} <= {"shop_checks.py", "__pycache__"}


def test_a_redis_in_the_environment_is_used(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "shop_checks.py").write_text(OF_ITS_OWN)
    env = {"LIVECHECK_BROKER_URL": redis_url}
    with typed("livecheck", "dev", "-A", "shop_checks", cwd=tmp_path, env=env) as dev:
        dev.says("PASS in")
        assert EMBEDDED not in dev.output
        assert redis_client.hkeys("livecheck:{cases}:settings") == ["shop_checks.test_greeting"]
        assert "valkey-server" not in " ".join(dev.processes().values())


def test_a_redis_in_the_celery_configuration_is_used(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    host = ON_A_HOST.replace('Celery("shop")', f'Celery("shop", broker="{redis_url}")')
    (tmp_path / "shop_checks.py").write_text(host)
    with typed("livecheck", "dev", "-A", "shop_checks", cwd=tmp_path) as dev:
        dev.says("PASS in")
        assert EMBEDDED not in dev.output
        assert redis_client.hkeys("livecheck:{cases}:settings") == ["shop_checks.test_greeting"]


def test_a_module_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with typed("livecheck", "dev", "-A", "nowhere", cwd=tmp_path) as dev:
        assert dev.ends() == 2
        assert "no module named 'nowhere'" in dev.output
        assert "Traceback" not in dev.output
