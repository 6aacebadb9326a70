"""The command line: ``make chaos``, or ``python -m chaos``."""

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

from chaos import output, run
from chaos.run import Options

_EPILOG: Final = """\b
Examples:
  make chaos                                     10,000 executions, 20 kills: about five minutes
  make chaos ARGS="--seed 7"                     repeat the orders and the faults of seed 7
  make chaos ARGS="--executions 300 --kills 5"   a short run: less than a minute
  make chaos ARGS="--broker same"                one Redis for the state and for the messages
  make chaos ARGS="--broker rabbitmq"            RabbitMQ as the broker; it must be installed
"""
_PIPED_WIDTH: Final = 140


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True}, epilog=_EPILOG)
@click.option("--seed", type=int, help="Seed of the orders and of the faults.  [default: random; it is printed]")
@click.option("--executions", type=click.IntRange(1), default=10_000, help="Executions to trigger.")
@click.option(
    "--kills", type=click.IntRange(0), default=20, help="SIGKILLs and SIGTERMs; as many other faults are added."
)
@click.option("--limit", type=click.IntRange(1), default=600, help="Maximum duration in seconds; a longer run fails.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=50.0, help="Maximum orders per second.")
@click.option(
    "--broker",
    type=click.Choice(run.BROKERS),
    default="separate",
    help="Broker: a Redis of its own, the Redis with the state, or RabbitMQ.",
)
@click.option("--keep", is_flag=True, help="Keep the logs even if the audit passes.")
def main(*, seed: int | None, keep: bool, **options: Any) -> None:
    """Kill processes and servers while tests run, then check that every test has exactly one verdict.

    The system under test is an order system: two web services, a Celery worker, four LiveCheck workers, two beats, a
    Redis with the state, and a broker. Processes and servers are killed, stopped and frozen; servers close the
    connections of their clients; proxies refuse, delay and cut connections.

    A Redis that no fault affects records which tests were triggered and which signals were sent. At the end, an audit
    compares that record with the state in Redis, and prints a table of its checks.

    Exit code: 0 if every check passed; 1 otherwise, and the logs of all processes are kept.
    """
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    directory = Path(tempfile.mkdtemp(prefix="livecheck-chaos-"))
    chosen = Options(seed, **options)
    repeat = " ".join(f"--{name} {value}" for name, value in {"seed": seed, **options}.items())
    click.echo(f'seed {seed}; to repeat this run: make chaos ARGS="{repeat}"\nlogs: {directory}')
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    try:
        result = asyncio.run(run.run(chosen, directory, output.ProgressLine(chosen)))
    except AssertionError as exc:  # a process that did not start
        raise click.ClickException(str(exc)) from exc
    output.print_result(console, result)
    if keep or not result.passed:
        click.echo(f"The logs of all processes are in {directory}")
    else:
        shutil.rmtree(directory)
    sys.exit(not result.passed)


if __name__ == "__main__":
    main()
