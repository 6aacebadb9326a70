"""Lists of hosts: which entries are hosts, and which hosts they match."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecheck_celery.utils.hosts import Hosts, check_hosts


@pytest.mark.parametrize(
    ("entry", "matched", "others"),
    [
        ("http://orders:8000", ["orders", "ORDERS"], ["http", "orders:8000", "orders.example"]),
        ("http://orders", ["orders"], ["http"]),
        ("https://me:pw@orders/path?x#y", ["orders"], ["me", "pw"]),
        ("Orders:8000", ["orders"], ["8000"]),
        ("my_service", ["my_service"], ["my-service"]),
        (
            "*.example.com",
            ["a.example.com", "b.A.example.COM"],
            ["example.com", "aexample.com", "example.com.evil", "10.0.0.1"],
        ),
        ("http://*.example.com:80/", ["a.example.com"], ["example.com"]),
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1", "10", "10.example"]),
        ("10.1.2.3/8", ["10.9.9.9"], ["11.0.0.1"]),
        ("fd00::/8", ["fd12::1", "[fd12::1]"], ["fe80::1", "10.0.0.1"]),
        ("[fd00::]/8", ["fd12::1"], []),
        ("::1", ["::1", "[::1]", "0:0:0:0:0:0:0:1"], ["::2"]),
        ("[::1]:8000", ["::1"], ["::"]),
        ("http://[::1]:8000/", ["::1"], []),
        ("fe80::1%eth0", ["fe80::1", "fe80::1%eth1", "FE80::1"], ["fe80::2"]),
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "127.1"]),
        ("::ffff:127.0.0.1", ["127.0.0.1"], []),
        ("localhost.", ["localhost", "localhost."], ["localhost.example"]),
        ("bücher.example", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example"], ["bucher.example"]),
        ("xn--bcher-kva.example", ["bücher.example"], []),
        ("straße.example", ["xn--strae-oqa.example", "straße.example"], ["strasse.example"]),
        ("  shop  ", ["shop"], [""]),
        ("", [], ["", "x"]),
    ],
)
def test_entry_matches_its_hosts(entry: str, matched: list[str], others: list[str]) -> None:
    check_hosts([entry])
    hosts = Hosts([entry])
    assert [host for host in matched if host not in hosts] == []
    assert [host for host in others if host in hosts] == []


@pytest.mark.parametrize("host", ["\u0660" * 100_000, "\u30fb" * 100_000 + "\u6f22", "a." * 50_000])
def test_long_host_takes_no_time(host: str) -> None:
    started = time.perf_counter()
    assert host not in Hosts(["*.example.com"])
    assert time.perf_counter() - started < 1  # idna 3.14 and older need minutes


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.",
        "*example.com",
        "a.*.com",
        "foo*",
        "http://",
        "http://[::1",
        "[::1",
        "::1::",
        "10.0.0.0/33",
        "orders/path",
        "a b",
        "a,b",
        "host:port",
        "user@host",
        "http://a b/",
        "-a",
        "a..b",
        "x" * 64,
        "a." * 130 + "a",
        "10.0.0.0/8/8",
        "\x00",
        "?",
        "http://host:99999",
    ],
)
def test_other_entries_are_refused_by_name_and_match_nothing(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host; write a name") as caught:
        check_hosts(["good", entry])
    assert "\n" not in str(caught.value)
    hosts = Hosts(["good", entry])
    assert "good" in hosts
    assert entry not in hosts


def test_password_of_a_refused_url_is_not_shown() -> None:
    with pytest.raises(ValueError) as caught:
        check_hosts(["http://me:hunter2@/"])
    assert "hunter" not in str(caught.value)


any_text = st.one_of(
    st.text(),
    st.text(alphabet="[]:%.*/@0123456789abfxn-é\udce9"),
    st.sampled_from(["http://[1", "//", "[::1", "xn--", "xn--\u00ff", "1.2.3.4%", "::%"]),
)


@given(st.lists(any_text, max_size=3), st.one_of(any_text, st.none(), st.binary(), st.integers()))
def test_no_host_and_no_entry_raises(entries: list[str], host: Any) -> None:
    assert (host in Hosts(entries)) in (True, False)
    assert host not in Hosts([])


def test_memory_for_hosts_of_requests_is_bounded() -> None:
    hosts = Hosts(["shop"])
    for number in range(5000):
        assert f"host{number}" not in hosts
    assert len(hosts._seen) <= 1000
    assert "shop" in hosts
