"""Check that every key in Redis is bounded."""

from __future__ import annotations

import re

import redis


def unbounded_keys(client: redis.Redis, prefix: str) -> list[str]:
    """Return LiveCheck's keys that have neither a TTL nor a limit on their size.

    Keys outside the prefix, such as Celery's and kombu's, are ignored.
    """
    kept = re.compile(
        rf"{re.escape(prefix)}:({{[^}}]*}}:(settings|shared|suite|runtime|latency|frequency|with-open|checks))"
    )
    found = []
    for key in client.scan_iter(match=f"{prefix}:*"):
        if client.ttl(key) != -1 or kept.fullmatch(key):
            continue
        found.append(key)
    return found


def let_time_pass(client: redis.Redis, seconds: int) -> None:
    """Let every key expire ``seconds`` earlier; the clock stays."""
    for key in client.scan_iter():
        left = client.pttl(key) - seconds * 1000
        if client.pttl(key) > 0:
            client.pexpire(key, max(0, left))
