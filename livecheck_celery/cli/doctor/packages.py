"""Check of installed packages: those that LiveCheck's own requests use, and that have a known vulnerability."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Final

from packaging.version import InvalidVersion, Version

from livecheck_celery.cli.doctor.findings import Finding, warning

#: The vulnerabilities of each package, each with the version that has none of those before it. The lower bounds of
#: pyproject.toml are older, since installing LiveCheck must not upgrade packages of a host.
KNOWN: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "requests": (
        ("2.31.0", "CVE-2023-32681"),
        ("2.32.0", "CVE-2024-35195"),
        ("2.32.4", "CVE-2024-47081"),
        ("2.33.0", "CVE-2026-25645"),
    ),
    "idna": (("3.7", "CVE-2024-3651"), ("3.15", "CVE-2026-45409")),
}
_FIX: Final = "pip install {}; docs/security.md says which of them concern LiveCheck's own requests"


def check_packages(installed: Callable[[str], str] = metadata.version) -> Iterator[Finding]:
    """Name installed packages with a known vulnerability; nothing is found if there are none.

    Args:
        installed: returns the version of a package.
    """
    found, upgrades = [], []
    for package, fixes in KNOWN.items():
        try:
            version = Version(installed(package))
        except (metadata.PackageNotFoundError, InvalidVersion):  # vendored by a distribution
            continue
        if known := [name for fixed, name in fixes if version < Version(fixed)]:
            found.append(f"{package} {version} has {', '.join(known)}")
            upgrades.append(f'"{package}>={fixes[-1][0]}"')
    if found:
        yield warning("packages", "; ".join(found), _FIX.format(" ".join(upgrades)))
