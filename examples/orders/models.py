"""An order, and its states."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    def other(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class NewOrder(BaseModel):
    """An order as the customer sends it."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=64)
    side: Side
    price: int = Field(gt=0, description="in cents, per piece")
    quantity: int = Field(gt=0)


class Order(NewOrder):
    """An order that the web app accepted."""

    id: str


class StoredOrder(Order):
    """A row of the database; times are in seconds since the epoch."""

    stored_at: float
    executed_at: float | None = None


class Execution(BaseModel):
    """The result of executing an order."""

    order_id: str
    side: Side
    total: int = Field(description="in cents")
    executed_at: float
