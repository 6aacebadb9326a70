"""``secret``: a new secret key."""

from __future__ import annotations

from celery import Celery

from livecheck_celery import LiveCheck, cli
from tests.helpers.cli_runner import invoke


def test_key_is_new_each_time_and_accepted_as_a_setting() -> None:
    keys = [invoke(cli.livecheck, ["secret"]).stdout for _ in range(2)]
    assert len(set(keys)) == 2
    for key in keys:
        assert key.endswith("\n")
        livecheck = LiveCheck(Celery("shop", set_as_current=False), secret_key=key.strip())
        assert livecheck.settings.secret_key == (key.strip(),)
