"""What ``celery report`` and ``celery inspect conf`` show of LiveCheck's settings."""

from __future__ import annotations

import re
from typing import Any, Final

from celery.app import utils as celery_utils

_URLS: Final = "LIVECHECK_(REDIS|BROKER|HEARTBEAT)_URL"


def hide_settings() -> None:
    """Make Celery mask LiveCheck's URLs, as it masks names with "key", "secret" or "pass"."""
    utils: Any = celery_utils  # its types leave out the pattern
    hidden = getattr(utils, "HIDDEN_SETTINGS", None)
    if isinstance(hidden, re.Pattern) and _URLS not in hidden.pattern:
        utils.HIDDEN_SETTINGS = re.compile(f"{hidden.pattern}|{_URLS}", hidden.flags)
