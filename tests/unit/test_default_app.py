"""LiveCheck's own Celery app."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery, _state, current_app

from livecheck_celery import default_app
from tests.helpers.scripts import run_script


@pytest.mark.parametrize("setting", ["task_default_queue_type", "task_create_missing_queue_type"])
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_queues_have_the_type_set_for_celery(setting: str, queue_type: str) -> None:
    app = Celery("own", broker="amqp://nowhere", set_as_current=False)
    app.conf[setting] = queue_type
    app.conf.livecheck_redis_url = "redis://fake:6379/0"
    queues = default_app._defaults(app)["task_queues"]
    assert [queue.name for queue in queues] == ["livecheck", "livecheck.schedule"]
    expected = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
    assert [queue.queue_arguments for queue in queues] == [expected] * 2


def test_default_app_is_created_once(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from livecheck_celery.default_app import default_app\n"
        "barrier, apps = threading.Barrier(20), []\n"
        "def ask(): barrier.wait(); apps.append(default_app())\n"
        "threads = [threading.Thread(target=ask) for _ in range(20)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(apps), len({id(app) for app in apps}))\n"
    )
    assert run_script(code, cwd=tmp_path).stdout.split() == ["20", "1"]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a module with this text the one that CELERY_CONFIG_MODULE names."""

    def configure(text: str) -> None:
        module = f"config_{uuid4().hex}"
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("CELERY_CONFIG_MODULE", module)

    return configure


def test_new_app_reads_the_configuration_module_and_is_not_the_current_app(configure: Callable[[str], None]) -> None:
    configure("task_default_queue = 'orders'")
    before = current_app._get_current_object()
    app = default_app._new_app()
    assert app.conf.task_default_queue == "orders"
    assert current_app._get_current_object() is before


def test_shipped_configuration_accepts_the_options_of_the_url_of_the_state(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECHECK_REDIS_URL", "redis://state:6379/3?socket_timeout=5&max_connections=10")
    monkeypatch.delenv("LIVECHECK_BROKER_URL", raising=False)
    configure((Path(__file__).parents[2] / "celeryconfig.py").read_text())
    app = default_app._new_app()
    assert default_app._defaults(app)["broker_url"] == "redis://state:6379/3"


@pytest.mark.parametrize(
    ("module", "is_used"), [("livecheck_celery.worker", True), ("shop.tasks", False)], ids=["worker", "other"]
)
def test_app_of_a_bare_celery_worker_is_used_if_it_imports_livechecks(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, module: str, is_used: bool
) -> None:
    configure(f"imports = [{module!r}]")
    bare = Celery("bare", loader="default", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", bare)
    assert default_app._bare_app() is None, "not configured yet"
    assert bare.conf.imports == [module]
    assert default_app._bare_app() is (bare if is_used else None)
