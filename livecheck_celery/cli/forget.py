"""``forget``: remove a case that is gone, with all its data."""

from __future__ import annotations

import sys
from typing import Any

import click

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import distinct, find_livechecks
from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.known_cases import KnownCase, complete_case, full_case_name, known_cases
from livecheck_celery.tasks.beat_schedule import PREFIX


@click.command()
@click.argument("case_name", metavar="CASE", shell_complete=complete_case)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also if a running worker declares the case.")
@click.pass_context
def forget(ctx: click.Context, *, case_name: str, yes: bool, force: bool) -> None:
    r"""Remove a case that is gone, with all its data.

    Removes its statistics, reports, tests and overrides. CASE is the full name of the case, or its last part. Asks
    before it removes anything. Refuses while a running worker declares the case, since that worker would continue to
    run its tests. Also removes the entry of its fake requests from the database of django-celery-beat, in a project
    that has one; other schedulers remove it when beat starts. A worker that still declares the case registers it
    again, with new statistics, when it starts.

    \b
    Exit codes:
      0  the case was removed
      1  not confirmed
      2  invalid arguments, a running worker declares the case, or Redis did not
         answer

    \b
    Examples:
      livecheck -A shop forget shop.test_old
      livecheck -A shop forget test_old --yes
    """
    livechecks = find_livechecks(ctx)
    known = known_cases(livechecks)
    name = full_case_name(case_name, list(known), otherwise=f"known cases: {', '.join(known) or 'none'}")
    case = known[name]
    if case.declared and not force:
        raise CliError(
            f"a running worker declares {name}: {', '.join(_declaring(case, name)) or 'see `livecheck doctor`'}",
            "remove the case from the code and restart the worker; --force removes its data only",
        )
    reports = case.store.reports.latest([name], count=case.store.settings.max_reports)
    if not yes:
        finished = sum(case.store.suites.statistics(name).total_by_state.values())
        counts = (finished, "finished test"), (case.store.executions.open_count(name), "open test")
        listed = ", ".join(_counted(*each) for each in counts)
        click.confirm(f"Remove {name}, {listed} and {_counted(len(reports), 'report')}?", abort=True)
    case.store.registry.forget(name, [report.test.id for report in reports if report.test])
    console.line(f"{name}: removed")
    for each in distinct(livechecks, "broker_url"):
        if deleted := delete_beat_entries(each.app, name):
            console.line(f"{name}: {deleted} entry removed from the database of django-celery-beat")


def delete_beat_entries(app: Any, case_name: str) -> int:
    """Delete the entry of a case from the database of django-celery-beat; return how many were deleted."""
    app.loader.import_default_modules()  # sets up Django, in a project
    apps = sys.modules.get("django.apps")
    if apps is None or not apps.apps.ready or not apps.apps.is_installed("django_celery_beat"):
        return 0
    stored: Any = apps.apps.get_model("django_celery_beat", "PeriodicTask")
    deleted: int = stored.objects.filter(name=f"{PREFIX}{case_name}:frequency").delete()[1].get(stored._meta.label, 0)  # noqa: SLF001 - Django's documented API
    return deleted


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _declaring(case: KnownCase, name: str) -> list[str]:
    """Return the names of the running workers that declare the case."""
    liveness = case.store.liveness
    workers = [one for one in liveness.processes() if one.kind == "worker"]
    return sorted({one.name for one in workers if name in (liveness.declared_cases([one]) or ())})
