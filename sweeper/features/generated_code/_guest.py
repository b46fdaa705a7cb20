"""Runs a program and its tests in one interpreter: CPython in WebAssembly, never sweeper's own.

``componentize-py`` imports this module once and stores the interpreter with its state. Each program
starts from that state, and there are no files to import from.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import gc
import importlib
import pkgutil
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

# Functions below keep these built-ins, whatever a program does to the module.
globals()["__builtins__"] = dict(vars(builtins))

# Modules that open a window, print, or take long to import.
_LEFT_OUT = {"__main__", "antigravity", "idlelib", "test", "this", "tkinter", "turtledemo"}
_SCALARS = {type(None), bool, int, float, complex, str, bytes}
# Functions that read an object's content, whatever a subclass of the built-in type redefines.
_CONTENT: dict[type, Callable[[Any], Any]] = {
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    tuple: tuple.__iter__,
    list: list.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    dict: dict.items,
}
# What a named tuple defines; none of it changes the content.
_HARMLESS_ATTRIBUTES = {"__new__", "__init__", "__repr__", "__getnewargs__", "__doc__"}
# Reads a type's own attributes, whatever its metaclass redefines.
_attributes: Callable[[type], Any] = type.__dict__["__dict__"].__get__
# Ids of Python's own types: a program's metaclass could redefine how types are compared.
_python_type_ids: set[int] = set()
# Names that no source can contain.
_OPERANDS, _RESULT = "<operands>", "<result>"


class WitWorld:
    """The component's only export; ``componentize-py`` requires this name."""

    def run(self, program: str, tests: list[str]) -> str | None:
        """Why the program does not pass its tests; None if it does."""
        try:
            _run(program, tests)
        except BaseException as error:  # noqa: BLE001 - whatever program or tests raise
            return f"{type(error).__name__}: {error}"[:200]
        return None


def _run(program: str, tests: list[str]) -> None:
    """Run a program, then its tests, with built-ins that the program cannot replace."""
    sys.modules.pop(__name__, None)
    built_in = dict(vars(builtins))
    trees = [ast.parse(test) for test in tests]
    tests.clear()  # a program finds no source of its tests in its callers
    names_in_tests = {
        node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)
    }
    guarded_trees = [ast.fix_missing_locations(_Guard().visit(tree)) for tree in trees]
    codes = [compile(tree, "<tests>", "exec", dont_inherit=True) for tree in guarded_trees]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(program, "<program>", "exec", dont_inherit=True), vars(module))
    program_names = names_in_tests & vars(module).keys()
    # Tests use the program by these names. If each is also the name of a built-in, such as ``sum``,
    # it means the program's function. Otherwise, names of built-ins keep meaning the built-ins.
    if program_names <= built_in.keys():
        for name in program_names:
            del built_in[name]
    names = {
        "__name__": "__main__",
        "__builtins__": _Names(built_in, vars(module)),
        _OPERANDS: _operands,
        _RESULT: _result,
    }
    for code in codes:
        exec(code, names)


class _Names(dict[str, Any]):
    """The names that tests can use besides their own: the built-ins, then the program's names."""

    def __init__(self, built_in: dict[str, Any], program: dict[str, Any]) -> None:
        super().__init__(built_in)
        self._program = program

    def __missing__(self, name: str) -> Any:
        return self._program[name]


class _Guard(ast.NodeTransformer):
    """Rewrites tests so that a program's classes cannot redefine comparison with plain values.

    ``f(x) == y`` becomes ``(lambda a, b: a == b)(*operands(result(f(x), f), y))``.
    """

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        operands = [node.left, node.right]
        node.left, node.right = map(_parameter, range(2))
        return _call_on_operands(node, operands)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if any(isinstance(comparison, (ast.In, ast.NotIn)) for comparison in node.ops):
            return node
        operands = [node.left, *node.comparators]
        node.left, *node.comparators = map(_parameter, range(len(operands)))
        return _call_on_operands(node, operands)

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.MatchValue:
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        called = node.func if isinstance(node.func, ast.Name) else ast.Constant(None)
        self.generic_visit(node)
        return ast.copy_location(ast.Call(_name(_RESULT), [node, called], []), node)


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _parameter(number: int) -> ast.expr:
    """The lambda's parameter for one operand, with a name that no source can contain."""
    return _name(f"<{number}>")


def _call_on_operands(body: ast.expr, operands: list[ast.expr]) -> ast.expr:
    """``(lambda <0>, <1>: body)(*operands(left, right))``."""
    parameters = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(f"<{number}>") for number in range(len(operands))],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
    values = ast.Starred(ast.Call(_name(_OPERANDS), operands, []), ast.Load())
    return ast.copy_location(ast.Call(ast.Lambda(parameters, body), [values], []), body)


def _operands(*values: Any) -> tuple[Any, ...]:
    """The operands, as their content if only some of them are plain values."""
    if len({_is_plain(value) for value in values}) == 1:
        return values
    return tuple(map(_content, values))


def _result(value: Any, called: Any) -> Any:
    """What a function returned, or its content if its class overrides a built-in type's methods.

    Objects that tests make themselves, by calling a class, are not changed.
    """
    base = _base(type(value))
    if base is None or issubclass(type(called), type):
        return value
    program_classes = [kind for kind in type.mro(type(value)) if id(kind) not in _python_type_ids]
    own_attributes = {name for owner in program_classes for name in _attributes(owner)}
    if not own_attributes & _attributes(base).keys() - _HARMLESS_ATTRIBUTES:
        return value
    return base(_CONTENT[base](value))


def _content(value: Any) -> Any:
    """The value with objects of a program's classes replaced by their content."""
    kind = type(value)
    if _is_plain(value) or (id(kind) in _python_type_ids and kind not in _CONTENT):
        return value
    base = _base(kind)
    if base is None:
        return object()  # which equals nothing, and has no operators
    content = _CONTENT[base](value)
    if base is dict:
        return {_content(key): _content(item) for key, item in content}
    return base(content if base in _SCALARS else map(_content, content))


def _is_plain(value: Any) -> bool:
    """Whether a value and all its items are of built-in types, not of subclasses."""
    kind = type(value)
    if kind is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return kind in _SCALARS or (kind in _CONTENT and all(map(_is_plain, value)))


def _base(kind: type) -> Any:
    """The type in ``_CONTENT`` that ``kind`` is or extends; None if there is none."""
    return next((base for base in _CONTENT if issubclass(kind, base)), None)


def _import_everything() -> None:
    """Import the standard library, as far as it is there, so that programs can import it."""
    sys.path.sort(key=lambda path: not path.startswith("/python/"))  # before site-packages
    names = sorted(sys.stdlib_module_names - _LEFT_OUT)
    for name in names:
        with contextlib.suppress(Exception):
            path = getattr(importlib.import_module(name), "__path__", ())
            modules = [module.name for module in pkgutil.iter_modules(path)]
            names += [f"{name}.{inner}" for inner in modules if inner not in _LEFT_OUT]


if sys.platform == "wasi":
    with warnings.catch_warnings(action="ignore"):
        _import_everything()
    sys.set_int_max_str_digits(0)
    time.sleep = lambda seconds: None  # the sandbox ends a program that waits
    types_of_python = [object]
    for kind in types_of_python:
        types_of_python += type.__subclasses__(kind)
    _python_type_ids.update(map(id, types_of_python))
    gc.collect()
    gc.freeze()
