"""``dev`` shows verdicts and failures, and no housekeeping."""

from __future__ import annotations

import pytest

from livecheck_celery.cli.dev import _show


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[2026: INFO/MainProcess] Task livecheck.recover[dcbd1c69-9357] received", False),
        ("[2026: INFO/MainProcess] Task livecheck.recover[dcbd1c69-9357] succeeded in 0.003s: None", False),
        ("[2026: INFO/MainProcess] Task livecheck.execute[dcbd1c69-9357] received", False),
        ("[2026: INFO/MainProcess] Scheduler: Sending due task livecheck:recover (livecheck.recover)", False),
        ("[2026: ERROR/MainProcess] Task livecheck.recover[dcbd1c69-9357] raised unexpected: KeyError()", True),
        ("[2026: INFO/MainProcess] runner: shop.test_order:1: PASS in 0.001 s", True),
        ("[2026: ERROR/MainProcess] livecheck.recover: Redis did not answer", True),
        ("[2026: INFO/MainProcess] Task shop.send[dcbd1c69-9357] received", True),
        ("", False),
    ],
)
def test_line_is_shown_unless_it_is_housekeeping(capsys: pytest.CaptureFixture[str], line: str, shown: bool) -> None:
    _show("worker", line)
    assert bool(capsys.readouterr().out) is shown


def test_server_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    _show("valkey", "anything")
    assert capsys.readouterr().out == ""
