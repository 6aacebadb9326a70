"""Record what calls in the ``assert`` statements of a case return, so that a failure can show it.

The code of the methods is compiled again from its source, with the value of each call, attribute and item assigned to a
local variable: ``assert f(x) == 1`` becomes ``assert (value := f(x)) == 1``. Nothing is evaluated twice, or in another
order.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import threading
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakSet

from livecheck_celery.execution.operands import SCOPES, parsed, recorded_as
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

_lock = threading.Lock()
_classes: WeakSet[type] = WeakSet()
_functions: WeakSet[FunctionType] = WeakSet()
_modules: set[str] = set()


def record_asserts(cls: type) -> None:
    """Make the methods of ``cls``, and the functions of its modules, record the operands of their assertions.

    Base classes in other packages are left alone.

    Functions whose source is not available, or was changed since they were imported, stay as they are.
    """
    if cls in _classes:
        return
    with _lock:
        for function in _new_functions(cls):
            try:
                _recompile(function)
            except Exception:  # only the values in a message depend on it
                logger.debug("asserts: %s: not recorded", function.__qualname__, exc_info=True)
        _classes.add(cls)


def _new_functions(cls: type) -> Iterator[FunctionType]:
    """Yield the functions that no earlier call has seen; a module can declare thousands of cases."""
    package = _package_of(cls)
    for one in cls.__mro__:
        if _package_of(one) == package:
            values = list(vars(one).values())
            if one.__module__ not in _modules:
                _modules.add(one.__module__)
                values += vars(inspect.getmodule(one) or one).values()
            for function in filter(None, map(_function, values)):
                if function.__module__ == one.__module__ and function not in _functions:
                    _functions.add(function)
                    yield function


def _package_of(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _function(value: Any) -> FunctionType | None:
    """Return the function that ``value``, an attribute of a class or a module, calls in the end."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    found = inspect.unwrap(value) if isinstance(value, FunctionType) else None
    return found if isinstance(found, FunctionType) else None


def _recompile(function: FunctionType) -> None:
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    for plain, recording in _codes(source, code.co_filename):
        # Equal code, line numbers included, so the source is that of the function.
        if plain == code:
            if recording != plain:
                function.__code__ = recording
            return


@lru_cache(maxsize=16)
def _codes(source: str, filename: str) -> list[tuple[CodeType, CodeType]]:
    """Return all code of a module, each as written and as recording."""
    tree = parsed(source)
    if tree is None or not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return []
    plain = compile(source, filename, "exec", dont_inherit=True)
    recording = ast.fix_missing_locations(_Recording().visit(ast.parse(source)))
    return list(_pairs(plain, compile(recording, filename, "exec", dont_inherit=True)))


def _pairs(plain: CodeType, recording: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    yield plain, recording
    for pair in zip(_inner(plain), _inner(recording), strict=True):
        yield from _pairs(*pair)


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


class _Recording(ast.NodeTransformer):
    """Assigns the operands of assertions in functions to variables."""

    def __init__(self) -> None:
        self._in_function = False

    def visit_FunctionDef(self, node: Any) -> Any:
        outer, self._in_function = self._in_function, True
        self.generic_visit(node)
        self._in_function = outer
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - names of ast

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        outer, self._in_function = self._in_function, False
        self.generic_visit(node)
        self._in_function = outer
        return node

    def visit_Assert(self, node: ast.Assert) -> Any:
        if not self._in_function:
            return node
        operands = _Operands()
        node.test = operands.visit(node.test)
        if not operands.names:
            return node
        # The dots say that it was not evaluated; afterwards they release the values.
        reset = ast.Assign([ast.Name(name, ast.Store()) for name in operands.names], ast.Constant(...))
        return [ast.copy_location(reset, node), node, ast.copy_location(reset, node)]


class _Operands(ast.NodeTransformer):
    """Assigns calls, attributes and items of an expression to variables, in ``names``."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
            return self._recorded(node)
        if isinstance(node, (*SCOPES, ast.JoinedStr, ast.NamedExpr, ast.Yield, ast.YieldFrom)):
            return node
        if not isinstance(node, ast.Call | ast.Await | ast.Attribute | ast.Subscript):
            return self.generic_visit(node)
        if isinstance(node, ast.Call):
            # What it is called on is a part of the call, whose value says more.
            node.args = [self.visit(each) for each in node.args]
            for keyword in node.keywords:
                keyword.value = self.visit(keyword.value)
        return self._recorded(node)

    def _recorded(self, node: ast.expr) -> ast.expr:
        name = recorded_as(node)
        self.names.append(name)
        return ast.copy_location(ast.NamedExpr(ast.Name(name, ast.Store()), node), node)
