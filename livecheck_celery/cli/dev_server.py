"""The server of a running ``dev``, which the other commands with the same ``-A`` and directory find."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from livecheck_celery.base_livecheck import BaseLiveCheck

#: The environment variables that name the server to LiveCheck and to Celery.
URL_VARIABLES: Final = ("LIVECHECK_REDIS_URL", "LIVECHECK_BROKER_URL", "CELERY_BROKER_URL")
_CONNECT_TIMEOUT: Final = 0.5  # seconds


def record_path(name: str | None) -> Path:
    """Return the file that describes the ``dev`` of the app ``name``, the value of ``-A``, in this directory.

    It is in the user's runtime directory, which the system empties; else in a private directory for temporary files.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    directory = Path(base) / "livecheck" if base else Path(tempfile.gettempdir()) / f"livecheck-{os.getuid()}"
    key = sha256(f"{Path.cwd()}\0{name or ''}".encode(errors="surrogateescape")).hexdigest()[:32]
    return directory / f"dev-{key}.json"


@contextmanager
def announced(name: str | None, url: str) -> Iterator[None]:
    """Let other commands find the server at ``url`` during the block; a file that cannot be written is not."""
    path = record_path(name)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    try:
        yield
    finally:
        if _read(path)[0] == os.getpid():  # another dev may have replaced it
            path.unlink(missing_ok=True)
            with suppress(OSError):  # another dev has a file in it
                path.parent.rmdir()


def running_server(name: str | None) -> str | None:
    """Return the URL of the server of a running ``dev`` for the app ``name``; None without one."""
    path = record_path(name)
    try:
        is_private = path.stat().st_uid == os.getuid()
    except OSError:
        return None
    pid, url = _read(path)
    return url if is_private and pid is not None and url is not None and _runs(pid) and _answers(url) else None


@contextmanager
def default_url(url: str | None) -> Iterator[dict[str, str]]:
    """Name the server at ``url`` in the environment during the block, unless the environment names one.

    The variables are removed at the end of the block, except those that the block removed from the yielded dict.
    """
    given = any(map(os.environ.get, URL_VARIABLES))
    added = {} if given or url is None else dict.fromkeys(URL_VARIABLES, url)
    os.environ.update(added)
    try:
        yield added
    finally:
        for variable in added:
            os.environ.pop(variable, None)


def uses(livecheck: BaseLiveCheck, url: str) -> bool:
    """Return whether ``livecheck`` has its state and its broker at ``url``."""
    return livecheck.settings.redis_url == url and livecheck.app.conf.get("broker_url") in (None, url)


def _read(path: Path) -> tuple[int | None, str | None]:
    try:
        record = json.loads(path.read_text())
        return int(record["pid"]), str(record["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), _CONNECT_TIMEOUT):
            return True
    except OSError:
        return False
