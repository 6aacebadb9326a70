"""The database, and the index in Redis."""

from functools import cache
from typing import Any

import redis
from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.schema import CreateTable

from orders import config
from orders.models import StoredOrder

DAY = 24 * 60 * 60

orders = Table(
    "orders",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("side", String, nullable=False),
    Column("price", Integer, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("stored_at", Float, nullable=False),
    Column("executed_at", Float),
)


@cache
def database() -> Engine:
    """Open the database at first use, so that forked workers do not share it; create the table if it is missing."""
    engine = create_engine(config.DATABASE_URL)
    with engine.begin() as connection:
        connection.execute(CreateTable(orders, if_not_exists=True))
    return engine


def add(order: StoredOrder) -> None:
    with database().begin() as connection:
        connection.execute(insert(orders).values(order.model_dump()))


def change(order_id: str, **values: Any) -> None:
    with database().begin() as connection:
        connection.execute(update(orders).where(orders.c.id == order_id).values(values))


def get(order_id: str) -> StoredOrder:
    with database().connect() as connection:
        row = connection.execute(select(orders).where(orders.c.id == order_id)).mappings().one()
    return StoredOrder.model_validate(dict(row))


def counts() -> dict[str, int]:
    with database().connect() as connection:
        stored, executed = connection.execute(
            select(func.count(), func.count(orders.c.executed_at)).select_from(orders)
        ).one()
    return {"stored": stored, "executed": executed}


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(config.REDIS_URL, decode_responses=True)


def add_to_index(order: StoredOrder) -> None:
    _redis().set(f"orders:{order.id}", order.model_dump_json(), ex=DAY)


def get_from_index(order_id: str) -> StoredOrder:
    return StoredOrder.model_validate_json(_redis().get(f"orders:{order_id}") or "null")
