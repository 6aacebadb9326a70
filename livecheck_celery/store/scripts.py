"""Lua scripts: one atomic operation per file in ``lua/``, called with named arguments.

A script is declared once, at module level, by the part of the store that uses it::

    RENEW = Script("renew", keys=("test", "open"), args=("id", "token", "lease"))

and called by name; the call is sent later, alone or together with others::

    run(client, RENEW(test="p:{c}:test:1", open="p:{c}:open", id="1", token="t", lease=9.0))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

import redis

Argument = str | int | float | bool | None

#: A line such as ``-- ARGV[2]  token  of the claim``; the index ``2...`` or ``...`` names all following values.
_HEADER_LINE: Final = re.compile(r"-- (KEYS|ARGV)\[(\d*)(\.\.\.)?\]\s+(\w+)")

_INCLUDE: Final = re.compile(r"^-- include (\w+)\n", re.MULTILINE)

#: Arguments that become limits of a list or stream, or times to live; a command refuses others, after earlier writes.
_WHOLE: Final = frozenset(
    {"forget_after", "limit", "max_history", "max_late", "max_reports", "remember", "report_ttl", "signal_ttl", "ttl"}
)
#: Arguments that are added to times.
_NUMBERS: Final = frozenset(
    {
        *("burst", "closing_lease", "delay", "early", "expires_in", "keep", "lease", "max_open_bytes"),
        *("max_report_bytes", "period", "resend_after"),
    }
)
#: Refuses an argument that is not a number, or too large for a time to live in milliseconds.
_CHECK: Final = """
do
  local number = tonumber(ARGV[{at}])
  if not (number and number >= 0 and number <= 1000000000000{whole}) and not ({optional} and ARGV[{at}] == '') then
    return redis.error_reply('ERR {name} is not a number in range: ' .. ARGV[{at}])
  end
end
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script, to be sent alone or together with others.

    Attributes:
        script: the script to run.
        keys: names of the keys it uses.
        args: its arguments, as they are sent.
    """

    script: Script
    keys: tuple[str, ...]
    args: tuple[str | int | float, ...]

    @property
    def operands(self) -> tuple[Any, ...]:
        """Operands of EVALSHA and EVAL after the script: number of keys, keys, arguments."""
        return (len(self.keys), *self.keys, *self.args)


class Script:
    """One operation of the store: a Lua file, and the names of its keys and arguments.

    Attributes:
        name: file name in ``lua/``, without the suffix.
        keys: names of ``KEYS``, in order; a name that begins with ``*`` stands for all following values.
        args: names of ``ARGV``, in the same form.
        names: names that a call takes.
        source: text of the file.
        sha: SHA-1 of the source, for EVALSHA.
    """

    def __init__(
        self, name: str, *, keys: Sequence[str] = (), args: Sequence[str] = (), source: str | None = None
    ) -> None:
        """Read the file and compare its header with ``keys`` and ``args``; ``source`` replaces the file's text.

        Raises:
            TypeError: the header has other names, or a name is used twice.
        """
        self.name = name
        self.source = _checked(_read(name) if source is None else source, args)
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.keys, self.args = tuple(keys), tuple(args)
        self._has_rest = any(one.startswith("*") for one in (*keys, *args))
        header, declared = _signature(*_header(self.source)), _signature(keys, args)
        if declared != header:
            raise TypeError(f"lua/{name}.lua: the header has {header}; the declaration has {declared}")
        self.names = frozenset(one.removeprefix("*") for one in (*keys, *args))
        if len(self.names) != len(keys) + len(args):
            raise TypeError(f"lua/{name}.lua: a name is used twice: {header}")

    def __repr__(self) -> str:
        return f"<Script {self.name}>"

    def __call__(self, /, **values: Argument | Sequence[Argument]) -> Call:
        """Build a call from a value for each name; True and False are sent as 1 and 0, None as an empty string.

        Raises:
            TypeError: a name is missing or unknown.
        """
        try:
            keys, args = self._operands(values)
        except KeyError:
            raise self._mistaken(values.keys()) from None
        if len(values) != len(self.names):
            raise self._mistaken(values.keys())
        return Call(self, tuple(keys), tuple(args))

    def _operands(self, values: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        if self._has_rest:
            return _values(self.keys, values), list(map(_sent, _values(self.args, values)))
        # The usual kind, in half the time: the thread of the outbox shares the interpreter with requests.
        args = [values[name] for name in self.args]
        return [values[name] for name in self.keys], [
            arg if type(arg) is str else "" if arg is None else int(arg) if arg is True or arg is False else arg
            for arg in args
        ]

    def _mistaken(self, given: AbstractSet[str]) -> TypeError:
        return TypeError(f"script {self.name!r}: {', '.join(self._mistakes(given))}")

    def _mistakes(self, given: AbstractSet[str]) -> Iterator[str]:
        if missing := sorted(self.names - given):
            yield f"missing {', '.join(missing)}"
        if unknown := sorted(given - self.names):
            yield f"unknown {', '.join(unknown)}"


def run(execute: Callable[..., Any], call: Call) -> Any:
    """Run one script by ``execute``, which sends a command, and return its reply."""
    # redis-py's own Script asks the server each time whether it has the script.
    try:
        return execute("EVALSHA", call.script.sha, *call.operands)
    except redis.exceptions.NoScriptError:
        return execute("EVAL", call.script.source, *call.operands)


def run_all(execute_all: Callable[[list[tuple[Any, ...]]], list[Any]], calls: Sequence[Call]) -> list[Any]:
    """Run scripts in one round trip; a second one runs the scripts that the server did not have.

    Args:
        execute_all: sends commands in one round trip; errors are replies.
        calls: the calls.

    Returns:
        The reply of each script; errors are replies.
    """
    if not calls:
        return []
    replies = execute_all([("EVALSHA", call.script.sha, *call.operands) for call in calls])
    unknown = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
    if unknown:
        again = execute_all([("EVAL", calls[at].script.source, *calls[at].operands) for at in unknown])
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    return replies


def _read(name: str) -> str:
    """Read a file of ``lua/``; a line ``-- include add_report`` stands for that file of ``lua_parts/``."""
    store = files("livecheck_celery.store")
    text = store.joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda line: store.joinpath("lua_parts", f"{line[1]}.lua").read_text(encoding="utf-8"), text)


def _checked(source: str, args: Sequence[str]) -> str:
    """Return ``source`` with checks of its numbers after the header, before the first command."""
    header, blank, body = source.partition("\n\n")
    checks = [
        _CHECK.format(
            at=at,
            name=name,
            whole=" and number == math.floor(number)" if name in _WHOLE else "",
            optional=str("empty" in _described(header, at)).lower(),
        )
        for at, name in enumerate(args, start=1)
        if name in _WHOLE | _NUMBERS
    ]
    return header + blank + "".join(checks) + body


def _described(header: str, at: int) -> str:
    """Return the description of argument number ``at``, which says whether it can be empty."""
    return header.partition(f"ARGV[{at}]")[2].partition("\n-- ARGV")[0].partition("\n-- Reply")[0]


def _header(source: str) -> tuple[list[str], list[str]]:
    """Parse the names of ``KEYS`` and ``ARGV`` in a header; an index out of order becomes part of the name."""
    names: dict[str, list[str]] = {"KEYS": [], "ARGV": []}
    for kind, index, rest, name in _HEADER_LINE.findall(source.partition("\n\n")[0]):
        is_next = index in ("", str(len(names[kind]) + 1)) and not "".join(names[kind][-1:]).startswith("*")
        names[kind].append(("*" if rest else "") + (name if is_next else f"[{index}] {name}"))
    return names["KEYS"], names["ARGV"]


def _signature(keys: Sequence[str], args: Sequence[str]) -> str:
    return f"KEYS ({', '.join(keys)}) and ARGV ({', '.join(args)})"


def _values(names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for name in names:
        if name.startswith("*"):
            found.extend(values[name[1:]])
        else:
            found.append(values[name])
    return found


def _sent(value: Argument) -> str | int | float:
    if value is None:
        return ""
    return int(value) if isinstance(value, bool) else value
