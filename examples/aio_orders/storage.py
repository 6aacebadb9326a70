"""The database of orders, and the cache in Redis."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import redis
from redis import asyncio as async_redis

from aio_orders.celery import REDIS_URL

DATABASE = os.environ.get("ORDERS_DATABASE", "aio_orders.sqlite3")
HOUR = 60 * 60


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Connect for one transaction."""
    with closing(sqlite3.connect(DATABASE, timeout=10)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, fields TEXT, charged INTEGER)")
        yield connection


def save(order_id: str, fields: str) -> None:
    with database() as connection:
        connection.execute("INSERT OR REPLACE INTO orders (id, fields) VALUES (?, ?)", (order_id, fields))


def load(order_id: str) -> str:
    with database() as connection:
        [fields] = connection.execute("SELECT fields FROM orders WHERE id = ?", (order_id,)).fetchone()
    return str(fields)


def charge(order_id: str, cents: int) -> None:
    with database() as connection:
        connection.execute("UPDATE orders SET charged = ? WHERE id = ?", (cents, order_id))


def add_to_cache(order_id: str, fields: str) -> None:
    with redis.Redis.from_url(REDIS_URL) as cache:
        cache.set(f"orders:{order_id}", fields, ex=HOUR)


async def is_cached(order_id: str) -> bool:
    async with async_redis.Redis.from_url(REDIS_URL) as cache:
        return bool(await cache.exists(f"orders:{order_id}"))
