"""The line of ``doctor`` about packages with known vulnerabilities."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from livecheck_celery.cli.doctor.packages import KNOWN, check_packages
from tools.oldest import constraints

PYPROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def installed(**versions: str) -> list[tuple[str, str]]:
    """Return level and text of what is found with these versions."""

    def version(package: str) -> str:
        try:
            return versions[package]
        except KeyError:
            raise metadata.PackageNotFoundError(package) from None

    return [(each.level, f"{each.found}; {each.fix}") for each in check_packages(version)]


@pytest.mark.promise(
    "`livecheck doctor` names an installed requests or idna with a known vulnerability.", theme="input"
)
def test_package_with_a_known_vulnerability_is_a_warning_with_the_command() -> None:
    [(level, line)] = installed(requests="2.32.4", idna="3.7")
    assert level == "warn"
    assert line == (
        "requests 2.32.4 has CVE-2026-25645; idna 3.7 has CVE-2026-45409; "
        'pip install "requests>=2.33.0" "idna>=3.15"; '
        "docs/security.md says which of them concern LiveCheck's own requests"
    )


def test_every_vulnerability_of_a_version_is_named() -> None:
    [(_, line)] = installed(requests="2.28.0", idna="3.20")
    assert line.startswith(f"requests 2.28.0 has {', '.join(name for _, name in KNOWN['requests'])}; pip install ")


@pytest.mark.parametrize("versions", [{"requests": "2.33.0", "idna": "3.15"}, {}, {"requests": "unknown"}])
def test_nothing_is_found_without_a_known_vulnerability(versions: dict[str, str]) -> None:
    assert installed(**versions) == []


def test_each_vulnerability_is_fixed_in_a_version_after_the_lower_bound() -> None:
    """Else nobody can have it beside LiveCheck, and it can be removed from the list."""
    floors = dict(line.split("==") for line in constraints(PYPROJECT, ()))
    for package, fixes in KNOWN.items():
        versions = [Version(floors[package]), *(Version(fixed) for fixed, _ in fixes)]
        assert versions == sorted(set(versions))


def test_security_page_says_of_each_vulnerability_what_it_means_here() -> None:
    page = (Path(__file__).parents[3] / "docs/security.md").read_text()
    assert [name for fixes in KNOWN.values() for _, name in fixes if name not in page] == []
