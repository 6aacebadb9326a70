"""The commands of the compose file, each run as a process in the environment of its service."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from livecheck_celery.cli.embedded import valkey_server
from livecheck_celery.cli.processes import Process, Processes, free_port
from livecheck_celery.config import Settings
from livecheck_celery.models import State
from livecheck_celery.store import Store
from tests.helpers.http_server import KEY
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
#: The variable without which no service starts.
REQUIRED = "${LIVECHECK_SECRET_KEY:?set it to a key; to make one, run livecheck secret}"
READY = {
    "valkey": "Ready to accept connections",
    "worker": " ready.",
    "beat": "beat: Starting",
    "web": "Running on",
    "orders": " ready.",
}


class Host:
    """Runs services without containers: replaces host names by ports, and volumes by directories."""

    def __init__(self, directory: Path) -> None:
        self.valkey_port, self.web_port = free_port(), free_port()
        self._replacements = {
            "valkey:6379": f"127.0.0.1:{self.valkey_port}",
            "web:8080": f"127.0.0.1:{self.web_port}",
            "0.0.0.0": "127.0.0.1",
        }
        for volume in {volume for service in SERVICES.values() for volume in service.get("volumes", [])}:
            name, _, path = volume.partition(":")
            (directory / name).mkdir()
            self._replacements[path] = str(directory / name)

    def translated(self, text: str) -> str:
        text = text.replace(REQUIRED, KEY)
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)  # no other variable is set, so the default applies
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

    def start(self, processes: Processes, name: str) -> Process:
        service = SERVICES[name]
        command = [self.translated(part) for part in service["command"]]
        if name == "valkey":
            command = [str(valkey_server()), *command[1:], "--port", str(self.valkey_port)]
        else:
            command[0] = str(Path(sys.executable).parent / command[0])
            command = [str(self.web_port) if part == "8080" else part for part in command]
        env = {key: self.translated(value) for key, value in service.get("environment", {}).items()}
        if env:
            env |= {"PYTHONPATH": str(ROOT / "examples"), "PYTHONUNBUFFERED": "1", "LIVECHECK_HTTP_HOSTS": "127.0.0.1"}
        return processes.start(name, command, ready=READY[name], env=env, cwd=ROOT, stop_last=name == "valkey")

    def store(self) -> Store:
        url = f"redis://127.0.0.1:{self.valkey_port}/0"
        return Store(Settings(redis_url=url, broker_url=url))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def passed(store: Store) -> int:
    return sum(store.suites.statistics(name).total_by_state[State.PASS] for name in store.registry.cases())


@pytest.mark.promise("The commands of the compose file work.", theme="tools")
def test_services_work_and_valkey_keeps_its_data(host: Host) -> None:
    store = host.store()
    with Processes() as processes:
        host.start(processes, "valkey")
        processes.wait_ready()
        for name in SERVICES.keys() - {"valkey"}:
            host.start(processes, name)
        processes.wait_ready()
        wait_until(lambda: passed(store) >= 3, timeout=30)
        assert requests.get(f"http://127.0.0.1:{host.web_port}/", timeout=5).json()["executed"] >= 3
        assert all(store.suites.statistics(name).status is State.PASS for name in store.registry.cases())
        # Only fake requests placed orders, so their mark was carried over two HTTP hops.
        tests = [report.test for report in store.reports.latest(list(store.registry.cases()), count=100)]
        assert tests
        assert all(test and test.synthetic for test in tests)

    with Processes() as processes:
        host.start(processes, "valkey")
        processes.wait_ready()
        assert passed(store) >= 3


def test_order_system_is_a_separate_profile() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {"valkey": [], "worker": [], "beat": [], "web": ["demo"], "orders": ["demo"]}


def test_services_wait_until_valkey_is_healthy() -> None:
    assert SERVICES["valkey"]["healthcheck"]["test"] == ["CMD", "valkey-cli", "ping"]
    for name in SERVICES.keys() - {"valkey"}:
        assert SERVICES[name]["depends_on"] == {"valkey": {"condition": "service_healthy"}}


def test_files_copied_into_the_image_exist_and_are_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)


def test_no_service_has_a_key_that_everybody_knows() -> None:
    keys = {service["environment"]["LIVECHECK_SECRET_KEY"] for service in SERVICES.values() if "environment" in service}
    assert keys == {REQUIRED}
