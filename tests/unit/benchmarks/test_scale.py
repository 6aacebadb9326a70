"""The arithmetic of the steps to 1,000 workers, and the page that has it."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace

import pytest

from benchmarks import scale_model as model
from benchmarks.report import ROOT, with_table
from benchmarks.scale_model import Cost, Measured, Publish, Step
from benchmarks.scale_report import PAGE, STORED, headings, markdown, steps_of

STEP = Step(workers=10, services=20, executions=1_000, cases=100)
COST = Cost(script=5.0, processor=10.0, alone=20.0, batched=4.0, commands=2.0, bytes_in=100.0, bytes_out=50.0)
FREE = Publish(alone=0.0, send=0.0, receive=0.0)
MEASURED = Measured(
    costs=dict.fromkeys((*model.OF_CASES, *model.SHARED, *model.ANYWHERE), COST),
    publish=FREE,
    open_bytes=3_000.0,
    kept_bytes=1_000.0,
    broker=COST,
    connections=(4.0, 2.0),
)


def test_rates_follow_from_the_constants_of_the_code() -> None:
    found = model.rates(STEP)
    assert found["record"] == found["claim"] == found["verdict"] == 1_000
    assert found["signal"] == found["publish"] == 2_000
    assert found["renew"] == pytest.approx(10_000 / 3)  # each test that waits, every 3 s
    assert found["read"] == 3_000  # after two, four and eight seconds
    assert found["snapshot"] == 15  # thirty processes, every 2 s
    assert found["ping"] == 20  # ten workers, every half second
    assert found["due"] == pytest.approx(100 / 3)  # all cases, every 3 s


def test_longer_leases_are_renewed_less_often() -> None:
    longer = replace(STEP, recover_within=4 * STEP.recover_within)
    assert model.rates(longer)["renew"] == pytest.approx(model.rates(STEP)["renew"] / 4)


@pytest.mark.parametrize(("seconds", "reads"), [(0.5, 0), (1.9, 0), (2, 1), (4, 2), (10, 3), (60, 8)])
def test_periodic_reads_of_a_signal(seconds: float, reads: int) -> None:
    assert model.reads_of_a_wait(seconds) == reads


def test_a_process_notes_each_case_once_in_a_period() -> None:
    assert model.noted(1, rate=1_000, cases=1, every=15) == pytest.approx(1 / 15)
    assert model.noted(10, rate=1e6, cases=100, every=15) == pytest.approx(10 * 100 / 15)
    assert model.noted(10, rate=1.0, cases=1_000_000, every=15) == pytest.approx(1.0, rel=1e-3)  # no case twice
    assert model.noted(0, rate=1.0, cases=1) == 0


def test_publish_is_not_shared_out_in_a_cluster() -> None:
    publish = Publish(alone=2.0, send=1.0, receive=1.0)
    assert model.publishing(100_000, publish, 1) == pytest.approx(0.2)
    assert model.publishing(100_000, publish, 2) == pytest.approx(0.2)
    assert model.publishing(100_000, publish, 1_000) == pytest.approx(0.2, rel=1e-3)


def test_servers_for_a_step() -> None:
    divided = model.demand(STEP, MEASURED).divided
    assert divided == pytest.approx(model.cores(model.rates(STEP), MEASURED.costs, model.OF_CASES + model.ANYWHERE))
    large = replace(STEP, executions=100 * STEP.executions)
    few = model.servers_for(large, MEASURED.costs, FREE)
    assert few is not None
    assert few * model.PLANNED >= model.demand(large, MEASURED).divided > (few - 1) * model.PLANNED
    assert model.servers_for(large, MEASURED.costs, Publish(0.0, 2.0, 2.0)) is None


def test_demand_grows_with_the_executions() -> None:
    one, ten = model.demand(STEP, MEASURED), model.demand(replace(STEP, executions=10_000), MEASURED)
    assert ten.memory == 10 * one.memory == pytest.approx(10 * (10_000 * 3_000 + 120_000 * 1_000))
    assert ten.broker == pytest.approx(10 * one.broker) == pytest.approx(0.1)
    assert one.connections == 10 * 4 + 20 * 2
    assert one.recovery == 0.5  # a tenth of 10,000 tests that wait
    assert next(iter(ten.limits)) == max(ten.limits, key=lambda name: ten.limits[name])


def test_operations_in_a_mix_cost_more() -> None:
    mixed = model.demand(STEP, replace(MEASURED, mix=1.5))
    assert mixed.divided == pytest.approx(1.5 * model.demand(STEP, MEASURED).divided)
    assert mixed.hot == pytest.approx(1.5 * model.demand(STEP, MEASURED).hot)


def test_tables_of_the_page_are_those_of_the_stored_results() -> None:
    page, stored = PAGE.read_text(), json.loads(STORED.read_text())
    assert with_table(page, markdown(stored), *headings()) == page, "run: make bench-scale"
    assert steps_of(stored) == list(model.STEPS)


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scale", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / "benchmarks" / "scale.py"), run_name="__main__")
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert "--quick" in said
    assert "what breaks first with 1,000 workers" in said
