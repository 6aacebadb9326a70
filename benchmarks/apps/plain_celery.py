"""The ``celery`` command as in an environment without LiveCheck: ``python -m benchmarks.apps.plain_celery``.

Celery's command imports all packages that add a command to it, LiveCheck among them.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

_entry_points = importlib.metadata.entry_points


def entry_points(**params: Any) -> Any:
    """Return the entry points, without those that are commands of Celery."""
    return () if params.get("group") == "celery.commands" else _entry_points(**params)


if __name__ == "__main__":
    vars(importlib.metadata)["entry_points"] = entry_points
    from celery.__main__ import main

    sys.exit(main())
