"""One HTTP request of a case, against real servers on this machine."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from livecheck_celery.cases.http import fetch
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import ServiceDown
from tests.helpers.waiting import wait_until

QUICK = UrlSettings(
    timeout_total=10.0,
    timeout_connect=None,
    error_retries=2,
    error_delay_min=0.0,
    error_delay_backoff=1.0,
    error_delay_max=0.0,
)
HURRIED = replace(QUICK, timeout_total=0.4, error_retries=1)
WELL_BEFORE_THE_SERVER_ENDS = 5.0

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.hits.append(f"{self.command} {self.path}")
        answers = self.server.answers
        answers[min(len(self.server.hits), len(answers)) - 1](self)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, *, prelude: bytes, byte: bytes) -> None:
        """A byte now and then, for as long as the client listens."""
        self.wfile.write(prelude)
        while not self.server.stopping.wait(0.02):
            try:
                self.wfile.write(byte)
            except OSError:
                return


class Server(ThreadingHTTPServer):
    """Gives its answers in turn, the last one again and again."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.hits: list[str] = []
        self.stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the client hung up


@contextmanager
def running(*answers: Answer) -> Iterator[Server]:
    server = Server(*answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def ok(body: bytes = b"fine") -> Answer:
    return lambda handler: handler.reply(200, body)


def status(code: int) -> Answer:
    return lambda handler: handler.reply(code)


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def break_off(handler: Handler) -> None:
    handler.reply(200, b"half", Content_Length="8")


def garble(handler: Handler) -> None:
    handler.wfile.write(b"not HTTP at all\r\n\r\n")


def contradict_itself(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")


def redirect(location: str) -> Answer:
    return lambda handler: handler.reply(307, Location=location)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def dead_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


def no_request_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "livecheck-http"]


def failure(method: str, url: str, session: requests.Session, settings: UrlSettings = QUICK, **kwargs: object) -> str:
    with pytest.raises(ServiceDown) as failed:
        fetch(method, url, settings=settings, session=session, **kwargs)
    message = str(failed.value)
    assert "\n" not in message
    return message


def test_the_body_is_returned_as_bytes(session: requests.Session) -> None:
    with running(ok(b"\xff\x00body")) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"\xff\x00body"


def test_a_compressed_body_is_returned_decoded(session: requests.Session) -> None:
    squeezed = gzip.compress(b"hello" * 100)
    with running(lambda handler: handler.reply(200, squeezed, Content_Encoding="gzip")) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"hello" * 100


def test_arguments_of_requests_are_handed_on(session: requests.Session) -> None:
    with running(ok()) as server:
        fetch("get", server.url + "search", settings=QUICK, session=session, params={"q": "1"})
        assert server.hits == ["GET /search?q=1"]


def test_without_time_limits_a_request_just_works(session: requests.Session) -> None:
    with running(ok()) as server:
        endless = replace(QUICK, timeout_total=None)
        assert fetch("GET", server.url, settings=endless, session=session) == b"fine"


def test_a_server_error_is_tried_again_until_it_passes(session: requests.Session) -> None:
    with running(status(500), status(503), ok()) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 3


def test_a_lasting_server_error_is_tried_as_often_as_set_and_then_reported(session: requests.Session) -> None:
    with running(status(500)) as server:
        message = failure("GET", server.url, session)
        assert len(server.hits) == 3
        assert message == f"GET {server.url}: 500 Internal Server Error (3 attempts)"


def test_no_retries_means_one_attempt(session: requests.Session) -> None:
    with running(status(500)) as server:
        assert failure("GET", server.url, session, replace(QUICK, error_retries=0)).endswith("(1 attempt)")
        assert len(server.hits) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
def test_a_client_error_is_not_tried_again(session: requests.Session, code: int) -> None:
    with running(status(code)) as server:
        assert str(code) in failure("GET", server.url, session)
        assert len(server.hits) == 1


@pytest.mark.parametrize("code", [408, 425, 429])
def test_a_passing_client_error_is_tried_again(session: requests.Session, code: int) -> None:
    with running(status(code), ok()) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("answer", [status(500), status(429), break_off, garble, contradict_itself])
def test_a_post_is_not_repeated_once_a_response_began(session: requests.Session, method: str, answer: Answer) -> None:
    with running(answer) as server:
        failure(method, server.url, session)
        assert len(server.hits) == 1


def test_a_post_whose_redirect_leads_nowhere_is_not_repeated(session: requests.Session, dead_url: str) -> None:
    with running(redirect(dead_url)) as server:
        assert "refused" in failure("POST", server.url, session, data=b"order")
        assert len(server.hits) == 1


def test_a_post_is_repeated_when_no_response_began(session: requests.Session) -> None:
    with running(hang_up, ok()) as server:
        assert fetch("POST", server.url, settings=QUICK, session=session, json={"side": "sell"}) == b"fine"
        assert server.hits == ["POST /", "POST /"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("answer", [break_off, garble, contradict_itself])
def test_a_broken_response_is_asked_for_again_where_that_is_safe(
    session: requests.Session, answer: Answer, method: str
) -> None:
    with running(answer, ok()) as server:
        assert fetch(method, server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 2


def test_a_refused_connection_is_said_in_plain_words(session: requests.Session, dead_url: str) -> None:
    assert failure("POST", dead_url, session) == f"POST {dead_url}: Connection refused (3 attempts)"


def test_secrets_in_the_url_stay_out_of_the_message(session: requests.Session, dead_url: str) -> None:
    url = dead_url.replace("//", "//me:hunter2@") + "path?token=hunter3"
    message = failure("GET", url, session)
    assert "hunter" not in message
    assert "/path" in message


def test_delays_grow_by_the_factor_up_to_the_longest(
    session: requests.Session, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", delays.append)
    failure(
        "GET",
        dead_url,
        session,
        replace(QUICK, error_retries=5, error_delay_min=0.5, error_delay_backoff=2.0, error_delay_max=3.0),
    )
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


DRIPS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "endless body": (b"HTTP/1.0 200 OK\r\n\r\n", b"x"),
    "header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "silence": (b"", b""),
}


@pytest.mark.promise("An HTTP attempt of a case is bounded in time, even if the response drips.", theme="cases")
@pytest.mark.parametrize(("prelude", "byte"), DRIPS.values(), ids=DRIPS.keys())
def test_the_total_timeout_bounds_an_attempt_that_drips(session: requests.Session, prelude: bytes, byte: bytes) -> None:
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        started = time.monotonic()
        message = failure("GET", server.url, session, HURRIED)
        assert 2 * 0.4 <= time.monotonic() - started < WELL_BEFORE_THE_SERVER_ENDS
        assert len(server.hits) == 2
        assert message == f"GET {server.url}: no complete answer within 0.4 s (2 attempts)"
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_ENDS)


@pytest.mark.parametrize("prelude", [DRIPS["silence"][0], DRIPS["body"][0]], ids=["nothing", "body"])
def test_a_silent_server_is_said_in_the_same_words_when_the_socket_times_out_first(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, prelude: bytes
) -> None:
    wait = futures.wait
    monkeypatch.setattr("livecheck_celery.cases.http.futures.wait", lambda waited, timeout: wait(waited, timeout + 30))
    with running(lambda handler: handler.drip(prelude=prelude, byte=b"")) as server:
        assert failure("GET", server.url, session, HURRIED) == (
            f"GET {server.url}: no complete answer within 0.4 s (2 attempts)"
        )


@pytest.mark.parametrize("kind", ["body", "chunks", "endless body"])
def test_the_thread_of_a_dripping_response_ends_with_the_attempt(session: requests.Session, kind: str) -> None:
    prelude, byte = DRIPS[kind]
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        failure("POST", server.url, session, HURRIED)
        assert len(server.hits) == 1  # a response began
        wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_ENDS)


def test_the_thread_of_a_response_that_began_too_late_ends_then(session: requests.Session) -> None:
    given_up = threading.Event()

    def late(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not given_up.wait(0.02):
            handler.wfile.write(b"x")
        handler.drip(prelude=b"\r\n\r\n", byte=b"x")

    with running(late) as server:
        failure("GET", server.url, session, replace(HURRIED, error_retries=0))
        given_up.set()
        wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_ENDS)


def test_the_total_timeout_bounds_redirects_together(session: requests.Session) -> None:
    def slow_redirect(handler: Handler) -> None:
        handler.server.stopping.wait(0.15)
        handler.reply(302, Location="/again")

    with running(slow_redirect) as server:
        assert "no complete answer within 0.4 s" in failure(
            "GET", server.url, session, replace(HURRIED, error_retries=0)
        )
        assert 2 <= len(server.hits) <= 3
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_ENDS)


def test_the_total_timeout_bounds_the_name_lookup(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def stuck(*_: object, **__: object) -> list[object]:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", stuck)
    message = failure("GET", "http://shop.example/", session, HURRIED)
    answered.set()
    assert "no complete answer within 0.4 s (2 attempts)" in message
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_ENDS)


def test_the_connect_timeout_bounds_connecting_alone(session: requests.Session) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket())
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for _ in range(3):  # fills the queue of connections nobody accepts
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        url = f"http://127.0.0.1:{busy.getsockname()[1]}/"
        impatient = replace(QUICK, timeout_connect=0.2, error_retries=1)
        assert failure("POST", url, session, impatient) == f"POST {url}: no connection within 0.2 s (2 attempts)"


def chunked(body: bytes) -> Answer:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    return answer


BIG = b"x" * 1001
BIG_ANSWERS = {
    "of stated length": ok(BIG),
    "in chunks": chunked(BIG),
    "compressed": lambda handler: handler.reply(200, gzip.compress(BIG), Content_Encoding="gzip"),
}


@pytest.mark.parametrize("answer", BIG_ANSWERS.values(), ids=BIG_ANSWERS.keys())
def test_a_body_over_the_limit_is_an_error_and_not_asked_for_again(session: requests.Session, answer: Answer) -> None:
    with running(answer) as server:
        assert "over the limit of 1000 bytes (1 attempt)" in failure("GET", server.url, session, max_body=1000)
        assert len(server.hits) == 1
        assert fetch("GET", server.url, settings=QUICK, session=session, max_body=1001) == BIG


@pytest.mark.promise("An HTTP response that a case reads is bounded in size.", theme="cases")
def test_a_body_without_end_is_dropped_at_the_limit(session: requests.Session) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.stopping.is_set():
            handler.wfile.write(b"x" * 65536)

    with running(endless) as server:
        assert "over the limit of 10485760 bytes" in failure("GET", server.url, session)
        assert len(server.hits) == 1


@pytest.mark.parametrize(
    ("url", "kwargs", "error"),
    [
        ("shop/orders", {}, requests.exceptions.MissingSchema),
        ("ftp://shop/", {}, requests.exceptions.InvalidSchema),
        ("http://*/", {}, requests.exceptions.InvalidURL),
        ("http://shop/", {"json": float("nan")}, requests.exceptions.InvalidJSONError),
        ("http://shop/", {"headers": {"X": "a\nb"}}, requests.exceptions.InvalidHeader),
        ("http://shop/", {"jason": {}}, TypeError),
        ("http://shop/", {"timeout": 5}, TypeError),
    ],
)
def test_a_wrong_request_is_the_callers_error_and_not_the_services(
    session: requests.Session, url: str, kwargs: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fetch("GET", url, settings=QUICK, session=session, **kwargs)


def test_a_redirect_to_a_wrong_url_is_the_services_error(session: requests.Session) -> None:
    with running(redirect("ftp://elsewhere/")) as server:
        assert "ftp://elsewhere/" in failure("GET", server.url, session)


def test_hooks_of_the_call_and_of_the_session_still_run(session: requests.Session) -> None:
    seen: list[str] = []
    session.hooks["response"].append(lambda response, **_: seen.append("session"))
    with running(ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session)
        hooks = {"response": lambda response, **_: seen.append("call")}
        fetch("GET", server.url, settings=QUICK, session=session, hooks=hooks)
    assert seen == ["session", "call"]
