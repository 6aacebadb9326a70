"""``trigger``: start one test, and optionally wait for its verdict."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import find_livechecks
from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.known_cases import complete_case, full_case_name
from livecheck_celery.cli.parameters import Duration
from livecheck_celery.models import State, TestExecution, TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.keys import UNKNOWN_CASE
from livecheck_celery.utils.annotations import signature_of

#: Seconds to block on the report stream before refusals are looked up.
BLOCK: Final = 1.0


@click.command()
@click.argument("case_name", metavar="CASE", shell_complete=complete_case)
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option("-k", "named", metavar="NAME=VALUE", multiple=True, help="Keyword argument for run(); repeatable.")
@click.option("--id", "test_id", help="Id of the test, and key of its signals; a new UUID by default.")
@click.option("--wait", is_flag=True, help="Wait for the verdict and print it.")
@click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="With --wait: how long to wait, in seconds or with a unit such as 5m.",
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
    r"""Start one test and print its case:id.

    CASE is the full name of the case, or its last part. The case must be declared in the module given with -A. Its
    probability is ignored. ARGs and VALUEs are parsed as JSON; text that is not JSON is a string: 42 is a number,
    '"42"' and sell are strings, null is None. Put -- before ARGs that start with a dash.

    \b
    Exit codes:
      0  the test was started; with --wait: its verdict is PASS
      1  with --wait: any other verdict
      2  the test could not be started; with --wait: no verdict within --timeout

    \b
    Examples:
      livecheck -A shop trigger test_order 42
      livecheck -A shop trigger test_order 42 -k side=sell --id order-42
      livecheck -A shop trigger test_order 42 --wait --timeout 30s
    """
    case = _find_case(case_name, find_livechecks(ctx))
    values = [as_value(text) for text in args]
    keywords = _keywords(named)
    _check_arguments(case, values, keywords)
    livecheck = case.app
    if not wait:
        click.echo(case.trigger.record_and_publish(test_id, tuple(values), keywords).ident)
        return
    if not livecheck.settings.send_reports:
        raise CliError("--wait needs reports, but send_reports is off", "set livecheck_send_reports = True")
    positions: dict[str, str] = {}
    livecheck.runtime.store.reports.follow([case.name, UNKNOWN_CASE], positions, block=0)
    test = case.trigger.record_and_publish(test_id, tuple(values), keywords)
    click.echo(test.ident)
    report = _wait_for_report(livecheck.runtime.store, test, positions, timeout)
    _print(report, case)
    ctx.exit(0 if report.state is State.PASS else 1)


def as_value(text: str) -> Any:
    """Parse ``text`` as JSON; return it unchanged if it is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> Any:
    # Python parses NaN and Infinity, which are not JSON.
    raise ValueError(constant)


def _keywords(named: tuple[str, ...]) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    for each in named:
        name, equals, text = each.partition("=")
        if not (equals and name.isidentifier()):
            raise CliError(f"invalid -k {each!r}: expected NAME=VALUE", "for example -k side=sell")
        if name == "id":
            raise CliError("-k id=... is reserved for the id of the test", "use --id")
        if name in keywords:
            raise CliError(f"-k {name}=... is given twice")
        keywords[name] = as_value(text)
    return keywords


def _find_case(name: str, livechecks: list[BaseLiveCheck]) -> BaseCase:
    declared = {full: case for each in livechecks for full, case in each.cases.items()}
    if not declared:
        hint = "name the module that declares the cases with -A, or in LIVECHECK_CASES"
        raise CliError("no case is declared in this process", hint)
    return declared[full_case_name(name, list(declared), otherwise=f"declared cases: {', '.join(declared)}")]


def _check_arguments(case: BaseCase, args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = signature_of(case.run)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise CliError(f"{case.name}: {exc}", f"the signature is run{signature}") from None


def _wait_for_report(store: Store, test: TestExecution, positions: dict[str, str], timeout: float) -> TestReport:
    deadline = time.monotonic() + timeout
    try:
        while (left := deadline - time.monotonic()) > 0:
            for report in store.reports.follow([test.case_name], positions, block=min(BLOCK, left)):
                if report.test is not None and report.test.id == test.id:
                    return report
            for refusal in store.reports.follow([UNKNOWN_CASE], positions, block=0):
                if refusal.case_name == test.case_name:
                    hint = "restart the worker with code that declares the case, and check LIVECHECK_CASES"
                    raise CliError(f"a worker refused {test.ident}: {refusal.error}", hint)
    except KeyboardInterrupt:
        hint = "`livecheck reports` shows its verdict"
        raise CliError(f"stopped waiting; {test.ident} keeps running", hint) from None
    raise CliError(
        f"no verdict for {test.ident} within {timeout:g} s; the test keeps running",
        "`livecheck doctor` checks whether a worker can run it",
    )


def _print(report: TestReport, case: BaseCase) -> None:
    console.line(
        console.state(report.state),
        f" in {console.duration(report.runtime)}" if report.runtime is not None else "",
        f": {report.error}" if report.error else "",
    )
    for name in case.signals:
        since = report.signal_since_trigger.get(name)
        console.line(f"  {name}: ", "did not arrive" if since is None else f"arrived after {console.duration(since)}")
    if report.traceback and report.state is State.ERROR:  # the error of a failed test names the line
        console.lines(report.traceback)
