"""The tables of `benchmarks.scale`, from its stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.measuring import number
from benchmarks.report import ROOT
from benchmarks.scale_model import PLANNED, Cost, Demand, Measured, Publish, Step, demand, in_mix, publishing, rates

STORED: Final = ROOT / "benchmarks" / "results" / "scale.json"
PAGE: Final = ROOT / "docs" / "scale.md"
BEGIN: Final = "<!-- generated: make bench-scale -->"
END: Final = "<!-- end of make bench-scale -->"

_Rows = list[tuple[str, ...]]


def headings() -> tuple[str, str]:
    """Return the lines between which the page has the tables."""
    return BEGIN, END


def measured_of(stored: Mapping[str, Any]) -> Measured:
    """Read what was measured."""
    found = stored["measured"]
    return Measured(
        {name: Cost(**cost) for name, cost in found["costs"].items()},
        Publish(**found["publish"]),
        found["open_bytes"],
        found["kept_bytes"],
        Cost(**found["broker"]),
        tuple(found["connections"]),
        found["mix"],
    )


def steps_of(stored: Mapping[str, Any]) -> list[Step]:
    """Read the installations."""
    return [Step(**step) for step in stored["steps"]]


def rows_of_costs(stored: Mapping[str, Any]) -> _Rows:
    """Return the table of operations: what one costs, and how many there are at each step."""
    measured, steps = measured_of(stored), steps_of(stored)
    each = [rates(step) for step in steps]
    heads = [f"{step.executions:,.0f}/s" for step in steps]
    rows: _Rows = [("operation", "commands", "processor", "alone", "batched", "bytes in, out", *heads)]
    for name, cost in measured.costs.items():
        times = (f"{number(value)} µs" for value in (cost.processor, cost.alone, cost.batched))
        traffic = f"{number(round(cost.bytes_in))}, {number(round(cost.bytes_out))}"
        counts = (number(rate[name]) for rate in each)
        rows.append((f"`{name}`", number(round(cost.commands)), *times, traffic, *counts))
    publish = measured.publish
    text = f"{number(publish.alone)} µs; in a cluster also {number(publish.send)} and {number(publish.receive)} µs"
    rows.append(("`publish`", "1", text, "", "", "", *(number(rate["publish"]) for rate in each)))
    return rows


def rows_of_steps(stored: Mapping[str, Any]) -> _Rows:
    """Return the table of steps."""
    measured, steps = measured_of(stored), steps_of(stored)
    demands = [demand(step, measured) for step in steps]
    both = list(zip(steps, demands, strict=True))
    peer = Publish(**stored["publish_of_redis"]) if stored["publish_of_redis"] else None
    heads = [f"{step.workers:,} workers, {step.executions:,.0f} executions/s" for step in steps]
    rows: _Rows = [("", *heads)]

    def add(what: str, cells: Sequence[str]) -> None:
        rows.append((what, *cells))

    add("services, cases", [f"{number(step.services)}, {number(step.cases)}" for step in steps])
    add("tests that wait", [number(step.waiting) for step in steps])
    add("records kept after the verdict", [number(step.kept) for step in steps])
    add("Redis commands per second, those in scripts included", [number(one.commands) for one in demands])
    add("traffic of all servers", [f"{number(one.bytes / 1e6)} MB/s" for one in demands])
    add("processors for executions", [f"{number(one.divided)}" for one in demands])
    add("of them, renewals of leases", [_part(step, measured, "renew") for step in steps])
    add("of them, reads of awaited signals", [_part(step, measured, "read") for step in steps])
    add(f"servers at {PLANNED:.0%} of their processor, without PUBLISH", [number(one.servers) for one in demands])
    add("the same, with PUBLISH", [_servers(one) for one in demands])
    add("PUBLISH, of each server's processor", [_share(one.publish) for one in demands])
    if peer:
        shares = [publishing(rates(step)["publish"], peer, one.servers) for step, one in both]
        add(f"PUBLISH on Redis {stored['redis_server']} instead", [_share(share) for share in shares])
    add("keys of all cases, of one server's processor", [_share(one.shared) for one in demands])
    add(f"a case with {steps[0].hot:.0%} of the tests, of one server's processor", [_share(one.hot) for one in demands])
    add("memory of executions", [f"{number(one.memory / 1e9)} GB" for one in demands])
    add("connections to each server", [number(round(one.connections)) for one in demands])
    add("messages per second on a Redis broker, of its processor", [_share(one.broker) for one in demands])
    add("heartbeats of Celery that the broker delivers per second", [number(one.heartbeats) for one in demands])
    add("one sweep, if a tenth of the workers die", [f"{number(one.recovery)} s" for one in demands])
    add("over half of one processor, or of `maxclients`, the worst first", [_broken(one) for one in demands])
    return rows


def _part(step: Step, measured: Measured, name: str) -> str:
    return number(rates(step)[name] * in_mix(measured)[name].processor / 1e6)


def _share(share: float) -> str:
    return f"{share:.1%}" if share < PLANNED / 5 else f"{share:.0%}"


def _servers(one: Demand) -> str:
    return "no number" if one.servers_with_publish is None else number(one.servers_with_publish)


def _broken(one: Demand) -> str:
    return ", ".join(f"**{name}**" for name, share in one.limits.items() if share > PLANNED) or "none"


def markdown(stored: Mapping[str, Any]) -> str:
    """Return the stored results as Markdown."""
    return "\n".join(
        [*_head(stored), "", *_table(rows_of_steps(stored)), "", *_table(rows_of_costs(stored))],
    )


def _head(stored: Mapping[str, Any]) -> list[str]:
    about, measured = stored["machine"], measured_of(stored)
    named = ", ".join(f"{name} {value}" for name, value in stored["versions"].items() if name != "faust-streaming")
    broker = measured.broker
    return [
        f"Measured {stored['at']}, in {stored['seconds']} s, on {about['cores']} cores ({about['processor']}),",
        f"{about['memory_gb']} GB, {about['system']}; {named}. The load of the machine before was {stored['load']}.",
        f"Executions in a mix took {measured.mix:.2f} times the sum of their operations, and so",
        "does the first table.",
        f"A test that waits takes {number(measured.open_bytes)} bytes, one with a verdict",
        f"{number(measured.kept_bytes)} bytes, and a message takes {number(broker.commands)} commands and",
        f"{number(broker.processor)} µs of a Redis broker.",
    ]


def _table(rows: _Rows) -> list[str]:
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
