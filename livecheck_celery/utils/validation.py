"""Validation errors of pydantic as one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_BOUNDS: Final = {
    "greater_than": ("gt", "must be more than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
}
_WORDS: Final = {
    "bool": "must be true or false",
    "finite_number": "must be a finite number",
    "float": "must be a number",
    "int": "must be a whole number",
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "string": "must be text",
    "time_delta": "must be a duration",
    "tuple": "must be a list",
}

#: Variables that Kubernetes makes of a service whose name begins with "livecheck".
_OF_KUBERNETES: Final = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_|$)")

#: Maximum number of fields that an error of a value names.
_MAX_PROBLEMS: Final = 5
#: Smallest number that an error does not quote.
_LONG: Final = 10**15


def explain(error: ValidationError) -> str:
    """Format a validation error as one line: the first fields that are wrong, and what is wrong with each."""
    problems = error.errors(include_url=False)
    parts = [
        f"{place}: {problem['msg']}" if (place := _place(problem)) else problem["msg"]
        for problem in problems[:_MAX_PROBLEMS]
    ]
    if more := len(problems) - len(parts):
        parts.append(f"and {more} more")
    return "; ".join(parts)


def explain_options(error: ValidationError, names: Iterable[str]) -> str:
    """Format a validation error of options as one line, in LiveCheck's words; ``names`` are the options that exist."""
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            found.setdefault(name, "unknown option" + did_you_mean(name, names))
        else:
            found.setdefault(name, _in_words(problem))
    return "; ".join(f"{name}: {words}" if name else words for name, words in found.items())


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of the error for an unknown ``name``: the most similar of ``names``, if one is similar."""
    similar = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def unknown_names(conf: Any, environ: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    """Yield one line for each name of a setting in a Celery configuration or the environment that is not ``known``."""
    in_conf = {str(name).removeprefix(conf.prefix or "") for each in conf.maps[:-1] for name in each}
    for names, prefix, place in (
        (in_conf, "livecheck_", "the Celery configuration"),
        (in_conf, "LIVECHECK_", "the Celery configuration"),  # in a namespace, as in Django
        (environ, "LIVECHECK_", "the environment"),
    ):
        spellings = [prefix + (name.upper() if prefix.isupper() else name) for name in known]
        for name in sorted(name for name in names if name.startswith(prefix)):
            if name not in spellings and not _OF_KUBERNETES.search(name):
                yield f"unknown setting {name!r} in {place}" + did_you_mean(name, spellings)


def _place(problem: ErrorDetails) -> str:
    return ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))


def _in_words(problem: ErrorDetails) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return words.format(_number(context[key])) + _given(problem["input"])
    return next((words for start, words in _WORDS.items() if kind.startswith(start)), problem["msg"])


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _given(value: Any) -> str:
    return f", not {_number(value)}" if isinstance(value, int | float) and abs(value) < _LONG else ""
