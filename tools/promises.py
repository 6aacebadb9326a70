"""Generate docs/promises.md from the tests that are marked ``@pytest.mark.promise("...", theme="...")``.

The marks are read from the source; no test is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

#: Headings of the page, in order, by theme.
THEMES: Final = {
    "requests": "In your users' requests",
    "verdicts": "One verdict per execution",
    "signals": "Signals",
    "recovery": "When workers die",
    "shutdown": "When workers stop",
    "schedules": "Schedules and beat",
    "servers": "Redis and brokers",
    "bounds": "Memory",
    "propagation": "Following a request",
    "otel": "OpenTelemetry",
    "aio": "Cases with `async def`",
    "cases": "Cases and settings",
    "input": "Messages and ids from outside",
    "tools": "Command line, demo and images",
    "docs": "Documentation",
}

_MARK: Final = "pytest.mark.promise"

#: Themes of the tests that name none, by the folder below tests/unit or tests/integration.
THEME_OF_FOLDER: Final = {
    "aio": "aio",
    "cases": "cases",
    "chaos": "verdicts",
    "cli": "tools",
    "delivery": "requests",
    "docs": "docs",
    "execution": "verdicts",
    "integrations": "propagation",
    "propagation": "propagation",
    "store": "verdicts",
    "tasks": "recovery",
}

PREAMBLE: Final = """\
# What LiveCheck promises

Each line is a promise, with the test that keeps it.

<!-- Generated from @pytest.mark.promise by `make docs`; edit those, not this page. -->

A test is **triggered** once Redis has recorded it: `trigger()` and `.delay()` return after that. In a request,
`maybe_trigger()` leaves the recording to the outbox, which drops and counts items that Redis does not accept.
[What is not guaranteed](running.md#what-is-not-guaranteed) is a separate list.
"""


class Promise(NamedTuple):
    """A sentence, and the test that keeps it."""

    text: str
    theme: str
    file: str
    test: str


def promises(root: Path) -> list[Promise]:
    """Read the promises of all tests in ``root / "tests"``, in the order of files and lines.

    Raises:
        ValueError: a mark has no literal text, an unknown theme, or the text of another mark.
    """
    found: list[Promise] = []
    for file in sorted((root / "tests").rglob("test_*.py")):
        found += _promises_of(ast.parse(file.read_text()), file.relative_to(root))
    texts: dict[str, Promise] = {}
    for promise in found:
        if (other := texts.setdefault(promise.text, promise)) is not promise:
            raise ValueError(f"{promise.file}::{promise.test}: same promise as {other.file}::{other.test}")
    return found


def _promises_of(tree: ast.Module, file: Path) -> Iterator[Promise]:
    """Read the marks of the tests that pytest collects from a file.

    Raises:
        ValueError: a mark is not on a test, or its test never runs.
    """
    kept = 0
    for test in _tests_of(tree.body):
        marks = {ast.unparse(_function(decorator)): decorator for decorator in test.decorator_list}
        for decorator in test.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == _MARK:
                kept += 1
                if not_run := marks.keys() & {"pytest.mark.skip", "pytest.mark.xfail"}:
                    raise ValueError(f"{file}::{test.name}: a promise on a test with {', '.join(not_run)}")
                yield _promise(decorator, file, test.name)
    written = sum(ast.unparse(node) == _MARK for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    if written != kept:
        raise ValueError(f"{file}: {written - kept} of {written} promises are not on a test that pytest collects")


def _tests_of(body: Sequence[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            tests = list(_tests_of(node.body))
            yield from [node, *tests] if tests else []


def _function(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _promise(mark: ast.Call, file: Path, test: str) -> Promise:
    try:
        text, *rest = [ast.literal_eval(argument) for argument in mark.args]
        named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in mark.keywords}
    except ValueError:
        raise ValueError(f"{file}::{test}: promise() takes literal text") from None
    theme = named.get("theme") or next(iter(rest), None) or _theme_of(file)
    if theme not in THEMES:
        raise ValueError(f"{file}::{test}: unknown theme {theme!r}; choose from {', '.join(THEMES)}")
    return Promise(text, theme, file.as_posix(), test)


def _theme_of(file: Path) -> str | None:
    return next((THEME_OF_FOLDER[part] for part in file.parts[2:-1] if part in THEME_OF_FOLDER), None)


def page(root: Path) -> str:
    """Generate docs/promises.md from the marks of the tests in ``root``; errors as for `promises`."""
    found = promises(root)
    parts = [PREAMBLE]
    for theme, heading in THEMES.items():
        lines = [
            f"- {promise.text.rstrip('.')}.<br>[`{promise.file}::{promise.test}`](../{promise.file})"
            for promise in found
            if promise.theme == theme
        ]
        if lines:
            parts.append(f"## {heading}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
