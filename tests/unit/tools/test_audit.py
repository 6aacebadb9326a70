"""Known vulnerabilities: the packages of this environment, looked up at advisories that a local server has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tools import audit

HOLE: dict[str, Any] = {
    "id": "PYSEC-2026-1",
    "summary": "a hole",
    "affected": [
        {
            "package": {"name": "celery", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """Answers queries of OSV: one package has a hole."""

    vulnerable = ""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [HOLE]} if query["package"]["name"] == self.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def _pip_audit() -> None:
    pytest.importorskip("pip_audit", reason="make test-oldest has no tools of lint")


@pytest.mark.usefixtures("_pip_audit")
def test_vulnerable_package_is_named_with_its_fixed_version(
    advisories: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Advisories, "vulnerable", "celery")
    assert audit.main(["--unless-offline", "--osv-url", advisories]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("audit: celery ")
    assert line.endswith(": PYSEC-2026-1, fixed in 99.1")


@pytest.mark.usefixtures("_pip_audit")
def test_no_vulnerability_is_success(advisories: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--osv-url", advisories]) == 0
    assert capsys.readouterr().out.endswith("none with a known vulnerability\n")


@pytest.mark.usefixtures("_pip_audit")
@pytest.mark.parametrize(("options", "code"), [([], 1), (["--unless-offline"], 0)])
def test_advisories_that_cannot_be_reached(options: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([*options, "--osv-url", "http://127.0.0.1:9"]) == code
    assert capsys.readouterr().out.startswith("audit: nothing was looked up: ")


def test_silent_failure_is_no_success() -> None:
    outcome = audit.outcome_of(subprocess.CompletedProcess([], 3, "", ""))
    assert outcome == (["audit: nothing was looked up: exit code 3"], False, False)
