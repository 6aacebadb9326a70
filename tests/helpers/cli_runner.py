"""Run commands of click in the process of the test."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner, Result


def invoke(command: Any, arguments: Any = None, **options: Any) -> Result:
    """Run a command; the result has what it printed to stdout and to stderr apart, as click does from 8.2 on."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(command, arguments, **options)
