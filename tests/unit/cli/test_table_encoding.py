"""Tables on streams whose encoding lacks characters."""

from __future__ import annotations

import io
import sys

import pytest

from livecheck_celery.cli.tables import Column, FittedTable


def test_columns_are_aligned_where_characters_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    table = FittedTable([Column("CASE"), Column("STATUS")], [["caf\xe9", "PASS"], ["order", "FAIL"]])
    assert table.plain_lines() == ["CASE     STATUS", r"caf\xe9  PASS", "order    FAIL"]
