"""The public names of the package, and the absence of side effects of its import."""

from __future__ import annotations

import ast
import inspect

import pytest

import livecheck_celery
from livecheck_celery import aio
from tests.helpers.scripts import run_script


@pytest.mark.promise("Every public name is listed in `__all__`.", theme="cases")
def test_every_public_name_is_listed_in_all() -> None:
    for name in livecheck_celery.__all__:
        assert getattr(livecheck_celery, name) is not None
    public = {
        name
        for name, value in vars(livecheck_celery).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("livecheck_celery")
    }
    assert public <= set(livecheck_celery.__all__)
    assert "app" not in livecheck_celery.__all__, "import * would replace the app of the host"


def test_each_name_has_a_module_and_a_type() -> None:
    assert set(livecheck_celery._MODULES) == {*livecheck_celery.__all__, "app"}
    tree = ast.parse(inspect.getsource(livecheck_celery))
    [types] = [node for node in tree.body if isinstance(node, ast.If)]  # if TYPE_CHECKING
    typed = {alias.name: node.module for node in types.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {name: f"livecheck_celery.{module}" for name, module in livecheck_celery._MODULES.items()}
    assert set(dir(livecheck_celery)) >= set(livecheck_celery.__all__)


def test_import_of_the_package_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import livecheck_celery\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "others = loaded - sys.stdlib_module_names - {'livecheck_celery'}\n"
        "assert not others, others\n"
        "livecheck_celery.State\n"
        "assert 'livecheck_celery.cases' not in sys.modules\n"
        "assert 'redis' not in sys.modules\n"
    )
    run_script(code)


@pytest.mark.parametrize("face", ["livecheck_celery", "livecheck_celery.aio"])
def test_declaration_of_a_case_imports_no_http_client_command_or_integration(face: str) -> None:
    code = (
        "import sys\n"
        "from celery import Celery\n"
        f"from {face} import LiveCheck, Signal\n"
        "livecheck = LiveCheck(Celery('shop', broker='redis://127.0.0.1:1/0', set_as_current=False))\n"
        "@livecheck.case(probability=0.1)\n"
        "class test_order:\n"
        "    stored: Signal[int]\n"
        "heavy = 'requests httpx aiohttp rich flask sqlalchemy sqlite3 charset_normalizer'.split()\n"
        "heavy += ['celery.bin', 'livecheck_celery.cli', 'livecheck_celery.integrations']\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    run_script(code)


@pytest.mark.promise("`livecheck_celery.aio` has each name of `livecheck_celery`.", theme="aio")
def test_asyncio_face_has_each_name_of_the_other() -> None:
    assert aio.__all__ == livecheck_celery.__all__
    others = {name for name in aio.__all__ if getattr(aio, name) is not getattr(livecheck_celery, name)}
    assert others == {"Case", "LiveCheck", "Signal", "TestRunner"}


@pytest.mark.promise("Importing the package creates no Celery app, and does not change `current_app`.", theme="cases")
def test_import_creates_no_celery_app_and_keeps_current_app() -> None:
    code = (
        "import livecheck_celery, sys, celery._state as state\n"
        "assert 'livecheck_celery.worker' not in sys.modules\n"
        "assert state.default_app is None\n"
        "from celery import Celery, current_app\n"
        "host = Celery('host')\n"
        "livecheck_celery.app\n"
        "assert current_app._get_current_object() is host\n"
    )
    run_script(code)


def test_unknown_attribute_is_named_in_the_error() -> None:
    with pytest.raises(AttributeError, match="celery_app"):
        _ = livecheck_celery.celery_app


@pytest.mark.promise(
    "Importing the package, declaring cases and wrapping an application open no connection and start no thread.",
    theme="requests",
)
def test_import_and_declaration_open_no_connection_and_start_no_thread() -> None:
    script = """
import sys, threading
connected = []
network = {"socket.connect", "socket.getaddrinfo", "socket.sendto"}
sys.addaudithook(lambda event, _: connected.append(event) if event in network else None)
from celery import Celery
from livecheck_celery import LiveCheck, Signal
from livecheck_celery.integrations.celery import install
livecheck = LiveCheck(Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False), secret_key="k" * 32)
@livecheck.case()
class test_order:
    executed: Signal[str] = Signal.from_task("orders.execute")
livecheck.wsgi(lambda environ, start_response: [])
livecheck.instrument("requests")
install(Celery("orders", broker="redis://127.0.0.1:1/0", set_as_current=False))
assert livecheck.flush()
print(connected, threading.active_count())
"""
    done = run_script(script)
    assert (done.stdout, done.stderr) == ("[] 1\n", "")


def test_package_does_not_import_opentelemetry() -> None:
    # Other packages can import it: redis-py does if it is installed.
    code = (
        "import builtins\n"
        "original, imported = builtins.__import__, []\n"
        "def note(name, globals=None, *rest):\n"
        "    importer = (globals or {}).get('__name__', '')\n"
        "    if name.startswith('opentelemetry') and importer.startswith('livecheck_celery'):\n"
        "        imported.append((importer, name))\n"
        "    return original(name, globals, *rest)\n"
        "builtins.__import__ = note\n"
        "import livecheck_celery.worker, livecheck_celery.execution.spans, livecheck_celery.propagation.baggage\n"
        "assert imported == [], imported\n"
        "import livecheck_celery.propagation.otel\n"
        "assert imported\n"
    )
    run_script(code)
