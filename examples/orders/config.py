"""What differs from one machine to the next, all of it from the environment."""

import os

#: Where the web app answers.
URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:5000")
DATABASE_URL = os.environ.get("ORDERS_DATABASE_URL", "sqlite:///orders.sqlite3")
REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")


def broken(part: str) -> bool:
    """Whether ``part`` was broken on purpose, to see it caught: ORDERS_BREAK=cache|side|lost|slow|web."""
    return os.environ.get("ORDERS_BREAK") == part
