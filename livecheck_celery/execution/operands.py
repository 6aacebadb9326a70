"""The operands of a failed ``assert``: its text, and the values that it compared.

Values are read from the frame that failed, without executing code again: names, attributes and items that a plain
lookup finds, and what `livecheck_celery.execution.recorded_asserts` has recorded of calls.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from livecheck_celery.execution.places import Place
from livecheck_celery.utils.preview import MASKED, preview
from livecheck_celery.utils.secrets import is_secret, without_url_secrets

#: Largest source file that is parsed, in characters.
MAX_SOURCE: Final = 1_000_000
_MAX_EXPRESSION: Final = 80
_MAX_OPERANDS: Final = 8
_MAX_ASSERT: Final = 300

_MISSING: Final = object()
#: Nodes with a scope of their own, whose names are not those of the frame.
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES: Final = (ast.Lambda, *COMPREHENSIONS)
#: Values that say nothing: code, not data.
_CODE: Final = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


def failed_assert(place: Place) -> ast.Assert | None:
    """Return the ``assert`` statement that raised at ``place``; None if another statement did."""
    tree = parsed("".join(linecache.getlines(place.code.co_filename, place.frame.f_globals)))
    if tree is None:
        return None
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assert) and _contains(node, place)]
    # Of several in one line, the last that begins before the instruction.
    return min(found, key=lambda node: ((node.end_lineno or 0) - node.lineno, -node.col_offset), default=None)


def text_of(statement: ast.Assert) -> str:
    """Return ``assert`` and the condition, on one line."""
    return without_url_secrets(f"assert {ast.unparse(statement.test)}")[:_MAX_ASSERT]


def values_of(statement: ast.Assert, place: Place, message: str = "") -> str:
    """Return the operands with their values, such as ``order.side = 'buy', side = 'sell'``; empty without any.

    Values that are in ``message``, the user's text of the failure, are left out.
    """
    frame, shown = place.frame, dict[str, str]()
    for node in _operands(statement.test, frame):
        expression = without_url_secrets(ast.unparse(node))[:_MAX_EXPRESSION]
        value = _lookup(node, frame)
        if value is not _MISSING and not _is_code(value):
            text = MASKED if is_secret(_name_of(node)) else preview(value)
            if text.strip("'") not in message:
                shown[expression] = text
        if len(shown) == _MAX_OPERANDS:
            break
    return ", ".join(f"{expression} = {value}" for expression, value in shown.items())


@lru_cache(maxsize=16)
def parsed(source: str) -> ast.Module | None:
    """Return the syntax tree of ``source``; None if it cannot be parsed, or is too large."""
    if not source or len(source) > MAX_SOURCE:
        return None
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def recorded_as(node: ast.expr) -> str:
    """Return the local variable in which the value of ``node`` is recorded; no name in source code is like it."""
    return f"@livecheck:{node.lineno}:{node.col_offset}:{node.end_lineno}:{node.end_col_offset}"


def _contains(node: ast.Assert, place: Place) -> bool:
    positions = list(place.code.co_positions())
    index = place.instruction // 2
    line, _, column, _ = positions[index] if 0 <= index < len(positions) else (place.line, None, None, None)
    if line is None or not node.lineno <= line <= (node.end_lineno or 0):
        return False
    return column is None or line != node.lineno or column >= node.col_offset


def _operands(node: ast.expr, frame: types.FrameType) -> Iterator[ast.expr]:
    """Yield the expressions in ``node`` whose values say why it is false."""
    if isinstance(node, COMPREHENSIONS):
        yield node
        yield from _operands(node.generators[0].iter, frame)  # the only part outside of its scope
    if isinstance(node, SCOPES):
        return
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.Await):
        yield node
        if not isinstance(node, ast.Call) and _lookup(node, frame) is not _MISSING:
            return  # its parts say no more
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and _lookup(node, frame) is _MISSING:
            yield from _operands(node.func.value, frame)
        parts: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
    else:
        parts = list(ast.iter_child_nodes(node))
    for part in parts:
        if isinstance(part, ast.expr):
            yield from _operands(part, frame)


def _lookup(node: ast.expr, frame: types.FrameType) -> Any:
    """Return the value of ``node`` as recorded, or as a plain lookup finds it; `_MISSING` if code would run."""
    recorded = frame.f_locals.get(recorded_as(node), ...)
    if recorded is not ...:
        return recorded
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id, _MISSING))
    if isinstance(node, ast.Attribute):
        owner = _lookup(node.value, frame)
        return _MISSING if owner is _MISSING else _attribute(owner, node.attr)
    if isinstance(node, ast.Subscript):
        owner, key = _lookup(node.value, frame), _lookup(node.slice, frame)
        return _MISSING if owner is _MISSING or key is _MISSING else _item(owner, key)
    return _MISSING


def _attribute(owner: Any, name: str) -> Any:
    try:
        fields = object.__getattribute__(owner, "__dict__")
        if issubclass(type(owner), types.ModuleType) or name in fields:
            return fields[name]
    except (AttributeError, KeyError, TypeError):
        pass
    found = inspect.getattr_static(owner, name, _MISSING)
    if isinstance(found, types.MemberDescriptorType):  # of __slots__
        try:
            return found.__get__(owner)
        except AttributeError:
            return _MISSING
    return _MISSING if hasattr(type(found), "__get__") else found


def _item(owner: Any, key: Any) -> Any:
    if type(key) not in (str, bytes, int, bool, float, type(None)):  # else hashing runs code
        return _MISSING
    base = next((each for each in (dict, list, tuple, str, bytes) if issubclass(type(owner), each)), None)
    if base is None or type(owner).__getitem__ is not base.__getitem__:
        return _MISSING
    try:
        return base.__getitem__(owner, key)
    except (LookupError, TypeError):
        return _MISSING


def _is_code(value: Any) -> bool:
    # Cases and signals are declarations, too.
    kind = type(value)  # not isinstance(), which asks a lazy object for the class of what it stands for
    return issubclass(kind, _CODE) or any(
        each.__module__.startswith("livecheck_celery.cases.") for each in kind.__mro__
    )


def _name_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Await):
        return _name_of(node.value)
    if isinstance(node, ast.Call):
        return _name_of(node.func)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return None
