from __future__ import annotations

import subprocess
import sys

import pytest

import livecheck_celery


@pytest.mark.promise("Every public name is listed in `__all__`.", theme="cases")
def test_everything_public_is_there_and_listed_in_order() -> None:
    assert livecheck_celery.__all__ == sorted(livecheck_celery.__all__, key=lambda name: (name.islower(), name))
    for name in livecheck_celery.__all__:
        assert getattr(livecheck_celery, name) is not None


@pytest.mark.promise("Importing the package creates no Celery app, and does not change `current_app`.", theme="cases")
def test_importing_the_package_makes_no_celery_app_and_takes_no_current_one() -> None:
    code = (
        "import livecheck_celery, sys, celery._state as state\n"
        "assert 'livecheck_celery.worker' not in sys.modules\n"
        "assert state.default_app is None\n"
        "from celery import Celery, current_app\n"
        "host = Celery('host')\n"
        "livecheck_celery.app\n"
        "assert current_app._get_current_object() is host\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_wrong_attribute_is_said_by_name() -> None:
    with pytest.raises(AttributeError, match="celery_app"):
        _ = livecheck_celery.celery_app


@pytest.mark.promise(
    "Importing the package, declaring cases and wrapping an application open no connection and start no thread.",
    theme="requests",
)
def test_importing_and_declaring_connects_to_nothing_and_starts_no_thread() -> None:
    script = """
import sys, threading
touched = []
reaching = {"socket.connect", "socket.getaddrinfo", "socket.sendto"}
sys.addaudithook(lambda event, _: touched.append(event) if event in reaching else None)
from celery import Celery
from livecheck_celery import LiveCheck, Signal
from livecheck_celery.integrations.celery import install
livecheck = LiveCheck(Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False), secret_key="k")
@livecheck.case()
class test_order:
    executed: Signal[str] = Signal.from_task("orders.execute")
livecheck.wsgi(lambda environ, start_response: [])
livecheck.instrument("requests")
install(Celery("orders", broker="redis://127.0.0.1:1/0", set_as_current=False))
assert livecheck.flush()
print(touched, threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("[] 1\n", "")
