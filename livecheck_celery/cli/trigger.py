"""``trigger``: start one test, and wait for its verdict."""

from __future__ import annotations

import inspect
import json
import time
from typing import Any, Final

import click

from livecheck_celery.cases.case import Case
from livecheck_celery.cli import console
from livecheck_celery.cli.support import CliError, Duration, case_called, find_livechecks
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.models import State, TestExecution, TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.keys import UNKNOWN_CASE

#: Seconds of one look at the reports.
LOOK: Final = 1.0


@click.command()
@click.argument("case_name", metavar="CASE")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option("-k", "named", metavar="NAME=VALUE", multiple=True, help="A keyword argument of run(); repeatable.")
@click.option("--id", "test_id", help="Name of the test, and key of its signals; a new UUID by default.")
@click.option("--wait", is_flag=True, help="Wait for the verdict and print it.")
@click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait: seconds, or such as 5m.",
)
@click.pass_context
def trigger(
    ctx: click.Context,
    *,
    case_name: str,
    args: tuple[str, ...],
    named: tuple[str, ...],
    test_id: str | None,
    wait: bool,
    timeout: float,
) -> None:
    r"""Start one test, and print its name.

    CASE is the case's full name, or its last part; its probability does not matter. ARG and VALUE are read as JSON
    where they are JSON and are strings otherwise: 42 is a number, '"42"' a string, sell a string, null None. After --
    an ARG may begin with a dash.

    Exit code: 0 when started, with --wait when the verdict is PASS; 1 on any other verdict; 2 when it could not be
    started, or there is no verdict within --timeout.

    \b
    Examples:
      livecheck -A shop trigger test_order 42
      livecheck -A shop trigger test_order 42 -k side=sell --id order-42
      livecheck -A shop trigger test_order 42 --wait --timeout 30s
    """
    livechecks = find_livechecks(ctx)
    case = _find(case_name, livechecks)
    values = [as_value(text) for text in args]
    keywords = _keywords(named)
    _fit(case, values, keywords)
    suite = case.app
    if not wait:
        click.echo(case.trigger(test_id, *values, **keywords).ident)
        return
    if not suite.settings.send_reports:
        raise CliError("reports are off, so --wait would see no verdict", "set livecheck_send_reports = True")
    positions: dict[str, str] = {}
    suite.runtime.store.reports.follow([case.name, UNKNOWN_CASE], positions, block=0)
    test = case.trigger(test_id, *values, **keywords)
    click.echo(test.ident)
    report = _await(suite.runtime.store, test, positions, timeout)
    _show(report, case)
    ctx.exit(0 if report.state is State.PASS else 1)


def as_value(text: str) -> Any:
    """``text`` read as JSON; itself when it is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> Any:
    # Python reads NaN and Infinity, which are not JSON.
    raise ValueError(constant)


def _keywords(named: tuple[str, ...]) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    for each in named:
        name, equals, text = each.partition("=")
        if not (equals and name.isidentifier()):
            raise CliError(f"-k {each!r} is not name=value", "for example -k side=sell")
        if name == "id":
            raise CliError("-k id=... would be the test's id", "use --id")
        if name in keywords:
            raise CliError(f"-k {name}=... is given twice")
        keywords[name] = as_value(text)
    return keywords


def _find(wanted: str, livechecks: list[LiveCheck]) -> Case:
    declared = {name: case for each in livechecks for name, case in each.cases.items()}
    if not declared:
        raise CliError("no case is declared here", "name the module that does with -A, or in LIVECHECK_CASES")
    return declared[case_called(wanted, list(declared), otherwise=f"declared here: {', '.join(declared)}")]


def _fit(case: Case, args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = inspect.signature(case.run)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise CliError(f"{case.name}: {exc}", f"it takes run{signature}") from None


def _await(store: Store, test: TestExecution, positions: dict[str, str], timeout: float) -> TestReport:
    deadline = time.monotonic() + timeout
    try:
        while (left := deadline - time.monotonic()) > 0:
            for report in store.reports.follow([test.case_name], positions, block=min(LOOK, left)):
                if report.test is not None and report.test.id == test.id:
                    return report
            for refusal in store.reports.follow([UNKNOWN_CASE], positions, block=0):
                if refusal.case_name == test.case_name:
                    raise CliError(f"a worker refused {test.ident}: {refusal.error}", "restart the worker, or mend it")
    except KeyboardInterrupt:
        raise CliError(f"stopped waiting; {test.ident} goes on", "`livecheck reports` will show its verdict") from None
    raise CliError(
        f"no verdict on {test.ident} within {timeout:g} s; it goes on",
        "`livecheck doctor` says whether a worker would run it",
    )


def _show(report: TestReport, case: Case) -> None:
    console.line(
        console.state(report.state),
        f" in {console.duration(report.runtime)}" if report.runtime is not None else "",
        f": {report.error}" if report.error else "",
    )
    for name in case.signals:
        since = report.signal_since_trigger.get(name)
        console.line(f"  {name}: ", "did not arrive" if since is None else f"after {console.duration(since)}")
    if report.traceback and report.state is State.ERROR:  # else the error says where
        console.lines(report.traceback)
