"""Types of command-line options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from livecheck_celery.utils.durations import seconds

if TYPE_CHECKING:
    _Float = click.ParamType[float]
else:
    _Float = click.ParamType  # generic from click 8.4 on


class Duration(_Float):
    """A duration in seconds, or with a unit: 30, 30s, 5m, 3h."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the text to seconds.

        Raises:
            click.BadParameter: the text is not a duration, or not above zero.
        """
        try:
            number = float(seconds(value))
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a duration above zero, such as 30, 30s or 5m", param, ctx)
        return number
