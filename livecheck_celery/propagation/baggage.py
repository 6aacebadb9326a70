"""LiveCheck's entry in the W3C baggage: all signed headers in one value, for services that forward only baggage.

The value consists of characters that percent-encoding leaves unchanged, so that it survives any number of services that
decode and encode it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final
from urllib.parse import unquote_plus

from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from livecheck_celery.models import HEADER_SIGNATURE
from livecheck_celery.propagation.headers import HEADERS

#: Name of the HTTP header, in lower case as W3C writes it.
HEADER: Final = "baggage"
#: Names of the entries: of the innermost test, and of the outer ones.
ENTRY: Final = "livecheck-test"
OUTER_ENTRY: Final = "livecheck-outer"

#: OpenTelemetry's limits: characters in the whole header, characters in one entry, entries.
MAX_HEADER: Final = 8192
MAX_ENTRY: Final = 4096
MAX_ENTRIES: Final = 180

_FIELDS: Final = (*HEADERS, HEADER_SIGNATURE)
_ENTRY_PATTERN: Final = {
    name: re.compile(rf"(?:^|,)[ \t]*{re.escape(name)}[ \t]*=([^,]*)") for name in (ENTRY, OUTER_ENTRY)
}


def pack(headers: Mapping[str, str]) -> str:
    """Encode signed ``headers`` as the value of the entry."""
    fields = [headers.get(name) for name in _FIELDS]
    return base64_encode(json.dumps(fields, separators=(",", ":"))).decode()


def unpack(value: str) -> dict[str, str] | None:
    """Decode the value of an entry to headers, without verifying them; None for a value that `pack` did not make."""
    try:
        fields = json.loads(base64_decode(plain(value)))
    except (BadData, ValueError, RecursionError):
        return None
    if not isinstance(fields, list) or len(fields) != len(_FIELDS):
        return None
    headers = {name: field for name, field in zip(_FIELDS, fields, strict=True) if field is not None}
    return headers if all(isinstance(field, str) for field in headers.values()) else None


def plain(value: str) -> str:
    """Return the value of an entry without its encoding and its properties."""
    # Some services treat an entry's properties as part of its value, and encode them with it.
    return unquote_plus(value).partition(";")[0].strip()


def entries(header: str, name: str = ENTRY) -> list[str]:
    """Return the values of all entries called ``name`` in a baggage ``header``, with their properties."""
    return _ENTRY_PATTERN[name].findall(header) if name in header else []


def is_withheld(headers: Mapping[str, str], is_listed: Callable[[], bool]) -> bool:
    """Return whether ``headers`` have LiveCheck's entries, which their receiver must not get."""
    header = headers.get(HEADER)
    return isinstance(header, str) and "livecheck-" in header and others(header) != header and not is_listed()


def remove_entries(headers: MutableMapping[str, str]) -> None:
    """Remove LiveCheck's entries from the baggage in ``headers``."""
    if not isinstance(header := headers.get(HEADER), str):
        return
    if (rest := others(header)) != header:
        headers[HEADER] = rest
        if not rest:
            del headers[HEADER]


def others(header: str) -> str:
    """Return a baggage ``header`` without LiveCheck's entries."""
    members = [member for member in header.split(",") if member.partition("=")[0].strip() not in (ENTRY, OUTER_ENTRY)]
    return ",".join(members)
