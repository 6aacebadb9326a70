"""No secret of the settings is in any text that LiveCheck prints: `ways` lists them."""

from __future__ import annotations

import gc
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from hypothesis import example, given
from hypothesis import settings as options_of_hypothesis
from hypothesis import strategies as st

from livecheck_celery import LiveCheck, cli
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.tasks import heartbeat
from livecheck_celery.tasks.presence import banner
from tests.helpers.cli_runner import invoke
from tests.helpers.factories import make_test
from tests.helpers.scripted_http import Answer, Handler, ok, redirect, running

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of redis-py 5.0, for Unix sockets

NASTY = "/#@%:?;&=+ ,'\"\\[]{}$\u2100ü"
#: Ends of a secret, by which a part of it is found.
START, END = "Zq9xZ", "Kw7vK"

secrets = st.text(NASTY + "ab1", max_size=10).map(lambda middle: START + middle + END)
passwords = st.builds(
    lambda secret, is_encoded: quote(secret, safe="") if is_encoded else secret, secrets, st.booleans()
)

#: Settings with a password in each place where one can be; all servers refuse connections.
FORMS: dict[str, dict[str, Any]] = {
    "redis": {"redis_url": "redis://user:{}@localhost:1/0", "broker_url": "redis://:{}@localhost:1/1"},
    "same": {"broker_url": "redis://:{}@localhost:1/1"},
    "state": {"redis_url": "rediss://:{}@localhost:1/1?ssl_cert_reqs=none"},
    "query": {"redis_url": "redis://localhost:1/0?username=u&password={}", "broker_url": "amqp://u:{}@localhost:1//"},
    "tls": {"redis_url": "rediss://u:{}@localhost:1?ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_password={}"},
    "socket": {"redis_url": "unix://:{}@/nowhere.sock?db=2", "broker_url": "redis+socket://:{}@/nowhere.sock"},
    "sentinel": {
        "redis_url": "sentinel://:{}@localhost:1;sentinel://:{}@localhost:2/0?master_name=m&sentinel_password={}",
        "broker_url": "amqp://u:{}@localhost:1//;amqp://u:{}@localhost:2//",
    },
    "cluster": {"redis_url": "redis+cluster://u:{}@localhost:1;redis+cluster://u:{}@localhost:2"},
    "failover": {"redis_url": "redis://localhost:1", "broker_url": ["amqp://u:{}@localhost:1//", "redis://:{}@localhost:2"]},
    "provider": {"redis_url": "redis://u:{}@localhost:1/0?credential_provider=no.such.Provider"},
    "no host": {"redis_url": "redis://u:{}", "broker_url": "amqp://u:{}"},
    "no scheme": {"redis_url": "u:{}@localhost", "broker_url": "u:{}@localhost:1//"},
    "wrong scheme": {"redis_url": "redsi://u:{}@localhost", "broker_url": "amqq://u:{}@localhost"},
    "wrong port": {"redis_url": "redis://u:{}@localhost:port", "broker_url": "amqp://u:{}@localhost:99999//"},
    "wrong database": {"redis_url": "redis://u:{}@localhost:1/orders"},
    "wrong option": {"redis_url": "redis://u:{}@localhost:1/0?pasword=x", "broker_url": "redis://u:{}@localhost:1/0?db=1"},
}  # fmt: skip
HEARTBEATS = [
    "http://localhost:1/{}",
    "http://u:{}@localhost:1/",
    "http://localhost:1?key={}",
    "http://localhost:port/{}",
]


@pytest.fixture(autouse=True, scope="module")
def _sockets_are_collected_here() -> Iterator[None]:
    yield
    gc.collect()


class Records(logging.Handler):
    """The lines of all loggers."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def recorded() -> Iterator[Records]:
    """Record the lines of all loggers, from DEBUG on."""
    root, found = logging.getLogger(), Records()
    level = root.level
    root.addHandler(found)
    root.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        root.removeHandler(found)
        root.setLevel(level)


def ways(app: Celery, livecheck: LiveCheck) -> Iterator[str]:
    """Yield each text that LiveCheck, and Celery about it, print about the settings."""
    yield from (repr(livecheck), repr(vars(livecheck).get("runtime")))
    yield from (str(app.conf.humanize(with_defaults=False)), repr(app.conf.table(with_defaults=False)))
    try:
        settings = livecheck.settings
    except LiveCheckError as exc:
        yield from texts_of(exc)
        return
    yield from (repr(settings), str(settings), repr(settings.model_dump()), repr(vars(settings)))
    yield banner(livecheck)
    for action in (
        lambda: livecheck.runtime,
        lambda: livecheck.runtime.store.time(),  # noqa: PLW0108 - settings are read here
        lambda: livecheck.runtime.publisher.execute(make_test()),
        lambda: livecheck.runtime.outbox.flush(0.01),
        lambda: heartbeat.ping(livecheck),
    ):
        try:
            yield repr(action())
        except LiveCheckError as exc:
            yield from texts_of(exc)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield ``error``, its traceback, and the local variables of all its frames, as Sentry shows them."""
    yield from (str(error), repr(error), "".join(traceback.format_exception(error)))
    found: traceback.TracebackException | None = traceback.TracebackException.from_exception(error, capture_locals=True)
    while found is not None:
        yield from (repr(frame.locals) for frame in found.stack if frame.filename != __file__)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def leaks(text: str) -> list[str]:
    return [text[max(0, at.start() - 60) : at.end() + 60] for at in re.finditer(f"{START}|{END}", text)]


def filled(value: Any, password: str) -> Any:
    return [filled(one, password) for one in value] if isinstance(value, list) else value.replace("{}", password)


@pytest.mark.promise("No password, key or path of a ping is in any text that LiveCheck prints.", theme="cases")
@pytest.mark.parametrize("form", FORMS)
@options_of_hypothesis(max_examples=25, deadline=None)
@given(password=passwords, key=secrets, url=st.sampled_from(HEARTBEATS), in_conf=st.booleans())
@example(password=f"{START}/#@%:{END}", key=START, url=HEARTBEATS[0], in_conf=True)
def test_no_text_has_a_secret(form: str, password: str, key: str, url: str, in_conf: bool) -> None:
    if form == "no host":
        password = password.replace("@", "")  # what follows it is the host
    values = {name: filled(value, password) for name, value in FORMS[form].items()}
    values |= {"secret_key": (f"{key}{START * 8}",), "heartbeat_url": filled(url, quote(password))}
    conf = {f"livecheck_{name}": value for name, value in values.items()} if in_conf else {}
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    livecheck = LiveCheck(app, **({} if in_conf else values))
    with recorded() as records, closing(livecheck):
        assert [leak for text in ways(app, livecheck) for leak in leaks(text)] == []
    assert leaks("\n".join(records.lines)) == []


@pytest.fixture
def records() -> Iterator[Records]:
    with recorded() as found:
        yield found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["doctor", "status", "cases", "reports", "trigger shop.x"])
def test_commands_print_no_secret(form: str, command: str, monkeypatch: pytest.MonkeyPatch, records: Records) -> None:
    password = f"{START}/#@%:{END}"
    values = {name: filled(value, password) for name, value in FORMS[form].items()}
    values |= {"secret_key": START * 8, "heartbeat_url": f"https://localhost:1/{START}"}
    module = ModuleType("shop_app")
    module.app = Celery("shop", set_as_current=False)
    livecheck = LiveCheck(module.app, **values)
    monkeypatch.setitem(sys.modules, "shop_app", module)
    result = invoke(cli.livecheck, ("-A", "shop_app", *command.split()))
    livecheck.close()
    assert result.exit_code in (1, 2)
    assert result.stderr or result.stdout
    assert leaks(result.stdout + result.stderr + "".join(records.lines)) == []


def broken_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n")


def echo(handler: Handler) -> None:
    handler.reply(404, Location=f"http://other{handler.path}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok(), None),
        (echo, "404 Not Found"),
        (broken_header, None),
        (lambda handler: handler.wfile.write(b"not HTTP"), "not HTTP"),
        (redirect(f"ftp://u:{END}@localhost/{START}"), "No connection adapters"),
        (redirect(f"http://localhost:99999/{START}"), ""),
        (redirect(f"http://localhost:1/{START}"), "Connection refused"),
        (redirect(f"//{START}:x/"), ""),
        (redirect(f"/{START}"), "Exceeded 30 redirects"),
    ],
)
def test_heartbeat_logs_the_host_only(
    answer: Answer, reason: str | None, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    monkeypatch.setattr(heartbeat, "_HTTP", replace(heartbeat._HTTP, error_retries=0))
    with running(*[answer] * 40) as server:
        heartbeat._send(server.url.replace("//", f"//u:{END}@") + f"{START}?{START}#{START}")
    warnings = [
        line for line in records.lines if line.startswith("heartbeat: heartbeat_url did not answer: http://127")
    ]
    assert len(warnings) == (reason is not None)
    assert all(str(reason) in line for line in warnings)
    assert leaks("\n".join(records.lines)) == []


@pytest.mark.parametrize(
    "url",
    ["http://localhost:port/{}", "http://localhost:99999/{}", "http://[{}]/", "{}", "ftp://localhost/{}", "http:///{}"],
)
def test_wrong_heartbeat_url_is_not_quoted(url: str) -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://", set_as_current=False), heartbeat_url=filled(url, START))
    with pytest.raises(
        LiveCheckError, match="heartbeat_url: it must be an http:// or https:// URL with a host"
    ) as caught:
        _ = livecheck.settings
    assert leaks("".join(texts_of(caught.value))) == []


def test_invalid_heartbeat_url_is_not_quoted(records: Records) -> None:
    heartbeat._send(f"http://local host/{START}")
    assert leaks("\n".join(records.lines)) == []
    assert records.lines
