"""Close the LiveChecks that a test leaves open, so that none logs during a later test or after the summary."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation import deferral

_ENDS_WITHIN: Final = 5.0


def close_livechecks() -> None:
    """Close every LiveCheck of this process that is still open."""
    for livecheck in open_livechecks():
        livecheck.close()


def forget_livechecks() -> None:
    """Detach every LiveCheck of this process, such as those that imports made, from the tasks of later tests."""
    celery_propagation._listeners.clear()
    deferral._users.clear()


def open_livechecks() -> list[Any]:
    """Return the LiveChecks that were made and not closed."""
    return list(celery_propagation._listeners)


def remaining_threads() -> list[str]:
    """Return the names of LiveCheck's threads that do not end within five seconds."""
    deadline = time.monotonic() + _ENDS_WITHIN
    found = [one for one in threading.enumerate() if one.name.startswith("livecheck-")]
    for thread in found:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in found if thread.is_alive()]
