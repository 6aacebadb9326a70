"""Look up the known vulnerabilities of the packages of this environment, by pip-audit and the advisories of OSV.

python -m tools.audit                  # fails, too, when the advisories cannot be reached
python -m tools.audit --unless-offline # says so, and exits with 0
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Seconds for each connection to the advisories.
_TIMEOUT: Final = 5


class Outcome(NamedTuple):
    """The lines to print, and whether the packages were looked up."""

    lines: list[str]
    found: bool
    reached: bool


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; return 1 if a package has a vulnerability, or, by default, if nothing was looked up."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__.partition("\n")[0])
    parser.add_argument("--unless-offline", action="store_true", help="exit with 0 if the advisories cannot be reached")
    parser.add_argument("--osv-url", help="address of the advisories; by default that of OSV")
    options = parser.parse_args(arguments)
    outcome = outcome_of(_pip_audit(options.osv_url))
    for line in outcome.lines:
        print(line)  # noqa: T201 - a command
    return int(outcome.found or not (outcome.reached or options.unless_offline))


def outcome_of(done: subprocess.CompletedProcess[str]) -> Outcome:
    """Read the JSON that pip-audit prints once it has looked up all packages; without it, it has looked up none."""
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Outcome([f"audit: nothing was looked up: {reason:.300}"], found=False, reached=False)
    lines = [_line(package, hole) for package in packages for hole in package.get("vulns", ())]
    return Outcome(lines or [f"audit: {len(packages)} packages, none with a known vulnerability"], bool(lines), True)


def _line(package: dict[str, Any], hole: dict[str, Any]) -> str:
    fixed = f"fixed in {', '.join(hole['fix_versions'])}" if hole["fix_versions"] else "no fixed version"
    return f"audit: {package['name']} {package['version']}: {hole['id']}, {fixed}"


def _pip_audit(osv_url: str | None) -> subprocess.CompletedProcess[str]:
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable", "--disable-pip-version-check"]
    installed = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout  # noqa: S603 - of this file
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(installed)
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--vulnerability-service=osv", "--no-deps"]
        command += ["--disable-pip", "--progress-spinner=off", f"--timeout={_TIMEOUT}", f"--requirement={requirements}"]
        command += [f"--osv-url={osv_url}"] if osv_url else []
        return subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - of this file


if __name__ == "__main__":
    sys.exit(main())
