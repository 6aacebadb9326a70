"""An order, and what becomes of it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    def other(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class NewOrder(BaseModel):
    """What a customer sends."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=64)
    side: Side
    price: int = Field(gt=0, description="in cents, for one piece")
    quantity: int = Field(gt=0)


class Order(NewOrder):
    """What the web app accepted."""

    id: str


class StoredOrder(Order):
    """What the database holds; times are seconds since the epoch."""

    stored_at: float
    executed_at: float | None = None


class Execution(BaseModel):
    """What was bought or sold in the end."""

    order_id: str
    side: Side
    total: int = Field(description="in cents")
    executed_at: float
