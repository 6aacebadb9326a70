"""The Redis users of deploy/redis.acl."""

from __future__ import annotations

import re
from hashlib import sha256

from tests.helpers.programs import REPOSITORY

FILE = (REPOSITORY / "deploy" / "redis.acl").read_text()
_PLACEHOLDER = re.compile(r"#SHA256-OF-THE-PASSWORD-OF-\w+")


def with_password(text: str, password: str) -> str:
    """Return ``text`` with the digest of ``password`` in place of each placeholder."""
    return _PLACEHOLDER.sub(f"#{sha256(password.encode()).hexdigest()}", text)


def rights(name: str, password: str = "") -> str:
    """Return the rules of the user ``name``."""
    [line] = re.findall(rf"^user {name} (.+)$", FILE, re.MULTILINE)
    return with_password(line, password)
