"""Settings from the environment."""

import os

#: Base URL of the web app.
URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:5000")
DATABASE_URL = os.environ.get("ORDERS_DATABASE_URL", "sqlite:///orders.sqlite3")
REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")


def broken(part: str) -> bool:
    """Return whether ``part`` is broken on purpose, so that tests fail: ORDERS_BREAK=cache|side|lost|slow|web."""
    return os.environ.get("ORDERS_BREAK") == part
