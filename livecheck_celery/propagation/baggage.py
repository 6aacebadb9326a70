"""LiveCheck's entry in the W3C baggage: the signed headers in one text, for hops that pass on nothing but baggage.

The text has only characters that percent-encoding leaves alone, so that it arrives unchanged however often, and by
whatever rules, those in between decode and encode it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from livecheck_celery.models import HEADER_SIGNATURE
from livecheck_celery.propagation import headers as carrier

#: Name of the HTTP header, in lower case as W3C writes it.
HEADER: Final = "baggage"
#: Name of the entry.
ENTRY: Final = "livecheck-test"

#: Limits that everybody keeps to: characters of the whole header, characters of one entry, entries.
MAX_HEADER: Final = 8192
MAX_ENTRY: Final = 4096
MAX_ENTRIES: Final = 180

_FIELDS: Final = (*carrier.HEADERS, HEADER_SIGNATURE)
_FOUND: Final = re.compile(rf"(?:^|,)[ \t]*{re.escape(ENTRY)}[ \t]*=([^,]*)")


def pack(headers: Mapping[str, str]) -> str:
    """The value of the entry that carries ``headers``, signed as `carrier.sign` does."""
    fields = [headers.get(name) for name in _FIELDS]
    return base64_encode(json.dumps(fields, separators=(",", ":"))).decode()


def unpack(value: str) -> dict[str, str] | None:
    """The headers in an entry's ``value``, whatever they are worth; None when it was not made by `pack`."""
    # Some of those in between take an entry's properties for a part of its value, and encode them along with it.
    text = unquote_plus(value).partition(";")[0].strip()
    try:
        fields = json.loads(base64_decode(text))
    except (BadData, ValueError, RecursionError):
        return None
    if not isinstance(fields, list) or len(fields) != len(_FIELDS):
        return None
    headers = {name: field for name, field in zip(_FIELDS, fields, strict=True) if field is not None}
    return headers if all(isinstance(field, str) for field in headers.values()) else None


def entries(header: str) -> list[str]:
    """The values of LiveCheck's entries in ``header``, properties and all; more than one is none of its doing."""
    return _FOUND.findall(header) if ENTRY in header else []
