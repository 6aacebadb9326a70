"""Code in a Python process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_script(
    code: str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with these arguments, and ``env`` added to the environment; fail with its errors if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
