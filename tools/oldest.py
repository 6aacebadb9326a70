"""Print pip constraints that select the oldest versions that pyproject.toml allows.

Each dependency, and each one of the named extras, is pinned to its lower bound:

    python -m tools.oldest tests > oldest.txt
    pip install -c oldest.txt -e ".[tests]"
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

#: A requirement as pyproject.toml has them: a name, extras, and a lower bound, which comes first.
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w, -]+)\])?(>=(?P<floor>[\w.]+))?")


def constraints(project: dict[str, Any], extras: Sequence[str]) -> list[str]:
    """Return ``name==floor`` for the dependencies of a ``[project]`` table and of some of its extras.

    Raises:
        ValueError: a requirement has no lower bound, or an extra does not exist.
    """
    floors = dict(_floors(project, project["dependencies"]))
    for extra in extras:
        floors |= _floors(project, _extra(project, extra))
    return [f"{name}=={floor}" for name, floor in sorted(floors.items())]


def _floors(project: dict[str, Any], requirements: Sequence[str]) -> Iterator[tuple[str, str]]:
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found and found["name"] == project["name"]:
            for extra in found["extras"].split(","):
                yield from _floors(project, _extra(project, extra.strip()))
        elif found and found["floor"]:
            yield found["name"], found["floor"]
        else:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound; write name>=version")


def _extra(project: dict[str, Any], name: str) -> Sequence[str]:
    try:
        return project["optional-dependencies"][name]  # type: ignore[no-any-return] # read from TOML
    except KeyError:
        raise ValueError(f"unknown extra {name!r} in pyproject.toml") from None


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(PYPROJECT.read_text())["project"], sys.argv[1:])))  # noqa: T201
