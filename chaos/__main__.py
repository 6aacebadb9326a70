"""The command: ``make chaos``, or ``python -m chaos``."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from chaos import drama, show
from chaos.drama import Script

_EPILOG: Final = """\b
Examples:
  make chaos                                     the whole of it, with a seed of its own choosing
  make chaos ARGS="--seed 7"                     the same orders and the same faults again
  make chaos ARGS="--executions 300 --kills 5"   less than a minute
  make chaos ARGS="--broker same"                the state and the messages on one Redis
  make chaos ARGS="--broker rabbitmq"            messages by RabbitMQ, which must be installed
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True}, epilog=_EPILOG)
@click.option("--seed", type=int, help="What everything random derives from.  [default: a new one, which is printed]")
@click.option("--executions", type=click.IntRange(1), default=10_000, help="Executions to trigger.")
@click.option("--kills", type=click.IntRange(0), default=20, help="Processes to end; as many other faults come beside.")
@click.option("--limit", type=click.IntRange(1), default=600, help="Seconds after which the run has failed.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=50.0, help="Orders a second, at most.")
@click.option("--broker", type=click.Choice(drama.BROKERS), default="separate", help="What brings the messages.")
@click.option("--keep", is_flag=True, help="Keep the logs of a run that went well, too.")
def main(*, seed: int | None, keep: bool, **options: Any) -> None:
    """Kill everything while tests run, and prove that each test had exactly one verdict.

    An order system of two web services and an ordinary Celery worker is tested by four LiveCheck workers and two
    beats. Workers, beats, web services, the Redis that holds the state, and the broker are killed, stopped and frozen;
    connections are closed by the servers, and the network between any two is disturbed. A ledger of its own, which
    nothing befalls, knows what was triggered and what each signal carried. In the end, what Redis holds is compared
    with that.

    Exits with 1 when anything is wrong, and says where the logs of all programs are.
    """
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    directory = Path(tempfile.mkdtemp(prefix="livecheck-chaos-"))
    script = Script(seed, **options)
    again = " ".join(f"--{name} {value}" for name, value in {"seed": seed, **options}.items())
    click.echo(f'seed {seed}; the same again: make chaos ARGS="{again}"\nlogs: {directory}')
    console = Console()
    if not console.is_terminal:
        console.width = 140
    try:
        outcome = asyncio.run(drama.perform(script, directory, show.Progress(script)))
    except AssertionError as exc:  # of a program that did not come up
        raise click.ClickException(str(exc)) from exc
    show.conclude(console, outcome)
    if keep or not outcome.went_well:
        click.echo(f"The logs of all programs are in {directory}")
    else:
        shutil.rmtree(directory)
    sys.exit(not outcome.went_well)


if __name__ == "__main__":
    main()
