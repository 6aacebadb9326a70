"""Lists of hosts: names, wildcards, networks and URLs; and the comparison of a request's host with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import idna

_WILDCARD: Final = "*."
#: Labels of a host name; containers have underscores in theirs.
_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)

#: Longest host name, in characters.
LONGEST: Final = 253

#: Limits the memory for hosts of requests, which users can choose.
_MAX_SEEN: Final = 1000


class Hosts:
    """A list of hosts to which tests are propagated; entries that `check_hosts` refuses are left out.

    An entry is a host name, an IP address, ``*.example.com`` for all hosts below a domain, a network such as
    ``10.0.0.0/8`` for hosts given as addresses, or a URL, of which only the host counts. Case, ports, and the zone of
    an IPv6 address are ignored; an international name equals its ASCII form.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._domains: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        #: Results for the hosts of earlier requests.
        self._seen: dict[str, bool] = {}
        for entry in entries:
            with suppress(ValueError):
                self._add(entry.strip())

    def _add(self, entry: str) -> None:
        if "/" in entry and "://" not in entry:
            self._networks.append(_network(entry))
        elif entry:
            host = _host_of(entry)
            is_domain = host.startswith(_WILDCARD)
            name = _normalized(host.removeprefix(_WILDCARD))
            if name is None:
                raise ValueError(_invalid(entry))
            added, prefix = (self._domains, ".") if is_domain else (self._names, "")
            added.update({prefix + name, prefix + name.rstrip(".")})

    def __bool__(self) -> bool:
        return bool(self._names or self._domains or self._networks)

    def __contains__(self, host: object) -> bool:
        """Return whether the host of a request is listed; never raise."""
        if not isinstance(host, str):
            return False
        found = self._seen.get(host)
        if found is None:
            found = self._matches(host)
            if len(self._seen) < _MAX_SEEN:
                self._seen[host] = found
        return found

    def name(self, host: object) -> str | None:
        """Return ``host`` as a name that one of the entries is; None for addresses, ``localhost``, and other hosts."""
        name = _normalized(host.strip()) if isinstance(host, str) else None
        if name is None or name not in self._names or address_of(name) or name.rstrip(".") == "localhost":
            return None
        return name.rstrip(".")

    def _matches(self, host: str) -> bool:
        name = _normalized(host.strip())
        if name is None:
            return False
        if name in self._names:
            return True
        address = address_of(name)
        if address is not None:
            return any(address in network for network in self._networks)
        return any(name.endswith(domain) for domain in self._domains)


def check_hosts(entries: Iterable[str]) -> None:
    """Check the entries of a list of hosts.

    Raises:
        ValueError: an entry is not a host; the message names it.
    """
    hosts = Hosts(())
    for entry in entries:
        hosts._add(entry.strip())  # noqa: SLF001 - of the class above


def _host_of(entry: str) -> str:
    """Return the host in ``entry``: a URL, or a host with or without a port.

    Raises:
        ValueError: ``entry`` is malformed.
    """
    if entry.count(":") > 1 and "[" not in entry and "://" not in entry:  # a bare IPv6 address
        entry = f"[{entry}]"
    try:
        parts = urlsplit(entry if "://" in entry else f"//{entry}")
        _ = parts.port
        host = parts.hostname
    except ValueError:
        host = None
    if not host or ("://" not in entry and (parts.query or parts.fragment or "@" in entry)):
        raise ValueError(_invalid(entry))
    return host


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        raise ValueError(_invalid(entry)) from None


def _normalized(host: str) -> str | None:
    """Return ``host`` in the form in which hosts are compared; None if it is not a host."""
    if address := address_of(host.removeprefix("[").removesuffix("]").rstrip(".")):
        return str(address)
    name = host.lower()
    if len(name) > LONGEST:  # idna takes long for long names
        return None
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return None
    return name if _NAME.fullmatch(name.removesuffix(".")) else None


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that ``text`` is, without its zone; an IPv4 address that is mapped to IPv6 as IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _invalid(entry: str) -> str:
    entry = entry.partition("://")[0] + "://..." if "@" in entry else entry
    return f"{entry!r:.80} is not a host; write a name, *.example.com, a network such as 10.0.0.0/8, or a URL"
