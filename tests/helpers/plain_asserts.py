"""Functions with asserts that pytest does not rewrite, as it does in test modules."""

from __future__ import annotations

from typing import Any


def wrong_side(self: Any) -> None:
    side, wanted = "buy", "sell"
    assert side == wanted


def wrong_side_in_words(self: Any) -> None:
    side, wanted = "buy", "sell"
    assert side == wanted, f"the side is {side}, not {wanted}"
